package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
)

// KnownKey refuses keys of the encryption at rest that cannot read what the API server of
// this host writes: those of a state directory that is older than the cluster.
type KnownKey struct {
	step.NoUndo
	Path string         `json:"path"` // of the EncryptionConfiguration on the host
	Ref  step.SecretRef `json:"ref"`  // the one to come
}

func (*KnownKey) Kind() string { return "kube-known-key" }

func (*KnownKey) Observes() bool { return true }

func (k *KnownKey) Secrets() []step.SecretRef { return []step.SecretRef{k.Ref} }

func (*KnownKey) Describe() string { return "the new keys read the Secrets of this cluster" }

func (k *KnownKey) Validate() error {
	if k.Ref == "" || !path.IsAbs(k.Path) {
		return fmt.Errorf("ref %q, path %q: want both, the path from the root", k.Ref, k.Path)
	}
	return nil
}

func (k *KnownKey) Check(_ context.Context, env *step.Env) (step.Result, error) {
	now, err := os.ReadFile(env.Path(k.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return step.Result{State: step.Verified, Reason: "there are none yet"}, nil
	}
	if err != nil {
		return step.Result{}, err
	}
	next, err := env.Secret(k.Ref)
	if err != nil {
		return step.Result{}, err
	}
	if key, ok := pki.WritesWith(now, next); !ok {
		return step.Result{}, fmt.Errorf("%s: the cluster encrypts Secrets with %s, which the state directory does not have: it is older than the cluster; import the newer one (offk8s state import)", k.Path, key)
	}
	return step.Result{State: step.Verified}, nil
}

func (k *KnownKey) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	return k.Check(ctx, env)
}

// Rewrite writes all Secrets again, as they are, so that etcd has them encrypted with the
// first key of the API servers: all of them must have it first.
type Rewrite struct {
	step.NoUndo
	Key string `json:"key"` // name
}

// rewriteStamp holds the key for which this host has done it.
const rewriteStamp = "kube-rewrite"

// rewritePage is the number of Secrets that are read at a time; one can have 1 MiB.
const rewritePage = "100"

func (*Rewrite) Kind() string { return "kube-rewrite" }

func (r *Rewrite) Describe() string { return "all Secrets are encrypted with " + r.Key }

func (r *Rewrite) Validate() error { return step.CheckName("key", r.Key) }

func (r *Rewrite) Check(_ context.Context, env *step.Env) (step.Result, error) {
	if env.Stamp(rewriteStamp) == r.Key {
		return step.Result{State: step.OK, Reason: "done before"}, nil
	}
	return step.Result{State: step.Differs, Reason: "some may be encrypted with an older key"}, nil
}

func (r *Rewrite) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	a, err := admin(env).connect()
	if err != nil {
		return step.Result{}, err
	}
	defer a.close()
	n, err := a.rewriteSecrets(ctx)
	if err != nil {
		return step.Result{}, err
	}
	if err := env.SetStamp(rewriteStamp, r.Key); err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Changed, Reason: fmt.Sprintf("wrote %d Secrets again", n)}, nil
}

// rewriteSecrets puts every Secret as it was read, and returns how many. The API server
// writes one that does not change if it is encrypted with another key than the first.
func (a *api) rewriteSecrets(ctx context.Context) (int, error) {
	n := 0
	for next := ""; ; {
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []map[string]json.RawMessage `json:"items"`
		}
		query := url.Values{"limit": {rewritePage}}
		if next != "" {
			query.Set("continue", next)
		}
		err := a.get(ctx, &page, apiPath("v1", "", "secrets", "")+"?"+query.Encode())
		if s, ok := errors.AsType[*statusError](err); ok && s.code == http.StatusGone && next != "" {
			next = "" // the list is too old to go on with; those that were written stay so
			continue
		}
		if err != nil {
			return n, err
		}
		for _, item := range page.Items {
			if err := a.putSecret(ctx, item); err != nil {
				return n, err
			}
			n++
		}
		if next = page.Metadata.Continue; next == "" {
			return n, nil
		}
	}
}

// putSecret writes a Secret of a list. One that somebody else has written or deleted
// meanwhile needs it no more.
func (a *api) putSecret(ctx context.Context, item map[string]json.RawMessage) error {
	var meta struct{ Namespace, Name string }
	if err := json.Unmarshal(item["metadata"], &meta); err != nil {
		return fmt.Errorf("list of Secrets: %w", err)
	}
	item["apiVersion"], item["kind"] = json.RawMessage(`"v1"`), json.RawMessage(`"Secret"`) // not in lists
	body, err := json.Marshal(item)
	if err != nil {
		return err
	}
	_, err = a.do(ctx, http.MethodPut, apiPath("v1", meta.Namespace, "secrets", meta.Name), bytes.NewReader(body))
	if s, ok := errors.AsType[*statusError](err); ok && (s.code == http.StatusConflict || s.code == http.StatusNotFound) {
		return nil
	}
	return err
}
