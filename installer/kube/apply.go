package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// Apply is a list of Kubernetes objects with these fields. Other fields, such as the
// API server's defaults, do not count as differences. A ConfigMap lists the objects (see
// inventory), so that those that leave the step are deleted.
type Apply struct {
	// Objects are complete objects as JSON, in the order of their creation.
	Objects []json.RawMessage `json:"objects"`
	// Text names the objects, "flannel".
	Text string `json:"text"`
}

// ObjectKey identifies an object.
type ObjectKey struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String returns "Deployment kube-system/coredns".
func (k ObjectKey) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

func keyOf(object []byte) (ObjectKey, error) {
	var o struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(object, &o); err != nil {
		return ObjectKey{}, fmt.Errorf("object: %w", err)
	}
	if o.Kind == "" || o.Metadata.Name == "" {
		return ObjectKey{}, errors.New("object: no kind or no name")
	}
	return ObjectKey{o.Kind, o.Metadata.Namespace, o.Metadata.Name}, nil
}

func (*Apply) Kind() string { return "kube-apply" }

func (a *Apply) Describe() string { return fmt.Sprintf("%d objects of %s", len(a.Objects), a.Text) }

func (a *Apply) Validate() error {
	if len(a.Objects) == 0 {
		return errors.New("objects: none")
	}
	for i, o := range a.Objects {
		if _, err := keyOf(o); err != nil {
			return fmt.Errorf("objects[%d]: %w", i, err)
		}
	}
	return nil
}

// Inherit takes over the objects of a step of another ID with the same list of objects.
func (a *Apply) Inherit(left step.Step, prior json.RawMessage) (json.RawMessage, bool) {
	if l, ok := left.(*Apply); ok && l.Text == a.Text {
		return prior, true
	}
	return nil, false
}

func (a *Apply) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	differs, err := a.differs(ctx, env)
	return step.CheckResult(ctx, differs, err)
}

// differs compares the objects with the live ones, "" if all agree.
func (a *Apply) differs(ctx context.Context, env *step.Env) (string, error) {
	want, err := a.inventory()
	if err != nil {
		return "", err
	}
	inventory, err := want.object(a.Text)
	if err != nil {
		return "", err
	}
	live, err := getLive(ctx, env, append(slices.Clone(a.Objects), inventory))
	if err != nil {
		return "", err
	}
	have, err := live.inventory(a.Text)
	if err != nil {
		return "", err
	}
	var differs []string
	for _, o := range have.without(want) {
		differs = append(differs, o.key().String()+" is no longer wanted")
	}
	for _, o := range a.Objects {
		k, err := keyOf(o)
		if err != nil {
			return "", err
		}
		var want any
		if err := json.Unmarshal(o, &want); err != nil {
			return "", err
		}
		have, ok := live[k]
		if !ok {
			differs = append(differs, k.String()+" is not there")
		} else if where := difference(want, have, ""); where != "" {
			differs = append(differs, k.String()+where)
		}
	}
	if len(differs) == 0 && !slices.Equal(have, want) {
		differs = append(differs, "the cluster does not list the objects of "+a.Text+" yet")
	}
	return strings.Join(differs, "; "), nil
}

// Apply lists an object for as long as it may exist, so that an interrupted run forgets
// none.
func (a *Apply) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	want, err := a.inventory()
	if err != nil {
		return step.Result{}, err
	}
	have, err := liveInventory(ctx, env, a.Text)
	if err != nil {
		return step.Result{}, err
	}
	excess := have.without(want)
	all, err := append(slices.Clone(want), excess...).object(a.Text)
	if err != nil {
		return step.Result{}, err
	}
	// First, in case the run ends before the last object.
	if _, err := kubectl(ctx, env, list(append([]json.RawMessage{all}, a.Objects...)), "apply", "-f", "-"); err != nil {
		return step.Result{}, err
	}
	if len(excess) > 0 {
		if err := excess.remove(ctx, env, a.Text); err != nil {
			return step.Result{}, err
		}
		rest, err := want.object(a.Text)
		if err != nil {
			return step.Result{}, err
		}
		if _, err := kubectl(ctx, env, list([]json.RawMessage{rest}), "apply", "-f", "-"); err != nil {
			return step.Result{}, err
		}
	}
	return step.Result{State: step.Changed, Reason: fmt.Sprintf("applied %d objects of %s", len(a.Objects), a.Text)}, nil
}

// Undo deletes the objects, if the cluster stays. A reset removes the cluster as a whole.
func (a *Apply) Undo(ctx context.Context, env *step.Env, _ json.RawMessage) error {
	if !clusterStays(env) {
		return nil
	}
	have, err := liveInventory(ctx, env, a.Text)
	if err != nil {
		return err
	}
	if err := have.without(nil).remove(ctx, env, a.Text); err != nil {
		return err
	}
	_, err = kubectl(ctx, env, nil, "delete", "--ignore-not-found", "-n", inventoryNamespace, "configmap", inventoryName(a.Text))
	return err
}

// list returns objects as one v1 List.
func list(objects []json.RawMessage) []byte {
	var b bytes.Buffer
	b.WriteString(`{"apiVersion":"v1","kind":"List","items":[`)
	for i, o := range objects {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(o)
	}
	b.WriteString("]}\n")
	return b.Bytes()
}
