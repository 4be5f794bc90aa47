package step

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Hostname is the name of the host, now and after a reboot.
type Hostname struct {
	Name string `json:"name"`
}

func (h *Hostname) Kind() string { return "hostname" }

func (h *Hostname) Target() Target { return Target{Name: h.Name} }

func (h *Hostname) Describe() string { return "hostname " + h.Name }

// Validate requires a lower-case RFC 1123 name, as Kubernetes does for nodes.
func (h *Hostname) Validate() error {
	if !strict.IsNodeName(h.Name) {
		return fmt.Errorf("name %q: want a lower-case RFC 1123 name of at most %d characters", h.Name, strict.MaxNodeName)
	}
	return nil
}

const (
	hostnameFile   = "/etc/hostname"
	hostnameKernel = "/proc/sys/kernel/hostname"
)

// hostnamePrior is the previous name, in the file and in the kernel.
type hostnamePrior struct {
	File   string `json:"file,omitempty"`
	Kernel string `json:"kernel"`
}

func (h *Hostname) Check(_ context.Context, env *Env) (Result, error) {
	var prior hostnamePrior
	file, err := env.ReadFile(hostnameFile)
	if err != nil && !absent(err) {
		return Result{}, err
	}
	kernel, err := env.ReadFile(hostnameKernel)
	if err != nil {
		return Result{}, err
	}
	prior.File, prior.Kernel = strings.TrimSpace(string(file)), strings.TrimSpace(string(kernel))
	if prior.File == h.Name && prior.Kernel == h.Name {
		return Result{State: OK}, nil
	}
	reason := fmt.Sprintf("is %q", prior.Kernel)
	if prior.Kernel == h.Name {
		reason = fmt.Sprintf("%s says %q", hostnameFile, prior.File)
	}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(prior)}, nil
}

// Apply sets the name in the kernel and in the file. systemd-hostnamed watches
// the file, so its bus is not needed.
func (h *Hostname) Apply(ctx context.Context, env *Env) (Result, error) {
	res, err := h.Check(ctx, env)
	if err != nil || res.State == OK {
		return res, err
	}
	if err := setHostname(env, h.Name, h.Name); err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "set", Prior: res.Prior}, nil
}

func (h *Hostname) Undo(_ context.Context, env *Env, raw json.RawMessage) error {
	var prior hostnamePrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("hostname: prior state: %w", err)
	}
	return setHostname(env, prior.File, prior.Kernel)
}

func setHostname(env *Env, file, kernel string) error {
	if file == "" {
		if err := os.Remove(env.Path(hostnameFile)); err != nil && !absent(err) {
			return err
		}
	} else if err := env.writeKeepingLabel(place{path: hostnameFile, mode: 0o644}, strings.NewReader(file+"\n")); err != nil {
		return err
	}
	return os.WriteFile(env.Path(hostnameKernel), []byte(kernel), 0o644)
}
