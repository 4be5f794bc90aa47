package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

type request struct {
	cn, org  string
	dns      []string
	ips      []string
	uri      string
	username string
	groups   []string
	usages   []string
	signer   string
}

func goodRequest() request {
	return request{
		cn: "system:node:n1", org: "system:nodes", dns: []string{"n1"}, ips: []string{"127.0.0.1"},
		username: "system:node:n1", groups: []string{"system:nodes", "system:authenticated"},
		usages: []string{"digital signature", "server auth"}, signer: "kubernetes.io/kubelet-serving",
	}
}

func (r request) object(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: r.cn, Organization: []string{r.org}}, DNSNames: r.dns}
	for _, ip := range r.ips {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
	}
	if r.uri != "" {
		u, err := url.Parse(r.uri)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{
		"kind": "CSR", "metadata": map[string]any{"name": "csr-1"},
		"spec": map[string]any{
			"request":  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			"username": r.username, "groups": r.groups, "usages": r.usages, "signerName": r.signer,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A node gets a serving certificate for its own name and address and no other.
func TestServingRequests(t *testing.T) {
	tests := []struct {
		name   string
		change func(*request)
		want   string // why it is left alone; empty: approved; "-": not looked at
	}{
		{"good", func(*request) {}, ""},
		{"before 1.18, without a signer's name", func(r *request) { r.signer = "" }, ""},
		{"1.18's signer", func(r *request) { r.signer = "kubernetes.io/legacy-unknown" }, ""},
		{"RSA key's usages", func(r *request) { r.usages = append(r.usages, "key encipherment") }, ""},
		{"client certificate", func(r *request) { r.signer = "kubernetes.io/kube-apiserver-client-kubelet" }, "-"},
		{"client usage before 1.18", func(r *request) { r.signer = ""; r.usages = []string{"client auth"} }, "-"},
		{"another node's name", func(r *request) { r.dns = []string{"n2"} }, `DNS name "n2"`},
		{"another name beside", func(r *request) { r.dns = append(r.dns, "kubernetes.default.svc") }, "kubernetes.default.svc"},
		{"another address", func(r *request) { r.ips = []string{"10.96.0.1"} }, "10.96.0.1"},
		{"URI", func(r *request) { r.uri = "spiffe://x" }, "other names"},
		{"no names", func(r *request) { r.dns, r.ips = nil, nil }, "other names"},
		{"requester is another node", func(r *request) { r.username = "system:node:n2" }, "not the requester"},
		{"requester outside the inventory", func(r *request) { r.username = "system:node:evil" }, "not a node of the inventory"},
		{"requester is a user", func(r *request) { r.username = "n1" }, "not a node of the inventory"},
		{"not in the group", func(r *request) { r.groups = nil }, "not in group"},
		{"other organization", func(r *request) { r.org = "system:masters" }, "not the requester"},
		{"client usage as well", func(r *request) { r.usages = append(r.usages, "client auth") }, "client auth"},
	}
	nodes := []NodeAddress{{"n1", "127.0.0.1"}, {"n2", "127.0.0.2"}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, w := newCluster(t)
			r := goodRequest()
			tt.change(&r)
			f.put(r.object(t))
			refused := map[string]string{}
			n, err := (&ApproveCSRs{Nodes: nodes}).approve(t.Context(), w.Env(), refused)
			if err != nil {
				t.Fatal(err)
			}
			why := refused["csr-1"]
			switch {
			case tt.want == "" && n != 1:
				t.Errorf("left alone: %s", why)
			case tt.want != "" && n != 0:
				t.Error("approved")
			case tt.want == "-" && why != "", tt.want != "" && tt.want != "-" && !strings.Contains(why, tt.want):
				t.Errorf("reason %q, want %q", why, tt.want)
			}
		})
	}
}

// It is done when the kubelet serves what the cluster's authority signed, not
// when a request was approved.
func TestApproveCSRs(t *testing.T) {
	f, w := newCluster(t)
	f.put(goodRequest().object(t))
	ca, serve := authority(t)
	w.Write(t, "/etc/kubernetes/pki/ca.crt", string(ca), 0o600)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var approved bool
	f.on = func(args []string) { approved = approved || args[0] == "certificate" }
	conf := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if !approved {
			return nil, fmt.Errorf("no serving certificate yet")
		}
		return serve, nil
	}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = tls.Server(c, conf).Handshake(); _ = c.Close() }()
		}
	}()
	a := &ApproveCSRs{
		Nodes: []NodeAddress{{"n1", "127.0.0.1"}}, CAFile: "/etc/kubernetes/pki/ca.crt", Port: l.Addr().(*net.TCPAddr).Port,
	}
	if res, err := a.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs {
		t.Fatalf("before: %+v, %v", res, err)
	}
	if res, err := a.Apply(t.Context(), w.Env()); err != nil || res.State != step.Changed {
		t.Fatalf("apply: %+v, %v", res, err)
	}
	if res, err := a.Check(t.Context(), w.Env()); err != nil || res.State != step.OK {
		t.Errorf("after: %+v, %v", res, err)
	}
	other, _ := authority(t)
	w.Write(t, "/etc/kubernetes/pki/ca.crt", string(other), 0o600)
	if res, _ := a.Check(t.Context(), w.Env()); res.State == step.OK {
		t.Error("a certificate of another authority is accepted")
	}
}

func authority(t *testing.T) (caPEM []byte, leaf *tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, Subject: pkix.Name{CommonName: "ca"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
