package agent_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
)

// A secret that is sealed for the agent arrives, and nothing on the wire has it.
func TestT43SealedSecrets(t *testing.T) {
	w := newWorld(t, 1)
	o := w.operator()
	if _, err := o.ask(lockRequest("alice@laptop")); err != nil {
		t.Fatal(err)
	}
	secret := []byte("0123456789-very-secret-value")
	sealed, err := agent.SealSecrets(o.out.key(), map[string][]byte{"pki:x.key": secret})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret) {
		t.Error("the sealed secrets have the secret in them")
	}
	req := w.request(agent.ModeApply, item("key", &step.File{Path: "/key", Secret: "pki:x.key"}))
	req.Sealed = sealed
	if _, err := o.ask(req); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(w.Root, "key")); !bytes.Equal(b, secret) {
		t.Errorf("the file is %q, %v", b, err)
	}
	// Another agent's secrets do not open, nor do altered ones.
	key, err := agent.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := agent.SealSecrets(key.PublicKey().Bytes(), map[string][]byte{"pki:x.key": secret})
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(sealed)
	altered[len(altered)/2] ^= 1
	for _, bad := range [][]byte{other, altered, sealed[:10]} {
		req.Sealed = bad
		if _, err := o.ask(req); !errors.Is(err, agent.ErrRequest) {
			t.Errorf("%v, want ErrRequest", err)
		}
	}
	if _, err := agent.SealSecrets([]byte("short"), nil); err == nil {
		t.Error("sealed with a key that is none")
	}
}
