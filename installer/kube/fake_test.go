package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/kube/kubetest"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// fakeCluster answers reads of the API, and kubectl, from a map of objects. A call that
// it does not know fails the test.
type fakeCluster struct {
	t       *testing.T
	api     *kubetest.Server
	objects map[string]map[string]any // "deployment kube-system/coredns"
	calls   []string                  // of both kinds
	// on is called for every call, first. A read is "get", path, selector.
	on func(args []string)
}

func newCluster(t *testing.T) (*fakeCluster, *steptest.World) {
	t.Helper()
	f := &fakeCluster{t: t, objects: map[string]map[string]any{}}
	w := steptest.New(t)
	w.Programs = f.run
	f.api = kubetest.Serve(t, f.find)
	f.api.On = func(r *http.Request) { f.called([]string{"get", r.URL.Path, r.URL.Query().Get("labelSelector")}) }
	w.Write(t, AdminConf, f.api.Kubeconfig, 0o600)
	return f, w
}

func (f *fakeCluster) called(args []string) {
	f.calls = append(f.calls, strings.TrimSpace(strings.Join(args, " ")))
	if f.on != nil {
		f.on(args)
	}
}

// find ignores selectors.
func (f *fakeCluster) find(kind, ns, name string) []any {
	var found []any
	for _, k := range sorted(f.objects) {
		if prefix := kind + " " + ns + "/"; k == prefix+name || name == "" && strings.HasPrefix(k, prefix) {
			found = append(found, f.objects[k])
		}
	}
	return found
}

func key(kind, ns, name string) string { return strings.ToLower(kind) + " " + ns + "/" + name }

// put adds an object from JSON.
func (f *fakeCluster) put(text string) {
	f.t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		f.t.Fatal(err)
	}
	k, err := keyOf([]byte(text))
	if err != nil {
		f.t.Fatal(err)
	}
	f.objects[key(k.Kind, k.Namespace, k.Name)] = o
}

func (f *fakeCluster) run(_ context.Context, c step.Cmd) (step.Output, error) {
	want := []string{Kubectl, "--kubeconfig", AdminConf}
	if len(c.Argv) < 4 || !slices.Equal(c.Argv[:3], want) {
		f.t.Fatalf("not a call of the bundle's kubectl: %v", c.Argv)
	}
	args := c.Argv[3:]
	f.called(args)
	switch args[0] {
	case "apply", "create":
		for _, o := range f.list(c.Stdin) {
			f.put(o)
		}
		return steptest.Say("")
	case "get":
		return f.print(args)
	case "label", "taint", "annotate", "certificate", "delete", "drain", "scale", "logs":
		return f.change(args)
	}
	f.t.Fatalf("kubectl %v", args)
	return step.Output{}, nil
}

func (f *fakeCluster) list(stdin []byte) []string {
	var l struct {
		Kind  string
		Items []json.RawMessage
	}
	if err := json.Unmarshal(stdin, &l); err != nil {
		f.t.Fatalf("stdin %q: %v", stdin, err)
	}
	if l.Kind != "List" {
		return []string{string(stdin)}
	}
	var out []string
	for _, i := range l.Items {
		out = append(out, string(i))
	}
	return out
}

// print answers what people read: a namespace of smoke, pods, or events, of which there
// are none.
func (f *fakeCluster) print(args []string) (step.Output, error) {
	if slices.Contains(args, "--ignore-not-found") {
		return steptest.Say("")
	}
	var pods []any
	if slices.Contains(args, "pods") {
		pods = f.find("pod", args[slices.Index(args, "-n")+1], "")
	}
	b, err := json.Marshal(map[string]any{"items": pods})
	if err != nil {
		return step.Output{}, err
	}
	return steptest.Say(string(b))
}

func sorted(m map[string]map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func (f *fakeCluster) change(args []string) (step.Output, error) {
	switch {
	case args[0] == "delete" && args[1] == "secrets":
		for k := range f.objects {
			if strings.HasPrefix(k, "secret ") {
				delete(f.objects, k)
			}
		}
	case args[0] == "label" && args[1] == "node":
		meta := f.objects[key("node", "", args[2])]["metadata"].(map[string]any)
		labels, _ := meta["labels"].(map[string]any)
		if labels == nil {
			labels = map[string]any{}
		}
		setAll(labels, args[4:])
		meta["labels"] = labels
	case args[0] == "annotate":
		meta := f.objects[key("node", "", args[2])]["metadata"].(map[string]any)
		annotations, _ := meta["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
		}
		setAll(annotations, args[4:])
		meta["annotations"] = annotations
	case args[0] == "delete" && args[1] == "--ignore-not-found":
		ns, words := "", []string(nil)
		for i := 2; i < len(args); i++ {
			switch {
			case args[i] == "-n":
				i++
				ns = args[i]
			case args[i] != "--wait=false":
				words = append(words, args[i])
			}
		}
		kind, _, _ := strings.Cut(words[0], ".")
		delete(f.objects, key(kind, ns, words[1]))
	case args[0] == "taint":
		node := f.objects[key("node", "", args[2])]
		spec, _ := node["spec"].(map[string]any)
		taints, _ := spec["taints"].([]any)
		for _, s := range args[4:] {
			removed, isRemoval := strings.CutSuffix(s, "-")
			t, err := parseTaint(removed)
			if err != nil {
				f.t.Fatal(err)
			}
			n := len(taints)
			taints = slices.DeleteFunc(taints, func(x any) bool {
				o := x.(map[string]any)
				return o["key"] == t.Key && o["effect"] == t.Effect
			})
			if isRemoval {
				if len(taints) == n {
					return steptest.Exit([]string{"kubectl"}, 1, "taint not found")
				}
				continue
			}
			taints = append(taints, map[string]any{"key": t.Key, "value": t.Value, "effect": t.Effect})
		}
		node["spec"] = map[string]any{"taints": taints}
	case args[0] == "certificate":
		o := f.objects[key("csr", "", args[2])]
		o["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Approved"}}}
	}
	return steptest.Say("")
}

// setAll does "key=value" and "key-".
func setAll(m map[string]any, args []string) {
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			m[k] = v
		} else {
			delete(m, strings.TrimSuffix(a, "-"))
		}
	}
}

func readyNode(name string) string {
	return fmt.Sprintf(`{"kind":"Node","metadata":{"name":%q},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, name)
}
