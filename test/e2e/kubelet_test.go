//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// long returns the part that takes minutes and runs only if E2E_LONG is set.
func long(part func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) {
		if os.Getenv("E2E_LONG") == "" {
			t.Skip("E2E_LONG is not set")
		}
		part(t)
	}
}

// joinAgain: install mends a node whose client certificate expired and one that was
// deleted from the API. Other cluster.yaml makes it repeat the smoke test, on both.
func (r *road) joinAgain(t *testing.T) {
	const node1, node2, file = "10.66.0.12", "10.66.0.13", "/var/lib/kubelet/pki/kubelet-client-current.pem"
	r.expire(t, node1, "node-1", file)
	run(t, time.Minute, r.ssh(node1, "systemctl", "restart", "kubelet")...)
	r.kubectl(t, "delete", "node", "node-2")
	r.extra = "scheduler: {args: {v: \"1\"}}\n"
	r.writeCluster(t)
	r.wants(t, 0)
	r.cluster(t)
	r.network(t)
	for _, addr := range []string{node1, node2} {
		out := []byte(run(t, time.Minute, r.ssh(addr, "cat", file)...))
		pair, err := tls.X509KeyPair(out, out)
		must(t, err)
		if left := time.Until(pair.Leaf.NotAfter); left < 300*24*time.Hour {
			t.Errorf("%s: the client certificate is valid for another %s", addr, left)
		}
	}
	r.secondRun(t)
}

// expire replaces a kubelet's client certificate by one that the cluster's authority
// signed and that has expired.
func (r *road) expire(t *testing.T, addr, node, file string) {
	t.Helper()
	ca, err := tls.X509KeyPair(
		[]byte(run(t, time.Minute, r.ssh("10.66.0.11", "cat", "/etc/kubernetes/pki/ca.crt")...)),
		[]byte(run(t, time.Minute, r.ssh("10.66.0.11", "cat", "/etc/kubernetes/pki/ca.key")...)))
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		Subject:     pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, key.Public(), ca.PrivateKey)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	argv := r.ssh(addr, "cat", ">", file)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("write %s: %v\n%s", file, err, out)
	}
}

// certificates: a serving certificate that lives for minutes is renewed although nobody
// runs install.
func (r *road) certificates(t *testing.T) {
	if r.minor == "1.16" {
		t.Skip("its controller manager calls the flag otherwise")
	}
	const node2, file = "10.66.0.13", "/var/lib/kubelet/pki/kubelet-server-current.pem"
	// A certificate begins five minutes before it is signed, and a kubelet renews it
	// at 70 to 90 % of its time: after one to two minutes here.
	r.extra = "controllerManager: {args: {cluster-signing-duration: 3m}}\n"
	r.writeCluster(t)
	r.wants(t, 0)
	run(t, time.Minute, r.ssh(node2, "rm -f /var/lib/kubelet/pki/kubelet-server-* && systemctl restart kubelet")...)
	renewed := func(limit time.Duration, what, before string) (now string) {
		eventually(t, limit, what, func() error {
			out, err := try(t, 20*time.Second, r.ssh(node2, "readlink", file)...)
			if now = strings.TrimSpace(out); err == nil && now == before {
				err = fmt.Errorf("it is still %s", now)
			}
			return err
		})
		return now
	}
	first := renewed(2*time.Minute, "a certificate of three minutes", "")
	second := renewed(5*time.Minute, "the renewal of "+first, first)
	t.Logf("%s, then %s", first, second)
	// The API server verifies the kubelet's certificate.
	if out := r.kubectl(t, "get", "--raw", "/api/v1/nodes/node-2/proxy/healthz"); strings.TrimSpace(out) != "ok" {
		t.Errorf("kubelet by the API: %q", out)
	}
	if out := run(t, time.Minute, r.ssh("10.66.0.11", "journalctl", "-u", "offk8s-approver", "-o", "cat")...); strings.Count(out, "node=node-2") < 3 {
		t.Errorf("the approver's log:\n%s", out)
	}
	r.extra = ""
	r.writeCluster(t)
	r.wants(t, 0)
}
