package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/step"
)

// Image is a container image in containerd's store for Kubernetes. It is pulled
// by the digest of the signed Lock through the registry configuration of the
// host, that is from the mirror, and also gets its original name, under which
// old kubelets look for the pause image.
type Image struct {
	NoUndo
	Name   string        `json:"name"` // "registry.k8s.io/pause:3.10"
	Digest digest.Digest `json:"digest"`
	// PullArgs are more arguments of `ctr images pull`, see Features.CtrPullArgs.
	PullArgs []string `json:"pullArgs,omitempty"`
}

// ImageRef is name, "registry/path:tag", by digest: "registry/path@sha256:…".
func ImageRef(name string, d digest.Digest) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + d.String()
}

// Kind returns "image".
func (*Image) Kind() string { return "image" }

// Describe names image and the start of the digest.
func (i *Image) Describe() string { return fmt.Sprintf("image %s %.19s", i.Name, i.Digest) }

// Validate checks name and digest.
func (i *Image) Validate() error {
	var errs []error
	if i.Name == "" || strings.HasPrefix(i.Name, "-") || strings.ContainsAny(i.Name, " \t\n\r\x00@,\"'") {
		errs = append(errs, fmt.Errorf("image %q: want registry/path:tag", i.Name))
	}
	if err := i.Digest.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("digest %q: %w", i.Digest, err))
	}
	return errors.Join(errs...)
}

// Check asks containerd whether content and snapshots of both names are whole.
func (i *Image) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	for _, name := range []string{ImageRef(i.Name, i.Digest), i.Name} {
		out, err := ctr(ctx, env, "images", "check", "name=="+name)
		if err != nil {
			return notYet(ctx, err)
		}
		if !whole(string(out), name, i.Digest) {
			return step.Result{State: step.Differs, Reason: name + " is not there"}, nil
		}
	}
	return step.Result{State: step.OK}, nil
}

// whole finds the line of name in what `ctr images check` prints: reference,
// type, digest, status "complete (n/n)", size, unpacked "true".
func whole(out, name string, d digest.Digest) bool {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 4 && f[0] == name && f[len(f)-1] == "true" &&
			slices.Contains(f, d.String()) && slices.Contains(f, "complete") {
			return true
		}
	}
	return false
}

// Apply pulls the image and gives it its name.
func (i *Image) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	ref := ImageRef(i.Name, i.Digest)
	args := append([]string{"images", "pull", "--hosts-dir", CertsDir}, i.PullArgs...)
	if _, err := ctr(ctx, env, append(args, ref)...); err != nil {
		return step.Result{}, fmt.Errorf("pull image %q: %w", i.Name, err)
	}
	if _, err := ctr(ctx, env, "images", "tag", "--force", ref, i.Name); err != nil {
		return step.Result{}, fmt.Errorf("name image %q: %w", i.Name, err)
	}
	return step.Result{State: step.Changed, Reason: "pulled " + i.Name}, nil
}

func ctr(ctx context.Context, env *step.Env, args ...string) ([]byte, error) {
	out, err := env.Run.Run(ctx, step.Cmd{Argv: append([]string{Ctr, "--namespace", "k8s.io"}, args...)})
	if err != nil {
		return out.Stdout, fmt.Errorf("ctr %s: %w", strings.Join(args[:2], " "), err)
	}
	return out.Stdout, nil
}
