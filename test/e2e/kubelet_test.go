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
	"os/exec"
	"strings"
	"testing"
	"time"
)

// joinAgain: install mends a node whose client certificate expired and one that was
// deleted from the API. Other cluster.yaml makes it repeat the smoke test, on both.
func (r *road) joinAgain(t *testing.T) {
	const file = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	nodes := r.nodes()
	nodes = nodes[max(0, len(nodes)-2):]
	expired, deleted := nodes[0], nodes[len(nodes)-1] // the same if there is only one
	r.expire(t, expired, file)
	run(t, time.Minute, r.ssh(expired.addr, "systemctl", "restart", "kubelet")...)
	r.kubectl(t, "delete", "node", "--ignore-not-found", deleted.name)
	r.extra = "scheduler: {args: {v: \"1\"}}\n"
	r.writeCluster(t)
	r.wants(t, 0)
	r.cluster(t)
	r.network(t)
	for _, h := range nodes {
		out := []byte(run(t, time.Minute, r.ssh(h.addr, "cat", file)...))
		pair, err := tls.X509KeyPair(out, out)
		must(t, err)
		if left := time.Until(pair.Leaf.NotAfter); left < 300*24*time.Hour {
			t.Errorf("%s: the client certificate is valid for another %s", h.name, left)
		}
	}
	r.secondRun(t)
}

// expire replaces a kubelet's client certificate by one that the cluster's authority
// signed and that has expired.
func (r *road) expire(t *testing.T, h host, file string) {
	t.Helper()
	at := r.with(controlPlane)[0].addr
	ca, err := tls.X509KeyPair(
		[]byte(run(t, time.Minute, r.ssh(at, "cat", "/etc/kubernetes/pki/ca.crt")...)),
		[]byte(run(t, time.Minute, r.ssh(at, "cat", "/etc/kubernetes/pki/ca.key")...)))
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		Subject:     pkix.Name{CommonName: "system:node:" + h.name, Organization: []string{"system:nodes"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, key.Public(), ca.PrivateKey)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	argv := r.ssh(h.addr, "cat", ">", file)
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
	const file = "/var/lib/kubelet/pki/kubelet-server-current.pem"
	nodes := r.nodes()
	node := nodes[len(nodes)-1]
	// A certificate begins five minutes before it is signed, and a kubelet renews it
	// at 70 to 90 % of its time: after one to two minutes here.
	r.extra = "controllerManager: {args: {cluster-signing-duration: 3m}}\n"
	r.writeCluster(t)
	r.wants(t, 0)
	run(t, time.Minute, r.ssh(node.addr, "rm -f /var/lib/kubelet/pki/kubelet-server-* && systemctl restart kubelet")...)
	renewed := func(limit time.Duration, what, before string) (now string) {
		eventually(t, limit, what, func() error {
			out, err := try(t, 20*time.Second, r.ssh(node.addr, "readlink", file)...)
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
	if out := r.kubectl(t, "get", "--raw", "/api/v1/nodes/"+node.name+"/proxy/healthz"); strings.TrimSpace(out) != "ok" {
		t.Errorf("kubelet by the API: %q", out)
	}
	var log strings.Builder
	for _, h := range r.with(controlPlane) {
		log.WriteString(run(t, time.Minute, r.ssh(h.addr, "journalctl", "-u", "offk8s-approver", "-o", "cat")...))
	}
	if strings.Count(log.String(), "node="+node.name) < 3 {
		t.Errorf("the approvers' log:\n%s", log.String())
	}
	r.extra = ""
	r.writeCluster(t)
	r.wants(t, 0)
}
