package step_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, Subject: pkix.Name{CommonName: "ca"},
		NotBefore: time.Now().Add(-10 * 365 * 24 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	})
	return a
}

// sign returns the certificate and its key; the first is of the authority itself.
func (a *authority) sign(tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// client returns the client certificate of a node with its key, PEM, valid from and
// until the times, counted from now.
func (a *authority) client(node string, from, until time.Duration) string {
	a.t.Helper()
	c, key := a.sign(&x509.Certificate{
		Subject:   pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(certPEM(c)) + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

const (
	kubeletPKI  = "/var/lib/kubelet/pki"
	kubeletConf = "/var/lib/kubelet/kubeconfig"
	hour        = time.Hour
)

// kubeletHost is a host with a kubelet that has joined, and an API with its node.
type kubeletHost struct {
	*steptest.World
	ca     *authority
	step   *step.KubeletJoin
	answer string // of the API for the node; "" is the node
	active string // state of the kubelet's unit
	verbs  []string
}

func newKubeletHost(t *testing.T) *kubeletHost {
	t.Helper()
	h := &kubeletHost{World: steptest.New(t), ca: newAuthority(t), active: "active"}
	h.Programs = h.run
	serving, key := h.ca.sign(&x509.Certificate{
		NotBefore: time.Now().Add(-hour), NotAfter: time.Now().Add(hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/nodes/n1" || r.TLS.PeerCertificates[0].Subject.CommonName != "system:node:n1" {
			t.Errorf("asked for %s as %s", r.URL.Path, r.TLS.PeerCertificates[0].Subject)
		}
		if h.answer != "" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, h.answer)
	}))
	api.TLS = &tls.Config{
		ClientAuth:   tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{serving.Raw}, PrivateKey: key}},
	}
	api.StartTLS()
	t.Cleanup(api.Close)
	h.step = &step.KubeletJoin{
		Node: "n1", Kubeconfig: kubeletConf, CertDir: kubeletPKI, CAFile: "/etc/kubernetes/pki/ca.crt", Server: api.URL,
		Pods: step.Cleanup{Files: []string{"/run/flannel"}, Interfaces: []string{"cni0"}},
	}
	h.Write(t, "/etc/kubernetes/pki/ca.crt", string(certPEM(h.ca.cert)), 0o600)
	h.Write(t, kubeletConf, "kubeconfig", 0o600)
	h.Write(t, kubeletPKI+"/kubelet-server-current.pem", "serving", 0o600)
	h.Write(t, "/run/flannel/subnet.env", "FLANNEL_SUBNET=10.244.1.1/24", 0o644)
	h.client(t, h.ca.client("n1", -hour, hour))
	return h
}

// client puts a client certificate where the kubelet keeps it, behind a link.
func (h *kubeletHost) client(t *testing.T, pem string) {
	t.Helper()
	h.Write(t, kubeletPKI+"/kubelet-client-2026.pem", pem, 0o600)
	link := filepath.Join(h.Root, kubeletPKI, "kubelet-client-current.pem")
	_ = os.Remove(link)
	if err := os.Symlink("kubelet-client-2026.pem", link); err != nil {
		t.Fatal(err)
	}
}

// run knows systemctl and ip.
func (h *kubeletHost) run(_ context.Context, c step.Cmd) (step.Output, error) {
	switch {
	case c.Argv[0] == "systemctl" && c.Argv[1] == "show":
		return steptest.Say("LoadState=loaded\nActiveState=" + h.active + "\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\n")
	case c.Argv[0] == "systemctl":
		h.verbs = append(h.verbs, c.Argv[1]+" "+c.Argv[len(c.Argv)-1])
		h.active = "inactive"
		return steptest.Say("")
	case c.Argv[0] == "ip":
		if slices.Contains(c.Argv, "delete") {
			h.verbs = append(h.verbs, "delete "+c.Argv[len(c.Argv)-1])
		}
		return steptest.Say("")
	}
	return step.Output{}, &step.NotFoundError{Name: c.Argv[0]}
}

const notFound = `{"kind":"Status","reason":"NotFound","details":{"name":"n1","kind":"nodes"},"code":404}`

func TestKubeletJoin(t *testing.T) {
	expired := newKubeletHost(t)
	expired.client(t, expired.ca.client("n1", -2*hour, -hour))
	steptest.Suite(t, steptest.Case{Name: "expired", Step: expired.step, World: expired.World, Leaves: true})
	for _, f := range []string{kubeletConf, kubeletPKI + "/kubelet-client-current.pem", kubeletPKI + "/kubelet-client-2026.pem", kubeletPKI + "/kubelet-server-current.pem"} {
		if _, err := os.Lstat(filepath.Join(expired.Root, f)); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want none", f, err)
		}
	}
	if want := []string{"stop kubelet.service"}; !slices.Equal(expired.verbs, want) {
		t.Errorf("expired: %v, want %v", expired.verbs, want)
	}

	deleted := newKubeletHost(t)
	deleted.answer = notFound
	steptest.Suite(t, steptest.Case{Name: "deleted", Step: deleted.step, World: deleted.World, Leaves: true})
	if want := []string{"stop kubelet.service", "delete kube-ipvs0", "delete cni0"}; !slices.Equal(deleted.verbs, want) {
		t.Errorf("deleted: %v, want %v", deleted.verbs, want)
	}
	if _, err := os.Lstat(filepath.Join(deleted.Root, "/run/flannel")); !os.IsNotExist(err) {
		t.Errorf("the pod network of the deleted node stays: %v", err)
	}
	if deleted.Read(t, kubeletConf) == "" || deleted.Read(t, kubeletPKI+"/kubelet-client-current.pem") == "" {
		t.Error("a good certificate is removed")
	}
}

