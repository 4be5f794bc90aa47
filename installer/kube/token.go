package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Group is the group, in addition to system:bootstrappers, of nodes that join with a
// bootstrap token. The role bindings of the controlplane stage use it.
const Group = "system:bootstrappers:offk8s"

const (
	// tokenLabel selects the token Secrets of offk8s.
	tokenLabel = "app.kubernetes.io/managed-by=offk8s"
	tokenType  = "bootstrap.kubernetes.io/token"
)

// Token is a bootstrap token in the cluster while nodes have to join. It is short-lived
// and only authenticates.
type Token struct {
	step.NoUndo
	Ref step.SecretRef `json:"ref"` // the secret "id.secret"
	// Nodes are the nodes to join; once all have joined, no token is created. A node that
	// has stopped reporting counts as one to join, since its certificate may have expired.
	Nodes []string `json:"nodes"`
	// New are those on machines without offk8s: one that takes the place of another,
	// whose node is still registered, has no certificate.
	New []string `json:"new,omitempty"`
	// TTL is the lifetime, default 1 hour.
	TTL step.Duration `json:"ttl,omitempty"`
}

func (*Token) Kind() string { return "kube-token" }

func (t *Token) Secrets() []step.SecretRef { return []step.SecretRef{t.Ref} }

func (t *Token) Describe() string {
	return fmt.Sprintf("bootstrap token for %s, unless all nodes have joined", timeout(t.TTL, time.Hour))
}

func (t *Token) Validate() error {
	if t.Ref == "" {
		return errors.New("ref: empty")
	}
	if t.TTL < 0 || timeout(t.TTL, time.Hour) > 24*time.Hour {
		return fmt.Errorf("ttl %s: want at most 24h", t.TTL)
	}
	return nil
}

func (t *Token) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	live, err := nodes(ctx, env)
	if err != nil {
		return step.CheckResult(ctx, "", err)
	}
	missing := slices.DeleteFunc(slices.Clone(t.Nodes), func(n string) bool {
		l, joined := live[n]
		return joined && !l.silent() && !slices.Contains(t.New, n)
	})
	if len(missing) == 0 {
		return step.Result{State: step.OK, Reason: "all nodes have joined"}, nil
	}
	exists, err := t.exists(ctx, env)
	if exists {
		return step.Result{State: step.OK, Reason: "the token exists"}, nil
	}
	return step.CheckResult(ctx, "not joined, or silent: "+strings.Join(missing, ", "), err)
}

// exists reports whether the cluster has the token's Secret.
func (t *Token) exists(ctx context.Context, env *step.Env) (bool, error) {
	id, _, err := t.parts(env)
	if err != nil {
		return false, err
	}
	tokens, err := tokens(ctx, env)
	return slices.Contains(tokens, "bootstrap-token-"+id), err
}

// tokens returns the names of the bootstrap tokens of offk8s.
func tokens(ctx context.Context, env *step.Env) ([]string, error) {
	var list struct {
		Items []struct {
			Type     string `json:"type"`
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
	}
	if err := get(ctx, env, &list, selected(apiPath("v1", "kube-system", "secrets", ""), tokenLabel)); err != nil {
		return nil, err
	}
	var out []string
	for _, s := range list.Items {
		if s.Type == tokenType {
			out = append(out, s.Metadata.Name)
		}
	}
	return out, nil
}

// Apply creates the token's Secret. Its expiry counts on the control plane's clock.
func (t *Token) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	id, secret, err := t.parts(env)
	if err != nil {
		return step.Result{}, err
	}
	ttl := timeout(t.TTL, time.Hour)
	object, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": tokenType,
		"metadata": map[string]any{
			"name": "bootstrap-token-" + id, "namespace": "kube-system",
			"labels": map[string]string{"app.kubernetes.io/managed-by": "offk8s"},
		},
		"stringData": map[string]string{
			"token-id": id, "token-secret": secret, "expiration": time.Now().UTC().Add(ttl).Format(time.RFC3339),
			"usage-bootstrap-authentication": "true", "auth-extra-groups": Group,
		},
	})
	if err != nil {
		return step.Result{}, err
	}
	// create, not apply: apply would repeat the secret in an annotation.
	if _, err := kubectl(ctx, env, object, "create", "-f", "-"); err != nil {
		return step.Result{}, fmt.Errorf("create bootstrap token: %w", err)
	}
	return step.Result{State: step.Changed, Reason: fmt.Sprintf("bootstrap token for %s", ttl)}, nil
}

func (t *Token) parts(env *step.Env) (id, secret string, err error) {
	b, err := env.Secret(t.Ref)
	if err != nil {
		return "", "", fmt.Errorf("bootstrap token: %w", err)
	}
	id, secret, ok := strings.Cut(strings.TrimSpace(string(b)), ".")
	if !ok || len(id) != 6 || len(secret) != 16 {
		return "", "", errors.New("bootstrap token: not of the form id.secret")
	}
	return id, secret, nil
}

// TokenGone deletes the bootstrap tokens of offk8s, including those of interrupted runs.
type TokenGone struct{ step.NoUndo }

func (*TokenGone) Kind() string { return "kube-token-gone" }

func (*TokenGone) Describe() string { return "no bootstrap token" }

func (*TokenGone) Validate() error { return nil }

func (*TokenGone) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	left, err := tokens(ctx, env)
	differs := ""
	if len(left) > 0 {
		differs = fmt.Sprintf("%d bootstrap tokens are there", len(left))
	}
	return step.CheckResult(ctx, differs, err)
}

func (*TokenGone) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	_, err := kubectl(ctx, env, nil, "delete", "secrets", "-n", "kube-system", "-l", tokenLabel,
		"--field-selector", "type="+tokenType)
	if err != nil {
		return step.Result{}, err
	}
	return step.Result{State: step.Changed, Reason: "deleted the bootstrap token"}, nil
}
