package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// NodeAddress is a node with the only address that its certificate may contain.
type NodeAddress struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// ApproveCSRs approves the kubelets' requests for serving certificates, which
// Kubernetes itself does not approve. It checks each request against the inventory, so
// that a node gets a certificate only for itself. The step is done when every kubelet
// serves a certificate of the cluster's authority.
type ApproveCSRs struct {
	step.NoUndo
	Nodes   []NodeAddress `json:"nodes"`
	CAFile  string        `json:"caFile"`            // of the cluster, on this host
	Port    int           `json:"port,omitempty"`    // default 10250
	Timeout step.Duration `json:"timeout,omitempty"` // default 5 minutes
}

func (*ApproveCSRs) Kind() string { return "kube-csr" }

func (a *ApproveCSRs) Describe() string {
	return fmt.Sprintf("serving certificates of %d kubelets, requests checked against the inventory", len(a.Nodes))
}

func (a *ApproveCSRs) Validate() error {
	var errs []error
	for _, n := range a.Nodes {
		errs = append(errs, step.CheckName("node", n.Name))
		if _, err := netip.ParseAddr(n.Address); err != nil {
			errs = append(errs, fmt.Errorf("node %q: address %q: not an address", n.Name, n.Address))
		}
	}
	if !filepath.IsAbs(a.CAFile) {
		errs = append(errs, fmt.Errorf("caFile %q: want an absolute path", a.CAFile))
	}
	return errors.Join(errs...)
}

func (a *ApproveCSRs) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	reason, err := a.serving(ctx, env)
	return step.CheckResult(ctx, reason, err)
}

// Apply approves requests until all kubelets serve their certificates. Requests
// that do not match the inventory stay pending; the error or the log names them.
func (a *ApproveCSRs) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	approved, refused := 0, map[string]string{}
	err := step.Poll(ctx, env, timeout(a.Timeout, 5*time.Minute), interval, "serving certificates of the kubelets",
		func(ctx context.Context) (string, error) {
			n, err := a.approve(ctx, env, refused)
			approved += n
			if err != nil {
				return "", err
			}
			return a.serving(ctx, env)
		})
	var notes []error
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		notes = append(notes, fmt.Errorf("request %s left alone: %s", name, refused[name]))
		env.Log.Warn("certificate request left alone", "request", name, "reason", refused[name])
	}
	if err != nil {
		return step.Result{}, errors.Join(append([]error{err}, notes...)...)
	}
	return step.Result{State: step.Changed, Reason: fmt.Sprintf("approved %d requests", approved)}, nil
}

// serving returns which kubelets do not serve a certificate that the cluster's
// authority signed for their address, "" if all do.
func (a *ApproveCSRs) serving(ctx context.Context, env *step.Env) (reason string, err error) {
	ca, err := env.ReadFile(a.CAFile)
	if err != nil {
		return "", err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return "", fmt.Errorf("no certificate in %q", a.CAFile)
	}
	port := a.Port
	if port == 0 {
		port = 10250
	}
	var bad []string
	for _, n := range a.Nodes {
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

type csr struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Request    []byte   `json:"request"` // PEM
		SignerName string   `json:"signerName"`
		Username   string   `json:"username"`
		Groups     []string `json:"groups"`
		Usages     []string `json:"usages"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type string `json:"type"`
		} `json:"conditions"`
	} `json:"status"`
}

func (a *ApproveCSRs) approve(ctx context.Context, env *step.Env, refused map[string]string) (int, error) {
	var list struct{ Items []csr }
	if err := get(ctx, env, &list, "csr"); err != nil {
		return 0, err
	}
	n := 0
	for _, c := range list.Items {
		if len(c.Status.Conditions) > 0 || !c.servingRequest() {
			continue
		}
		if err := a.check(c); err != nil {
			refused[c.Metadata.Name] = err.Error()
			continue
		}
		if err := step.CheckName("request", c.Metadata.Name); err != nil {
			return n, err
		}
		if _, err := kubectl(ctx, env, nil, "certificate", "approve", c.Metadata.Name); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// servingRequest reports whether a kubelet requests a serving certificate. Before
// Kubernetes 1.18 requests have no signer name.
func (c csr) servingRequest() bool {
	if c.Spec.SignerName != "" && c.Spec.SignerName != "kubernetes.io/legacy-unknown" {
		return c.Spec.SignerName == "kubernetes.io/kubelet-serving"
	}
	return slices.Contains(c.Spec.Usages, "server auth")
}

// check returns an error unless c is the request of a node of the inventory for itself.
func (a *ApproveCSRs) check(c csr) error {
	name, ok := strings.CutPrefix(c.Spec.Username, "system:node:")
	i := slices.IndexFunc(a.Nodes, func(n NodeAddress) bool { return ok && n.Name == name })
	if i < 0 {
		return fmt.Errorf("requester %q is not a node of the inventory", c.Spec.Username)
	}
	if !slices.Contains(c.Spec.Groups, "system:nodes") {
		return fmt.Errorf("requester %q is not in group system:nodes", c.Spec.Username)
	}
	for _, u := range c.Spec.Usages {
		if !slices.Contains([]string{"digital signature", "key encipherment", "server auth"}, u) {
			return fmt.Errorf("usage %q", u)
		}
	}
	block, _ := pem.Decode(c.Spec.Request)
	if block == nil {
		return errors.New("no PEM in the request")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	if err := req.CheckSignature(); err != nil {
		return err
	}
	return a.Nodes[i].names(req, c.Spec.Username)
}

func (n NodeAddress) names(req *x509.CertificateRequest, username string) error {
	if req.Subject.CommonName != username || !slices.Equal(req.Subject.Organization, []string{"system:nodes"}) {
		return fmt.Errorf("subject %q is not the requester", req.Subject)
	}
	if len(req.EmailAddresses)+len(req.URIs) > 0 || len(req.DNSNames)+len(req.IPAddresses) == 0 {
		return errors.New("wants other names than DNS names and addresses")
	}
	for _, d := range req.DNSNames {
		if d != n.Name {
			return fmt.Errorf("DNS name %q, the node is %q", d, n.Name)
		}
	}
	want, err := netip.ParseAddr(n.Address)
	if err != nil {
		return err
	}
	for _, ip := range req.IPAddresses {
		if got, ok := netip.AddrFromSlice(ip); !ok || got.Unmap() != want {
			return fmt.Errorf("address %s, the node's is %s", ip, want)
		}
	}
	return nil
}
