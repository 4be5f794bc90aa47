package approver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
)

// fakeAPI answers the list and the call of kubectl that the service may make.
type fakeAPI struct {
	t        *testing.T
	mu       sync.Mutex // of the fields that tests change meanwhile
	requests []map[string]any
	approved []string
	down     error // the error of every call
	hang     bool  // calls last until their context ends
	calls    int
}

const kubeconfig = "/etc/kubernetes/offk8s-approver.conf"

// call is the part of a call that depends on the state of the API.
func (f *fakeAPI) call(ctx context.Context) error {
	f.calls++
	if f.hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return f.down
}

// RoundTrip answers the list of requests.
func (f *fakeAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(r.Context()); err != nil {
		return nil, err
	}
	if r.Method != http.MethodGet || r.URL.Path != "/apis/certificates.k8s.io/v1/certificatesigningrequests" {
		f.t.Errorf("%s %s", r.Method, r.URL)
	}
	b, err := json.Marshal(map[string]any{"kind": "List", "items": f.requests})
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(b))}, err
}

// Run answers kubectl, which approves.
func (f *fakeAPI) Run(ctx context.Context, c step.Cmd) (step.Output, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(ctx); err != nil {
		return step.Output{}, err
	}
	if want := []string{kube.Kubectl, "--kubeconfig", kubeconfig}; len(c.Argv) < 4 || !slices.Equal(c.Argv[:3], want) {
		f.t.Errorf("not kubectl with the service's credential: %v", c.Argv)
	}
	if len(c.Env) != 1 || !strings.HasPrefix(c.Env[0], "HOME=") || c.Env[0] == "HOME=/root" {
		f.t.Errorf("environment %v: want a home for the cache", c.Env)
	}
	args := c.Argv[3:]
	if len(args) < 3 || args[0] != "certificate" || args[1] != "approve" {
		f.t.Errorf("kubectl %v", args)
		return step.Output{}, nil
	}
	f.approved = append(f.approved, args[2:]...)
	for _, r := range f.requests {
		if slices.Contains(args[2:], r["metadata"].(map[string]any)["name"].(string)) {
			r["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Approved"}}}
		}
	}
	return step.Output{}, nil
}

// ask adds the request of node for a certificate with an address.
func (f *fakeAPI) ask(name, node, address string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	user := "system:node:" + node
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: user, Organization: []string{"system:nodes"}},
		DNSNames: []string{node}, IPAddresses: []net.IP{net.ParseIP(address)},
	}, key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.requests = append(f.requests, map[string]any{
		"metadata": map[string]any{"name": name, "uid": "uid of " + name},
		"spec": map[string]any{
			"request":  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			"username": user, "groups": []string{"system:nodes"},
			"usages": []string{"digital signature", "server auth"}, "signerName": "kubernetes.io/kubelet-serving",
		},
	})
}

func inventory(t *testing.T, file string, nodes ...kube.NodeAddress) {
	t.Helper()
	b, err := json.Marshal(Config{Kubeconfig: kubeconfig, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the service in the bubble of the test until the test ends it.
func start(t *testing.T, f *fakeAPI, file string) (log *bytes.Buffer, stop func()) {
	t.Helper()
	log = &bytes.Buffer{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: file, Runner: f, Transport: f, Log: slog.New(slog.NewTextHandler(log, nil))})
	}()
	synctest.Wait()
	return log, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("end: %v", err)
		}
	}
}

// A node's request for itself is approved; a forged one is refused, logged once, and
// keeps nobody else waiting.
func TestApproves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "approver.json")
		inventory(t, file, kube.NodeAddress{Name: "n1", Address: "10.0.0.1"})
		f := &fakeAPI{t: t}
		f.ask("csr-evil", "n1", "10.96.0.1")
		f.ask("csr-1", "n1", "10.0.0.1")
		log, stop := start(t, f, file)
		f.ask("csr-2", "n1", "10.0.0.1")
		time.Sleep(10 * interval)
		synctest.Wait()
		stop()
		if want := []string{"csr-1", "csr-2"}; !slices.Equal(f.approved, want) {
			t.Errorf("approved %v, want %v", f.approved, want)
		}
		if got := strings.Count(log.String(), "request refused"); got != 1 || !strings.Contains(log.String(), "10.96.0.1") {
			t.Errorf("%d refusals are logged, want one with its reason:\n%s", got, log)
		}
	})
}

