// Package kubetest holds a fake API server.
package kubetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is an API server that answers GET, over TLS and only to its own user.
type Server struct {
	// Kubeconfig has the user's credential.
	Kubeconfig string
	// Health is the answer of /healthz.
	Health string
	// Gone are the prefixes of paths that the server does not have.
	Gone []string
	// On, if set, is called for each request, first.
	On func(r *http.Request)

	t    testing.TB
	find Find
	mu   sync.Mutex
}

// Find returns the objects of a kind ("daemonset") in a namespace, of all namespaces if it
// is empty, with a name, all if it is empty.
type Find func(kind, namespace, name string) []any

// resources are the kinds and their names in paths. A path of one with a slash has a
// namespace.
var resources = map[string]string{
	"Node": "nodes", "Namespace": "namespaces", "ConfigMap": "configmaps/", "Pod": "pods/", "Secret": "secrets/",
	"Service": "services/", "ServiceAccount": "serviceaccounts/", "Deployment": "deployments/", "DaemonSet": "daemonsets/",
	"Job": "jobs/", "NetworkPolicy": "networkpolicies/", "ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "CSR": "certificatesigningrequests",
}

// Serve starts a server with the objects of find.
func Serve(t testing.TB, find Find) *Server {
	t.Helper()
	s := &Server{Health: "ok", t: t, find: find}
	user, pair := newUser(t)
	srv := httptest.NewUnstartedServer(s)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	srv.TLS.ClientCAs.AddCert(user)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	key, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	s.Kubeconfig = fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    server: %q
    certificate-authority-data: %s
users:
- name: admin
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: default
  context:
    cluster: kubernetes
    user: admin
current-context: default
`, srv.URL, text("CERTIFICATE", srv.Certificate().Raw), text("CERTIFICATE", user.Raw), text("PRIVATE KEY", key))
	return s
}

func newUser(t testing.TB) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "admin"}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.On != nil {
		s.On(r)
	}
	if r.Method != http.MethodGet {
		s.t.Errorf("%s %s", r.Method, r.URL)
	}
	if r.URL.Path == "/healthz" {
		fmt.Fprint(w, s.Health)
		return
	}
	code, body := s.answer(r.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.t.Error(err)
	}
}

func (s *Server) answer(path string) (code int, body any) {
	missing := map[string]any{"kind": "Status", "reason": "NotFound", "message": path + " not found"}
	if slices.ContainsFunc(s.Gone, func(p string) bool { return strings.HasPrefix(path, p) }) {
		return http.StatusNotFound, missing
	}
	words := strings.Split(strings.Trim(path, "/"), "/")
	if words[0] == "apis" {
		words = words[1:] // the group
	}
	if len(words) == 2 {
		return http.StatusOK, types()
	}
	words = words[2:]
	namespace := ""
	if words[0] == "namespaces" && len(words) > 2 {
		namespace, words = words[1], words[2:]
	}
	kind := ""
	for k, name := range resources {
		if strings.TrimSuffix(name, "/") == words[0] {
			kind = strings.ToLower(k)
		}
	}
	if kind == "" || len(words) > 2 {
		s.t.Errorf("GET %s", path)
		return http.StatusNotFound, missing
	}
	if len(words) == 1 {
		return http.StatusOK, map[string]any{"kind": "List", "items": s.find(kind, namespace, "")}
	}
	found := s.find(kind, namespace, words[1])
	if len(found) == 0 {
		return http.StatusNotFound, missing
	}
	return http.StatusOK, found[0]
}

// types returns the list of all types, whatever the group.
func types() map[string]any {
	var list []any
	for kind, name := range resources {
		plural, namespaced := strings.CutSuffix(name, "/")
		list = append(list, map[string]any{"name": plural, "kind": kind, "namespaced": namespaced},
			map[string]any{"name": plural + "/status", "kind": kind, "namespaced": !namespaced})
	}
	return map[string]any{"kind": "APIResourceList", "resources": list}
}
