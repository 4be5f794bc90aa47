package agent_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/secrettest"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestT42MirrorIsNotTrusted(t *testing.T) {
	flip := func(prefix string) func(string, []byte) []byte {
		return func(path string, b []byte) []byte {
			if strings.HasPrefix(path, prefix) && len(b) > 0 {
				b[len(b)/2] ^= 1
			}
			return b
		}
	}
	// What still parses after the change must be caught by its digest alone.
	replace := func(from, to string) func(string, []byte) []byte {
		return func(path string, b []byte) []byte {
			if strings.HasPrefix(path, "/bundle/blobs/") {
				return bytes.ReplaceAll(b, []byte(from), []byte(to))
			}
			return b
		}
	}
	strange, err := trust.GenerateKeys(bundletest.Created)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		tamper func(string, []byte) []byte
		change func(*agent.Request)
		want   error
	}{
		{name: "index.json", tamper: flip("/bundle/index.json"), want: agent.ErrVerify},
		{name: "signature", tamper: flip("/bundle/index.json.sig"), want: agent.ErrVerify},
		{name: "no signature", want: agent.ErrPolicy, tamper: func(p string, b []byte) []byte {
			if strings.HasSuffix(p, ".sig") {
				return nil
			}
			return b
		}},
		{name: "Lock", tamper: flip("/bundle/blobs/"), want: agent.ErrVerify},
		{name: "well-formed Lock", tamper: replace(`"sequence": 1`, `"sequence": 9`), want: agent.ErrVerify},
		{name: "repository key", tamper: replace("BEGIN PGP PUBLIC KEY", "BEGIN PGP STRANGEKEY"), want: agent.ErrVerify},
		{name: "too long", want: agent.ErrVerify, tamper: func(p string, b []byte) []byte {
			if strings.HasPrefix(p, "/bundle/blobs/") {
				return append(b, 'x')
			}
			return b
		}},
		{name: "file", tamper: flip("/files/"), want: agent.ErrVerify},
		{name: "file longer", want: agent.ErrVerify, tamper: func(p string, b []byte) []byte {
			if strings.HasPrefix(p, "/files/") {
				return append(b, bytes.Repeat([]byte("x"), 1000)...)
			}
			return b
		}},
		{name: "file shorter", want: agent.ErrVerify, tamper: func(p string, b []byte) []byte {
			if strings.HasPrefix(p, "/files/") {
				return b[:10]
			}
			return b
		}},
		{name: "another key", want: agent.ErrVerify, change: func(r *agent.Request) { r.Bundle.PublicKeys = string(strange.PublicPEM()) }},
		{name: "no key", want: agent.ErrPolicy, change: func(r *agent.Request) { r.Bundle.PublicKeys = "" }},
		{name: "another bundle", want: agent.ErrVerify, change: func(r *agent.Request) {
			r.Bundle.Root = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		}},
		{name: "another CA", change: func(r *agent.Request) { r.Mirror.CAPEM = otherCA(t) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.tamper = tt.tamper
			req := w.request(agent.ModeApply, item("bin", kubelet(w)))
			if tt.change != nil {
				tt.change(&req)
			}
			_, err := w.do(req)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if left, _ := filepath.Glob(filepath.Join(w.Root, "usr/local/bin/*")); len(left) > 0 {
				t.Errorf("put in place: %q", left)
			}
		})
	}
}

func otherCA(t *testing.T) string {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	other := *srv.Certificate()
	raw := bytes.Clone(other.Raw)
	raw[len(raw)-1] ^= 1 // another certificate with the same name and a wrong signature
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func TestT42KeptCopiesAreVerifiedAgain(t *testing.T) {
	w := newWorld(t, 1)
	if _, err := w.do(w.request(agent.ModeApply, item("bin", kubelet(w)))); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.Root, "var/lib/offk8s/bundle/*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("kept %q %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
		w.paths = nil
		if _, err := w.do(w.request(agent.ModeApply, item("bin", kubelet(w)))); err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
		}
		if len(w.paths) == 0 {
			t.Errorf("%s: an altered copy was used", filepath.Base(f))
		}
	}
}

func TestT03Rollback(t *testing.T) {
	w := newWorld(t, 5)
	if _, err := w.do(w.request(agent.ModeApply)); err != nil {
		t.Fatal(err)
	}
	w.serve(4)
	req := w.request(agent.ModeApply, item("a", &step.File{Path: "/a"}))
	if _, err := w.do(req); !errors.Is(err, agent.ErrPolicy) || !strings.Contains(err.Error(), "sequence 4, this host has seen 5") {
		t.Errorf("error %v, want ErrPolicy with both sequences", err)
	}
	req.AllowDowngrade = true
	if _, err := w.do(req); err != nil {
		t.Errorf("with AllowDowngrade: %v", err)
	}
	// A dry run moves no mark.
	w.serve(9)
	if _, err := w.do(w.request(agent.ModeCheck)); err != nil {
		t.Fatal(err)
	}
	w.serve(6)
	if _, err := w.do(w.request(agent.ModeApply)); err != nil {
		t.Errorf("after a dry run with 9: %v", err)
	}
}

