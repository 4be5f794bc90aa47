package kube

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"
)

type request struct {
	name     string // default "csr-1"
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
		"kind": "CSR", "metadata": map[string]any{"name": cmp.Or(r.name, "csr-1")},
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
		{"both addresses", func(r *request) { r.ips = append(r.ips, "fd00::1") }, ""},
		{"second address of another node", func(r *request) { r.ips = append(r.ips, "fd00::2") }, "address fd00::2, the node's is 127.0.0.1 fd00::1"},
		{"URI", func(r *request) { r.uri = "spiffe://x" }, "other names"},
		{"no names", func(r *request) { r.dns, r.ips = nil, nil }, "other names"},
		{"requester is another node", func(r *request) { r.username = "system:node:n2" }, "not the requester"},
		{"requester outside the inventory", func(r *request) { r.username = "system:node:evil" }, "not a node of the inventory"},
		{"requester is a user", func(r *request) { r.username = "n1" }, "not a node of the inventory"},
		{"not in the group", func(r *request) { r.groups = nil }, "not in group"},
		{"other organization", func(r *request) { r.org = "system:masters" }, "not the requester"},
		{"name that is an option", func(r *request) { r.name = "--all" }, "not a name"},
		{"client usage as well", func(r *request) { r.usages = append(r.usages, "client auth") }, "client auth"},
	}
	nodes := []NodeAddress{{Name: "n1", Address: "127.0.0.1", Second: "fd00::1"}, {Name: "n2", Address: "127.0.0.2", Second: "fd00::2"}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, w := newCluster(t)
			r := goodRequest()
			tt.change(&r)
			f.put(r.object(t))
			got, err := admin(w.Env()).ServingRequests(t.Context(), nodes)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.want == "-":
				if len(got) > 0 {
					t.Errorf("looked at: %+v", got)
				}
			case len(got) != 1:
				t.Errorf("%d requests, want one", len(got))
			case tt.want == "":
				if got[0].Refused != nil || got[0].Node != "n1" {
					t.Errorf("node %q, refused: %v", got[0].Node, got[0].Refused)
				}
			case got[0].Refused == nil || !strings.Contains(got[0].Refused.Error(), tt.want):
				t.Errorf("refused: %v, want %q", got[0].Refused, tt.want)
			case admin(w.Env()).Approve(t.Context(), got[0]) == nil:
				t.Error("approved")
			}
		})
	}
}

// A reason stays short, although a request chooses the names in it.
func TestLongRefusal(t *testing.T) {
	f, w := newCluster(t)
	r := goodRequest()
	r.dns = []string{strings.Repeat("n", 100_000)}
	f.put(r.object(t))
	got, err := admin(w.Env()).ServingRequests(t.Context(), []NodeAddress{{Name: "n1", Address: "127.0.0.1"}})
	if err != nil || len(got) != 1 || got[0].Refused == nil || len(got[0].Refused.Error()) > maxRefusal {
		t.Errorf("%d requests, %v", len(got), err)
	}
}
