package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Image is a container image in containerd's namespace for Kubernetes. It is
// pulled by the digest of the signed Lock through the host's registry
// configuration, that is from the mirror, and tagged with its original name,
// since old kubelets look for the pause image by name. The kubelet does not remove it
// when the disk fills up, since it is pinned.
type Image struct {
	NoUndo
	Name   string        `json:"name"` // "registry.k8s.io/pause:3.10"
	Digest digest.Digest `json:"digest"`
	// PullArgs are added to `ctr images pull`, see Features.CtrPullArgs.
	PullArgs []string `json:"pullArgs,omitempty"`
}

// ImageRef returns name, "registry/path:tag", by digest: "registry/path@sha256:…".
func ImageRef(name string, d digest.Digest) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + d.String()
}

func (*Image) Kind() string { return "image" }

func (i *Image) Target() Target { return Target{Name: i.Name} }

func (i *Image) Describe() string { return fmt.Sprintf("image %s %.19s", i.Name, i.Digest) }

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

func (i *Image) Check(ctx context.Context, env *Env) (Result, error) {
	reason, err := i.look(ctx, env)
	return CheckResult(ctx, reason, err)
}

// pinned is the label of images that containerd reports as pinned; kubelets of 1.27 and
// later leave these to themselves.
const pinned = "io.cri-containerd.pinned"

// look reports which of the two names lacks content, snapshots or the pin. Its call is the same
// for all images of a request, so that one is enough (see Env.Run). If it fails, another
// image may be the reason.
func (i *Image) look(ctx context.Context, env *Env) (reason string, err error) {
	all := []*Image{}
	for _, s := range env.Kept {
		if x, ok := s.(*Image); ok {
			all = append(all, x)
		}
	}
	out, err := check(ctx, env, all)
	if err != nil || !slices.Contains(all, i) {
		if out, err = check(ctx, env, []*Image{i}); err != nil {
			return "", err
		}
	}
	for _, name := range i.names() {
		if !complete(string(out), name, i.Digest) {
			return name + " is not there or not pinned", nil
		}
	}
	return "", nil
}

func (i *Image) names() []string { return []string{ImageRef(i.Name, i.Digest), i.Name} }

// check returns a line for each name of images that containerd has. The name with the
// digest must be pinned too: the other one may lack the label, since ctr of containerd 2
// does not copy it.
func check(ctx context.Context, env *Env, images []*Image) ([]byte, error) {
	if len(images) == 0 {
		return nil, nil
	}
	args := []string{"images", "check"}
	for _, i := range images {
		args = append(args, fmt.Sprintf("name==%s,labels.%q==pinned", ImageRef(i.Name, i.Digest), pinned), "name=="+i.Name)
	}
	return ctr(ctx, env, args...)
}

// complete reports whether `ctr images check` prints a complete image. A line has
// reference, type, digest, status "complete (n/n)", size, and "true" if unpacked.
func complete(out, name string, d digest.Digest) bool {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 4 && f[0] == name && f[len(f)-1] == "true" &&
			slices.Contains(f, d.String()) && slices.Contains(f, "complete") {
			return true
		}
	}
	return false
}

func (i *Image) Apply(ctx context.Context, env *Env) (Result, error) {
	ref := ImageRef(i.Name, i.Digest)
	args := append([]string{"images", "pull", "--hosts-dir", CertsDir, "--label", pinned + "=pinned"}, i.PullArgs...)
	pull := Cmd{Argv: ctrArgv(append(args, ref)...), Timeout: slowTimeout}
	if _, err := env.Run.Run(ctx, pull); err != nil {
		return Result{}, fmt.Errorf("pull image %q: %w", i.Name, err)
	}
	if _, err := ctr(ctx, env, "images", "tag", "--force", ref, i.Name); err != nil {
		return Result{}, fmt.Errorf("name image %q: %w", i.Name, err)
	}
	return Result{State: Changed, Reason: "pulled " + i.Name}, nil
}

func ctr(ctx context.Context, env *Env, args ...string) ([]byte, error) {
	out, err := env.Run.Run(ctx, Cmd{Argv: ctrArgv(args...)})
	if err != nil {
		return out.Stdout, fmt.Errorf("ctr %s: %w", strings.Join(args[:2], " "), err)
	}
	return out.Stdout, nil
}

func ctrArgv(args ...string) []string {
	return append([]string{BinDir + "/ctr", "--namespace", "k8s.io"}, args...)
}