func TestT50NoProxyOfTheEnvironment(t *testing.T) {
	proxied := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied++ }))
	defer proxy.Close()
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(v, proxy.URL)
	}
	t.Setenv("NO_PROXY", "")
	w := newWorld(t, 1)
	if _, err := w.do(w.request(agent.ModeApply, item("bin", kubelet(w)))); err != nil {
		t.Fatal(err)
	}
	if proxied > 0 {
		t.Errorf("%d requests through the proxy", proxied)
	}
}

func TestT43SecretsStayOnTheHost(t *testing.T) {
	w := newWorld(t, 1)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes.Repeat([]byte("k3y"), 90)}))
	w.Secrets["pki:x.key"], w.Secrets["token:bootstrap"] = key, "abcdef.0123456789abcdef"
	w.Secrets["kubeconfig:admin"] = "users:\n- user:\n    client-key-data: TFMwdExTMUNSVWRKVGlCU1UwRWdVRkpKVmtGVVJTQkxSVms9\n"
	line := strings.Split(key, "\n")[2]
	said := "bad key near " + line + " token abcdef.0123456789abcdef data TFMwdExTMUNSVWRKVGlCU1UwRWdVRkpKVmtGVVJTQkxSVms9"
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) { return steptest.Exit(c.Argv, 1, said) }
	_, err := w.do(w.request(agent.ModeApply,
		item("key", &step.File{Path: "/x.key", Secret: "pki:x.key"}),
		item("conf", &step.File{Path: "/admin.conf", Secret: "kubeconfig:admin"}),
		item("use", &step.Command{Argv: []string{"use"}, Once: true, StdinSecret: "token:bootstrap"})))
	if err == nil {
		t.Fatal("no error")
	}
	if !strings.Contains(w.output.String(), "bad key near ***") {
		t.Errorf("output: %s", w.output.String())
	}
	secrets := map[string][]byte{}
	for k, v := range w.Secrets {
		secrets[k] = []byte(v)
	}
	argv := ""
	for _, c := range w.Calls {
		argv += strings.Join(c, " ") + "\n"
	}
	secrettest.None(t, secrets, map[string]string{
		"output": w.output.String(), "argv": argv, "journal": w.Read(t, "var/lib/offk8s/journal.jsonl"),
	})
	if strings.Contains(w.output.String(), "TFMwdExTMUNSVWRKVGlCU1UwRWdVRkpKVmtGVVJTQkxSVms9") {
		t.Error("output holds a word of a kubeconfig")
	}
	if st, err := os.Stat(filepath.Join(w.Root, "var/lib/offk8s/journal.jsonl")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("journal: %v %v", st, err)
	}
}

// A host keeps its cluster's credentials and versions, whoever sends the request.
func TestOtherCredentialsOrVersionsAreRefused(t *testing.T) {
	w := newWorld(t, 1)
	w.b.Lock.Kubernetes = "1.36.3"
	w.serve(1)
	apply := func(identity string) error {
		req := w.request(agent.ModeApply, item("a", &step.File{Path: "/a", Content: identity}))
		req.Identity = identity
		_, err := w.do(req)
		return err
	}
	if err := apply("sha256:aa"); err != nil {
		t.Fatal(err)
	}
	if err := apply("sha256:bb"); !errors.Is(err, agent.ErrIdentity) {
		t.Errorf("other credentials: %v, want ErrIdentity", err)
	}
	w.b.Lock.Name = "repacked"
	w.serve(1)
	if err := apply("sha256:aa"); err != nil {
		t.Errorf("the same versions in another bundle: %v", err)
	}
	w.b.Lock.Kubernetes = "1.36.4"
	w.serve(2)
	if err := apply("sha256:aa"); !errors.Is(err, agent.ErrUpgrade) || !strings.Contains(err.Error(), "1.36.3") {
		t.Errorf("other versions: %v, want ErrUpgrade with the version of the host", err)
	}
	if got := w.Read(t, "a"); got != "sha256:aa" {
		t.Errorf("file has %q, want what the cluster's own operator wrote", got)
	}
	undo := w.request(agent.ModeUndo)
	undo.Identity = "sha256:bb"
	if _, err := w.do(undo); !errors.Is(err, agent.ErrIdentity) || w.Read(t, "a") != "sha256:aa" {
		t.Errorf("reset with other credentials: %v, want ErrIdentity", err)
	}
	undo.Identity = "" // without any
	if _, err := w.do(undo); err != nil {
		t.Errorf("reset without credentials: %v", err)
	}
}
