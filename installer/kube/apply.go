package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// Apply is a list of Kubernetes objects with these fields. Other fields, such as the
// API server's defaults, do not count as differences.
type Apply struct {
	step.NoUndo
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

func (a *Apply) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	differs, err := a.differs(ctx, env)
	return step.CheckResult(ctx, differs, err)
}

// differs compares the objects with the live ones, "" if all agree.
func (a *Apply) differs(ctx context.Context, env *step.Env) (string, error) {
	// One call for all; objects that do not exist are missing from the answer.
	out, err := kubectl(ctx, env, a.list(), "get", "--ignore-not-found", "-o", "json", "-f", "-")
	if err != nil {
		return "", err
	}
	var live liveList
	if err := live.read(out); err != nil {
		return "", fmt.Errorf("kubectl get: %w", err)
	}
	var differs []string
	for _, o := range a.Objects {
		k, err := keyOf(o)
		if err != nil {
			return "", err
		}
		var want any
		if err := json.Unmarshal(o, &want); err != nil {
			return "", err
		}
		have, ok := live.find(k)
		if !ok {
			differs = append(differs, k.String()+" is not there")
		} else if where := difference(want, have, ""); where != "" {
			differs = append(differs, k.String()+where)
		}
	}
	return strings.Join(differs, "; "), nil
}

func (a *Apply) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	if _, err := kubectl(ctx, env, a.list(), "apply", "-f", "-"); err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Changed, Reason: fmt.Sprintf("applied %d objects of %s", len(a.Objects), a.Text)}, nil
}

// list returns the objects as one v1 List.
func (a *Apply) list() []byte {
	var b bytes.Buffer
	b.WriteString(`{"apiVersion":"v1","kind":"List","items":[`)
	for i, o := range a.Objects {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(o)
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

// liveList is the output of kubectl get: nothing, one object or a List.
type liveList map[ObjectKey]any

func (l *liveList) read(out []byte) error {
	*l = liveList{}
	if len(bytes.TrimSpace(out)) == 0 {
		return nil
	}
	var doc struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return err
	}
	items := doc.Items
	if doc.Kind != "List" {
		items = []json.RawMessage{out}
	}
	for _, it := range items {
		k, err := keyOf(it)
		if err != nil {
			return err
		}
		var v any
		if err := json.Unmarshal(it, &v); err != nil {
			return err
		}
		(*l)[k] = v
	}
	return nil
}

// find returns an object; without a namespace it looks in "default" too.
func (l liveList) find(k ObjectKey) (any, bool) {
	if v, ok := l[k]; ok {
		return v, true
	}
	if k.Namespace == "" {
		k.Namespace = "default"
		v, ok := l[k]
		return v, ok
	}
	return nil, false
}
