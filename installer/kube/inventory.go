package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// inventory lists the objects of an Apply, in their order. It is in a ConfigMap of the
// cluster, since another control plane may do the step the next time.
type inventory []inventoryEntry

// inventoryEntry identifies an object, in whatever version the API serves it.
type inventoryEntry struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

const (
	inventoryNamespace = "kube-system"
	inventoryLabel     = "offk8s.dev/inventory"
)

// inventoryName returns the name of the ConfigMap for Apply.Text, "offk8s-objects-flannel".
func inventoryName(text string) string {
	return "offk8s-objects-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(text))
}

func (a *Apply) inventory() (inventory, error) {
	var out inventory
	for _, o := range a.Objects {
		k, err := keyOf(o)
		if err != nil {
			return nil, err
		}
		var v struct {
			APIVersion string `json:"apiVersion"`
		}
		if err := json.Unmarshal(o, &v); err != nil {
			return nil, err
		}
		group, _, ok := strings.Cut(v.APIVersion, "/")
		if !ok {
			group = "" // "v1"
		}
		out = append(out, inventoryEntry{group, k.Kind, k.Namespace, k.Name})
	}
	return out, nil
}

func (e inventoryEntry) key() ObjectKey { return ObjectKey{e.Kind, e.Namespace, e.Name} }

// without returns the entries whose objects are not in o, last first.
func (i inventory) without(o inventory) inventory {
	out := slices.DeleteFunc(slices.Clone(i), func(e inventoryEntry) bool {
		return slices.ContainsFunc(o, func(x inventoryEntry) bool { return x.key() == e.key() })
	})
	slices.Reverse(out)
	return out
}

// object returns the ConfigMap.
func (i inventory) object(text string) (json.RawMessage, error) {
	entries, err := json.Marshal(i)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": inventoryName(text), "namespace": inventoryNamespace, "labels": map[string]string{inventoryLabel: "true"},
		},
		"data": map[string]string{"objects": string(entries)},
	})
}

// inventory returns the inventory of Apply.Text, empty if there is none.
func (l liveList) inventory(text string) (inventory, error) {
	v, ok := l[ObjectKey{"ConfigMap", inventoryNamespace, inventoryName(text)}]
	if !ok {
		return nil, nil
	}
	return readInventory(v)
}

func readInventory(configMap any) (inventory, error) {
	b, err := json.Marshal(configMap)
	if err != nil {
		return nil, err
	}
	var cm struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Data struct {
			Objects string `json:"objects"`
		} `json:"data"`
	}
	var out inventory
	if err = json.Unmarshal(b, &cm); err == nil {
		err = json.Unmarshal([]byte(cmp.Or(cm.Data.Objects, "[]")), &out)
	}
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", inventoryNamespace, cm.Metadata.Name, err)
	}
	return out, nil
}

func liveInventory(ctx context.Context, env *step.Env, text string) (inventory, error) {
	empty, err := inventory{}.object(text)
	if err != nil {
		return nil, err
	}
	live, err := getLive(ctx, env, []json.RawMessage{empty})
	if err != nil {
		return nil, err
	}
	return live.inventory(text)
}

// remove deletes the objects in order, except for those that another inventory lists and
// those that hold objects of users: namespaces and custom resource definitions.
func (i inventory) remove(ctx context.Context, env *step.Env, text string) error {
	if len(i) == 0 {
		return nil
	}
	var list struct{ Items []any }
	if err := get(ctx, env, &list, selected(apiPath("v1", inventoryNamespace, "configmaps", ""), inventoryLabel)); err != nil {
		return err
	}
	others := map[ObjectKey]bool{}
	for _, cm := range list.Items {
		if name(cm) == inventoryName(text) {
			continue
		}
		other, err := readInventory(cm)
		if err != nil {
			return err
		}
		for _, e := range other {
			others[e.key()] = true
		}
	}
	for _, e := range i {
		if others[e.key()] || e.Kind == "Namespace" || e.Kind == "CustomResourceDefinition" {
			continue
		}
		if err := e.remove(ctx, env); err != nil {
			return err
		}
	}
	return nil
}

// name returns the name of an object.
func name(object any) string {
	o, _ := object.(map[string]any)
	meta, _ := o["metadata"].(map[string]any)
	s, _ := meta["name"].(string)
	return s
}

func (e inventoryEntry) remove(ctx context.Context, env *step.Env) error {
	kind := e.Kind
	if e.Group != "" {
		kind += "." + e.Group
	}
	args := []string{"delete", "--ignore-not-found", "--wait=false"}
	if e.Namespace != "" {
		args = append(args, "-n", e.Namespace)
	}
	_, err := kubectl(ctx, env, nil, append(args, kind, e.Name)...)
	if err != nil && (strings.Contains(err.Error(), "doesn't have a resource type") || strings.Contains(err.Error(), "no matches for kind")) {
		return nil // this version of the API has no such objects
	}
	return err
}
