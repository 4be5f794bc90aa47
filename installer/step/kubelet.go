package step

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/manifests/strict"
)

// KubeletJoin makes a kubelet join again that cannot come back by itself. A kubelet
// renews its client certificate and registers its node, but
//
//   - if the certificate has expired, or the cluster's authority did not sign it, the
//     kubelet needs a bootstrap token: the step removes its certificates, so that the
//     next steps write a bootstrap kubeconfig and start it,
//   - if its node was deleted from the API, only a kubelet that starts registers a new
//     one (kubernetes/kubernetes#71398). The pods of a deleted node are deleted too, and
//     the new node gets another pod network: the step also ends the pods that are left.
//     A stopped kubelet without pods is as this step leaves it,
//   - if the API has another address, the kubeconfig still has the one with which the
//     kubelet joined: the step replaces it.
//
// In all cases the step stops the kubelet, and the step of its unit starts it. A kubelet
// with a good certificate and a node stays as it is, and so does one that never started.
type KubeletJoin struct {
	NoUndo
	Node       string `json:"node"`
	Kubeconfig string `json:"kubeconfig"` // that the kubelet writes
	CertDir    string `json:"certDir"`    // of the kubelet
	CAFile     string `json:"caFile"`     // of the cluster
	Server     string `json:"server"`     // URL of the API
	// Pods lists the leftovers of pods on the host.
	Pods Cleanup `json:"pods"`
}

// KubeletCert is the name of the kubelet's client certificate, with its key, in the
// kubelet's directory of certificates.
const KubeletCert = "kubelet-client-current.pem"

const kubeletUnit = "kubelet.service"

func (*KubeletJoin) Kind() string { return "kubelet-join" }

func (k *KubeletJoin) Target() Target { return Target{Name: k.Node} }

func (k *KubeletJoin) Describe() string {
	return fmt.Sprintf("kubelet of %s joins again if its certificate or its node is gone", k.Node)
}

func (k *KubeletJoin) Validate() error {
	errs := []error{
		CheckName("node", k.Node), checkPath("kubeconfig", k.Kubeconfig), checkPath("certDir", k.CertDir),
		checkPath("caFile", k.CAFile), k.Pods.Validate(),
	}
	if !strings.HasPrefix(k.Server, "https://") {
		errs = append(errs, fmt.Errorf("server %q: want https", k.Server))
	}
	return errors.Join(errs...)
}

func (k *KubeletJoin) Check(ctx context.Context, env *Env) (Result, error) {
	stale, deleted, err := k.look(ctx, env)
	if deleted {
		stale = fmt.Sprintf("node %q was deleted from the API", k.Node)
	}
	if old, _ := k.moved(env); stale == "" && old != "" {
		stale = fmt.Sprintf("the kubelet connects to %s, want %s", old, k.Server)
	}
	return CheckResult(ctx, stale, err)
}

func (k *KubeletJoin) Apply(ctx context.Context, env *Env) (Result, error) {
	stale, deleted, err := k.look(ctx, env)
	if err != nil {
		return Result{}, err
	}
	old, conf := k.moved(env)
	if stale == "" && !deleted && old == "" {
		return Result{State: OK}, nil
	}
	// A running kubelet keeps its certificate and its registration in memory.
	s, err := env.unitState(ctx, kubeletUnit)
	if err != nil {
		return Result{}, err
	}
	if s.exists() {
		if err := env.systemctl(ctx, "stop", "--", kubeletUnit); err != nil {
			return Result{}, err
		}
	}
	if old != "" {
		if err := env.write(place{path: k.Kubeconfig, mode: 0o600}, strings.NewReader(conf)); err != nil {
			return Result{}, err
		}
	}
	switch {
	case deleted:
		if err := k.Pods.remove(ctx, env); err != nil {
			return Result{}, err
		}
		return Result{State: Changed, Reason: "ended its pods; the kubelet registers again"}, nil
	case stale != "":
		if err := k.removeCertificates(env); err != nil {
			return Result{}, err
		}
		return Result{State: Changed, Reason: "removed its certificates; the kubelet joins again"}, nil
	}
	return Result{State: Changed, Reason: "the kubelet connects to " + k.Server}, nil
}

// serverLine is the address of the API in a kubeconfig.
var serverLine = strict.NewPattern(`(?m)^(\s+server: *)"?(https://[^\s"]+)"?$`)

// moved returns the address of the API in the kubelet's kubeconfig, if it is another than
// Server, and the kubeconfig with Server instead.
func (k *KubeletJoin) moved(env *Env) (old, conf string) {
	b, err := env.ReadFile(k.Kubeconfig)
	m := serverLine.Regexp().FindSubmatch(b)
	if err != nil || m == nil || string(m[2]) == k.Server {
		return "", ""
	}
	return string(m[2]), string(serverLine.Regexp().ReplaceAll(b, []byte("${1}"+k.Server)))
}