// A big cluster that joins at once needs few calls.
func TestManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "approver.json")
		f := &fakeAPI{t: t}
		var nodes []kube.NodeAddress
		for i := range 120 {
			n := kube.NodeAddress{Name: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("10.0.1.%d", i)}
			nodes = append(nodes, n)
			f.ask("csr-"+n.Name, n.Name, n.Address)
		}
		inventory(t, file, nodes...)
		log, stop := start(t, f, file)
		stop()
		if len(f.approved) != 120 || f.calls != 4 || strings.Count(log.String(), "request approved") != 120 {
			t.Errorf("%d approved with %d calls, want 120 with a list and three approvals", len(f.approved), f.calls)
		}
	})
}

// A node that joins later is approved without a restart.
func TestChangedInventory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "approver.json")
		f := &fakeAPI{t: t}
		f.ask("csr-2", "n2", "10.0.0.2")
		log, stop := start(t, f, file) // before install wrote the file
		inventory(t, file, kube.NodeAddress{Name: "n1", Address: "10.0.0.1"})
		time.Sleep(2 * interval)
		synctest.Wait()
		if len(f.approved) > 0 {
			t.Error("a node outside the inventory is approved")
		}
		inventory(t, file, kube.NodeAddress{Name: "n2", Address: "10.0.0.2"})
		time.Sleep(interval)
		synctest.Wait()
		stop()
		if !slices.Equal(f.approved, []string{"csr-2"}) {
			t.Errorf("approved %v\n%s", f.approved, log)
		}
	})
}

// While the API is down the service asks less and less often, and goes on when it is up.
func TestAPIDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "approver.json")
		inventory(t, file, kube.NodeAddress{Name: "n1", Address: "10.0.0.1"})
		f := &fakeAPI{t: t, down: errors.New("connection refused")}
		f.ask("csr-1", "n1", "10.0.0.1")
		log, stop := start(t, f, file)
		time.Sleep(time.Hour)
		synctest.Wait()
		if f.calls < 20 || f.calls > 40 {
			t.Errorf("%d calls in an hour, want about 30", f.calls)
		}
		if !strings.Contains(log.String(), "connection refused") {
			t.Errorf("log:\n%s", log)
		}
		f.mu.Lock()
		f.down = nil
		f.mu.Unlock()
		time.Sleep(maxInterval)
		synctest.Wait()
		stop()
		if !slices.Equal(f.approved, []string{"csr-1"}) {
			t.Errorf("approved %v", f.approved)
		}
	})
}

// A call that hangs does not hang the service, and its end does not wait for the call.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "approver.json")
		inventory(t, file, kube.NodeAddress{Name: "n1", Address: "10.0.0.1"})
		f := &fakeAPI{t: t, hang: true}
		_, stop := start(t, f, file)
		time.Sleep(roundTimeout + 2*interval)
		synctest.Wait()
		if f.calls != 2 {
			t.Errorf("%d calls, want a second one after the first took too long", f.calls)
		}
		before := time.Now()
		stop()
		if took := time.Since(before); took > 0 {
			t.Errorf("the service ended after %s", took)
		}
	})
}

func TestBadConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "approver.json")
	for name, text := range map[string]string{
		"no kubeconfig":  `{"nodes":[]}`,
		"no address":     `{"kubeconfig":"/a","nodes":[{"name":"n1","address":"n1.example.com"}]}`,
		"option as name": `{"kubeconfig":"/a","nodes":[{"name":"--all","address":"10.0.0.1"}]}`,
		"unknown field":  `{"kubeconfig":"/a","node":[]}`,
		"half a file":    `{"kubeconfig":"/a","nodes":[{"na`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := load(file); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
	if err := Run(t.Context(), Options{}); err == nil {
		t.Error("it runs without a file")
	}
}
