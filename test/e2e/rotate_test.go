//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// rotate replaces the key that encrypts Secrets: a Secret from before can be read, etcd has
// it under the new key, and install has nothing to do afterwards.
func (r *road) rotate(t *testing.T) {
	const word = "said before the rotation"
	r.kubectl(t, "create", "secret", "generic", "old", "--from-literal=word="+word)
	if key := r.keyOf(t, "old"); key != "key1" {
		t.Fatalf("etcd has the Secret under %q, want key1", key)
	}
	stop := r.etcdWriter(t)
	out := r.operator(t, installLimit, "rotate", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--progress", "plain")
	t.Logf("etcd's longest gap %s", stop())
	if !strings.Contains(out, "encrypted with key2 alone") {
		t.Errorf("rotate printed\n%s", out)
	}
	if key := r.keyOf(t, "old"); key != "key2" {
		t.Errorf("etcd has the Secret under %q, want key2", key)
	}
	if got := r.kubectl(t, "get", "secret", "old", "-o", "go-template={{.data.word | base64decode}}"); !strings.HasPrefix(got, word) {
		t.Errorf("the Secret is %q, want %q", got, word)
	}
	for _, h := range r.with(controlPlane) {
		keys := run(t, time.Minute, r.ssh(h.addr, "grep -c name: /etc/kubernetes/encryption-config.yaml")...)
		if strings.TrimSpace(keys) != "1" {
			t.Errorf("%s has %s keys, want the new one alone", h.name, keys)
		}
	}
	if o := r.wants(t, 0); o.report.Changed != 0 {
		t.Errorf("install changed %d hosts after the rotation, want none\n%s", o.report.Changed, o.output)
	}
}

// keyOf returns the name of the key under which etcd has a Secret of the namespace default.
func (r *road) keyOf(t *testing.T, name string) string {
	t.Helper()
	at := r.with(member)[0]
	out := run(t, time.Minute, r.ssh(at.addr, etcdctl+clientURL(at)+" get /registry/secrets/default/"+name+" --print-value-only | head -c 60 | tr -cd '[:print:]'")...)
	_, rest, ok := strings.Cut(out, "k8s:enc:secretbox:v1:")
	if !ok {
		t.Fatalf("etcd has the Secret as %q", out)
	}
	key, _, _ := strings.Cut(rest, ":")
	return key
}