// removeCertificates removes the kubeconfig last: while it exists, the step is not done.
func (k *KubeletJoin) removeCertificates(env *Env) error {
	if err := errors.Join(env.checkParents(k.CertDir+"/"+KubeletCert), env.checkParents(k.Kubeconfig)); err != nil {
		return err
	}
	// The serving certificates too: the kubelet does not notice another authority.
	files, err := filepath.Glob(filepath.Join(env.Path(k.CertDir), "kubelet-*.pem"))
	if err != nil {
		return err
	}
	for _, f := range append(files, env.Path(k.Kubeconfig)) {
		if err := os.Remove(f); err != nil && !absent(err) {
			return err
		}
	}
	return nil
}

// look returns why the kubelet needs another certificate, "" if it does not, and whether
// its node was deleted from the API.
func (k *KubeletJoin) look(ctx context.Context, env *Env) (stale string, deleted bool, err error) {
	certFile := k.CertDir + "/" + KubeletCert
	switch conf, cert := env.exists(k.Kubeconfig), env.exists(certFile); {
	case !conf && !cert:
		return "", false, nil // it never started
	case !conf:
		return "the kubelet has lost its kubeconfig", false, nil
	case !cert:
		return "the kubelet has no client certificate yet", false, nil
	}
	ca, err := env.ReadFile(k.CAFile)
	if err != nil {
		return "", false, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return "", false, fmt.Errorf("file %q: no certificate in it", k.CAFile)
	}
	pem, err := env.ReadFile(certFile)
	if err != nil && !absent(err) {
		return "", false, err
	}
	pair, err := tls.X509KeyPair(pem, pem)
	if err != nil {
		return fmt.Sprintf("%s is damaged: %v", certFile, err), false, nil
	}
	if stale = k.stale(pair.Leaf, roots, time.Now()); stale != "" {
		return stale, false, nil
	}
	deleted, err = k.deleted(ctx, pair, roots)
	if err != nil {
		// The API may be down, and then nothing can be known.
		env.Log.Debug("cannot ask for the node", "node", k.Node, "error", err)
	}
	if deleted {
		ended, err := k.ended(ctx, env)
		return "", !ended, err
	}
	return "", false, nil
}

// ended reports whether the kubelet is stopped and nothing is left of its pods.
func (k *KubeletJoin) ended(ctx context.Context, env *Env) (bool, error) {
	s, err := env.unitState(ctx, kubeletUnit)
	if err != nil {
		return false, err
	}
	stopped := !s.exists() || s.active == "inactive" || s.active == "failed"
	return stopped && !slices.ContainsFunc(k.Pods.Files, env.exists), nil
}

func (k *KubeletJoin) stale(cert *x509.Certificate, roots *x509.CertPool, now time.Time) string {
	if now.After(cert.NotAfter) {
		return fmt.Sprintf("the client certificate expired on %s", cert.NotAfter.Format(time.DateOnly))
	}
	if now.Before(cert.NotBefore) {
		now = cert.NotBefore // the clock of this host may be behind
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Sprintf("the client certificate does not verify: %v", err)
	}
	if cert.Subject.CommonName != "system:node:"+k.Node || !slices.Contains(cert.Subject.Organization, "system:nodes") {
		return fmt.Sprintf("the client certificate is for %q", cert.Subject)
	}
	return ""
}

// deleted asks the API as the kubelet, which may read its node. It reports true only if
// the API itself answers that there is none.
func (k *KubeletJoin) deleted(ctx context.Context, pair tls.Certificate, roots *x509.CertPool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// No Proxy: the API is in the cluster's network.
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair},
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.Server+"/api/v1/nodes/"+k.Node, nil)
	if err != nil {
		return false, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return false, err
	}
	if resp.StatusCode == http.StatusOK {
		return false, nil
	}
	var status struct {
		Kind    string `json:"kind"`
		Reason  string `json:"reason"`
		Details struct {
			Name string `json:"name"`
			Kind string `json:"kind"`
		} `json:"details"`
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return false, fmt.Errorf("answer %s: %w", resp.Status, err)
	}
	if resp.StatusCode == http.StatusNotFound && status.Kind == "Status" && status.Reason == "NotFound" &&
		status.Details.Kind == "nodes" && status.Details.Name == k.Node {
		return true, nil
	}
	return false, fmt.Errorf("answer %s: %s", resp.Status, status.Reason)
}
