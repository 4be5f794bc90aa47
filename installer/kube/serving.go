package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// ServingCertificates waits until every kubelet serves a certificate of the cluster's
// authority. It approves nothing: the approver on the control planes does, now and
// whenever a kubelet renews. If the wait ends without success, the error lists the
// requests that are still pending, with the reasons of those that were refused.
type ServingCertificates struct {
	step.NoUndo
	Nodes   []NodeAddress `json:"nodes"`
	CAFile  string        `json:"caFile"`            // of the cluster, on this host
	Port    int           `json:"port,omitempty"`    // default 10250
	Timeout step.Duration `json:"timeout,omitempty"` // default 5 minutes
}

// Kind is older than the approver; journals of hosts contain it.
func (*ServingCertificates) Kind() string { return "kube-csr" }

func (*ServingCertificates) Observes() bool { return true }

func (s *ServingCertificates) Describe() string {
	return fmt.Sprintf("wait: %d kubelets serve certificates of the cluster", len(s.Nodes))
}

func (s *ServingCertificates) Validate() error {
	errs := []error{CheckInventory(s.Nodes)}
	if !filepath.IsAbs(s.CAFile) {
		errs = append(errs, fmt.Errorf("caFile %q: want an absolute path", s.CAFile))
	}
	return errors.Join(errs...)
}

func (s *ServingCertificates) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	reason, err := s.missing(ctx, env)
	return step.CheckResult(ctx, reason, err)
}

func (s *ServingCertificates) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	err := step.Poll(ctx, env, timeout(s.Timeout, 5*time.Minute), interval, "serving certificates of the kubelets",
		func(ctx context.Context) (string, error) { return s.missing(ctx, env) })
	if err != nil {
		return step.Result{}, errors.Join(append([]error{err}, s.pending(ctx, env)...)...)
	}
	return step.Result{State: step.Verified, Reason: fmt.Sprintf("%d kubelets serve them", len(s.Nodes))}, nil
}

// pending returns the requests that the approver has not approved, with the reasons.
func (s *ServingCertificates) pending(ctx context.Context, env *step.Env) []error {
	requests, err := admin(env).ServingRequests(ctx, s.Nodes)
	if err != nil {
		return []error{err}
	}
	var out []error
	for _, r := range requests {
		if r.Refused == nil {
			out = append(out, fmt.Errorf("request %s of %s is right and nobody approves it: does the approver run on a control plane?", r.Name, r.Node))
		} else {
			out = append(out, fmt.Errorf("request %s is refused: %w", r.Name, r.Refused))
		}
	}
	return out
}

// missing returns which kubelets do not serve a certificate that the cluster's
// authority signed for their address, "" if all do.
func (s *ServingCertificates) missing(ctx context.Context, env *step.Env) (reason string, err error) {
	ca, err := env.ReadFile(s.CAFile)
	if err != nil {
		return "", err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return "", fmt.Errorf("no certificate in %q", s.CAFile)
	}
	port := s.Port
	if port == 0 {
		port = 10250
	}
	var bad []string
	for _, n := range s.Nodes {
		d := tls.Dialer{
			NetDialer: &net.Dialer{Timeout: 5 * time.Second},
			Config:    &tls.Config{RootCAs: pool, ServerName: n.Address, MinVersion: tls.VersionTLS12},
		}
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(n.Address, fmt.Sprint(port)))
		if err != nil {
			bad = append(bad, fmt.Sprintf("kubelet of %s: %v", n.Name, err))
			continue
		}
		_ = conn.Close()
	}
	return strings.Join(bad, "; "), nil
}
