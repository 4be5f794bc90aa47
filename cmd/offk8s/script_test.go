package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/manifests"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"offk8s": asDocumented})
}

// TestScripts runs the stories in testdata/script against the real main in a
// process of its own. Beside testscript's commands they have those of
// scriptCommands, and in their environment:
//
//	$KEY, $PUB         a signing key without passphrase and its public half
//	$STRANGER          the public key of somebody else
//	$PACK              a pack.yaml whose mirrors lead to a made-up upstream; its
//	                   catalog and binary are set as OFFK8S_CATALOG, OFFK8S_SELF
//	$BUNDLE            what "offk8s pack -f $PACK --key $KEY" made of it
func TestScripts(t *testing.T) {
	shared := newSharedWorld(t)
	if !strings.Contains(flag.Lookup("test.run").Value.String(), "/") { // else some scripts do not run
		t.Cleanup(func() {
			if err := checkSeen(shared.get("OUTPUTS_SEEN")); err != nil && !t.Failed() {
				t.Errorf("docs/output.md: %v", err)
			}
		})
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds:                scriptCommands,
		Condition:           conditionHere,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, shared.env...)
			env.Vars = append(env.Vars, "HOME="+env.WorkDir+"/home", "SOURCE_DATE_EPOCH=1735689600")
			env.Values[scriptKey{}] = &script{env: env.Vars, hosts: map[string]*storyHost{}, gauge: newGauge()}
			return os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o755)
		},
	})
}

// scriptKey finds the script in testscript's values.
type scriptKey struct{}

// script is the state of one running script.
type script struct {
	env      []string
	upstream *upstreamtest.Upstream       // own one, of the command upstream
	mirror   *exec.Cmd                    // a running serve
	hosts    map[string]*storyHost        // by the name in the command host
	cluster  atomic.Pointer[storyCluster] // of the command state
	gauge    *gauge                       // of hosts, registry and upstream
}

// sharedWorld is made once, because packing takes a while.
type sharedWorld struct{ env []string }

func newSharedWorld(t *testing.T) sharedWorld {
	t.Helper()
	dir := t.TempDir()
	up, err := upstreamtest.Start(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeUpstream(up, dir); err != nil {
		t.Fatal(err)
	}
	key := bundletest.Key(t)
	secret, err := key.MarshalEncrypted(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"offk8s.key": secret, "offk8s.pub": key.PublicPEM(), "stranger.pub": strangerPEM(t), "self": upstreamtest.SelfBinary("amd64"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := sharedWorld{env: []string{
		"OUTPUTS_SEEN=" + t.TempDir(),
		"KEY=" + filepath.Join(dir, "offk8s.key"), "PUB=" + filepath.Join(dir, "offk8s.pub"),
		"STRANGER=" + filepath.Join(dir, "stranger.pub"), "PACK=" + filepath.Join(dir, "pack.yaml"), "BUNDLE=" + filepath.Join(dir, "bundle.tar"),
		"OFFK8S_CATALOG=" + filepath.Join(dir, "catalog"), "OFFK8S_SELF=amd64=" + filepath.Join(dir, "self"),
	}}
	cmd := exec.Command("offk8s", "pack", "-f", "pack.yaml", "--key", "offk8s.key", "-o", "bundle.tar", "--cache-dir", "cache")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(w.env, "SOURCE_DATE_EPOCH=1735689600")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pack the shared bundle: %v\n%s", err, out)
	}
	return w
}

// strangerPEM is a public key that signed nothing.
func strangerPEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// writeUpstream writes the catalog of up and a pack.yaml that leads to it into dir.
func writeUpstream(up *upstreamtest.Upstream, dir string) error {
	if err := up.WriteCatalog(filepath.Join(dir, "catalog")); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nkubernetes: \"1.36\"\narches: [amd64]\ndistros: [rocky-9]\nrewrites:\n",
		manifests.APIVersion, manifests.KindManifest)
	for _, m := range up.Rewrites() {
		fmt.Fprintf(&b, "  - {from: %q, to: %q}\n", m.From, m.To)
	}
	return os.WriteFile(filepath.Join(dir, "pack.yaml"), []byte(b.String()), 0o644)
}

// TestBuildsStatic builds the program as the Makefile does and runs it: what the
// scripts run is the test binary.
func TestBuildsStatic(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	bin := filepath.Join(t.TempDir(), "offk8s")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(bin, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), runtime.GOARCH) {
		t.Errorf("offk8s version: %v\n%s", err, out)
	}
	checkProgramSBOM(t, bin)
}