// The kubeconfig of a kubelet that has joined follows the address of the API.
func TestKubeletMoves(t *testing.T) {
	const conf = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: QQ==\n    server: https://10.0.0.11:6443\n  name: default\n"
	h := newKubeletHost(t)
	h.Write(t, kubeletConf, conf, 0o600)
	steptest.Suite(t, steptest.Case{Name: "moved", Step: h.step, World: h.World, Leaves: true})
	if got, want := h.Read(t, kubeletConf), strings.Replace(conf, "https://10.0.0.11:6443", h.step.Server, 1); got != want {
		t.Errorf("kubeconfig:\n%s", got)
	}
	if want := []string{"stop kubelet.service"}; !slices.Equal(h.verbs, want) || h.Read(t, kubeletPKI+"/kubelet-client-current.pem") == "" {
		t.Errorf("%v, want %v and the certificate as it was", h.verbs, want)
	}
}

// The kubelet stays as it is unless it cannot come back by itself.
func TestKubeletJoinLook(t *testing.T) {
	remove := func(files ...string) func(*testing.T, *kubeletHost) {
		return func(t *testing.T, h *kubeletHost) {
			for _, f := range files {
				if err := os.Remove(filepath.Join(h.Root, f)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	cert := kubeletPKI + "/kubelet-client-current.pem"
	tests := []struct {
		name   string
		change func(*testing.T, *kubeletHost)
		want   string // in the reason; empty: nothing differs
	}{
		{"joined", func(*testing.T, *kubeletHost) {}, ""},
		{"never started", remove(kubeletConf, cert), ""},
		{"API down", func(_ *testing.T, h *kubeletHost) { h.step.Server = "https://127.0.0.1:1" }, ""},
		{"clock behind", func(t *testing.T, h *kubeletHost) { h.client(t, h.ca.client("n1", hour, 2*hour)) }, ""},
		{"404 of something else", func(_ *testing.T, h *kubeletHost) { h.answer = "no such page" }, ""},
		{"404 of another kind", func(_ *testing.T, h *kubeletHost) { h.answer = strings.Replace(notFound, "nodes", "pods", 1) }, ""},
		{"API of another authority", func(t *testing.T, h *kubeletHost) {
			other := newKubeletHost(t)
			other.answer = notFound
			h.step.Server = other.step.Server
		}, ""},
		{"deleted", func(_ *testing.T, h *kubeletHost) { h.answer = notFound }, "deleted from the API"},
		{"deleted, killed while joining", func(_ *testing.T, h *kubeletHost) { h.answer, h.active = notFound, "inactive" }, "deleted from the API"},
		{"deleted, stopped without pods", func(t *testing.T, h *kubeletHost) {
			h.answer, h.active = notFound, "inactive"
			if err := os.RemoveAll(filepath.Join(h.Root, "/run/flannel")); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"expired", func(t *testing.T, h *kubeletHost) { h.client(t, h.ca.client("n1", -2*hour, -hour)) }, "expired on"},
		{"other authority", func(t *testing.T, h *kubeletHost) { h.client(t, newAuthority(t).client("n1", -hour, hour)) }, "does not verify"},
		{"other node", func(t *testing.T, h *kubeletHost) { h.client(t, h.ca.client("n2", -hour, hour)) }, "is for"},
		{"damaged", func(t *testing.T, h *kubeletHost) { h.client(t, "-----BEGIN") }, "damaged"},
		{"link to nothing", remove(kubeletPKI + "/kubelet-client-2026.pem"), "damaged"},
		{"killed while joining", remove(cert), "no client certificate yet"},
		{"no kubeconfig", remove(kubeletConf), "lost its kubeconfig"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newKubeletHost(t)
			tt.change(t, h)
			res, err := h.step.Check(t.Context(), h.Env())
			if err != nil {
				t.Fatal(err)
			}
			if differs := res.State == step.Differs; differs != (tt.want != "") || !strings.Contains(res.Reason, tt.want) {
				t.Errorf("%s %q, want %q", res.State, res.Reason, tt.want)
			}
			if tt.want != "" {
				return
			}
			if res, err := h.step.Apply(t.Context(), h.Env()); err != nil || res.State != step.OK || len(h.verbs) > 0 {
				t.Errorf("apply: %+v, %v; %v", res, err, h.verbs)
			}
		})
	}
}
