package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/test/testenv"
)

func testCluster() *manifests.Cluster {
	return &manifests.Cluster{
		Name: "test", ControlPlane: manifests.ControlPlane{SANs: []string{"api.example.com", "192.0.2.9"}},
		Hosts: []manifests.Host{
			{Name: "cp-1", Address: "10.0.0.11", Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}},
			{Name: "node-1", Address: "10.0.0.12", Roles: []manifests.Role{manifests.RoleWorker}},
		},
	}
}

func open(t *testing.T, dir string, now time.Time, change func(*manifests.Cluster)) *Credentials {
	t.Helper()
	c := testCluster()
	if change != nil {
		change(c)
	}
	s, err := Open(Options{Dir: dir, Cluster: c, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func resolve(t *testing.T, s *Credentials, ref string) []byte {
	t.Helper()
	b, err := s.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func cert(t *testing.T, b []byte) *x509.Certificate {
	t.Helper()
	p, _ := pem.Decode(b)
	if p == nil {
		t.Fatalf("no PEM in %q", b)
	}
	c, err := x509.ParseCertificate(p.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCredentials(t *testing.T) {
	list, err := credentialsOf(testCluster())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list {
		names = append(names, fmt.Sprintf("%s %s %s %s", c.Name, c.CA, c.Usage, c.CommonName))
	}
	want := []string{
		"etcd-server-cp-1 etcd peer cp-1",
		"etcd-peer-cp-1 etcd peer cp-1",
		"etcd-client-cp-1 etcd client etcdctl",
		"apiserver-cp-1 kubernetes server kube-apiserver",
		"apiserver-etcd-client-cp-1 etcd client kube-apiserver-etcd-client",
		"apiserver-kubelet-client-cp-1 kubernetes client kube-apiserver-kubelet-client",
		"front-proxy-client-cp-1 front-proxy client front-proxy-client",
		"controller-manager-cp-1 kubernetes client system:kube-controller-manager",
		"scheduler-cp-1 kubernetes client system:kube-scheduler",
		"approver-cp-1 kubernetes client offk8s-approver",
		"admin-cp-1 kubernetes client kubernetes-admin",
		"super-admin-cp-1 kubernetes client kubernetes-super-admin",
		"kube-proxy-cp-1 kubernetes client system:kube-proxy",
		"kube-proxy-node-1 kubernetes client system:kube-proxy",
		"admin kubernetes client kubernetes-admin",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	api := list[3]
	wantDNS := []string{"api.example.com", "cp-1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}
	wantIPs := []string{"10.0.0.11", "10.96.0.1", "127.0.0.1", "192.0.2.9"}
	if diff := cmp.Diff([][]string{wantDNS, wantIPs}, [][]string{api.DNS, api.IPs}); diff != "" {
		t.Errorf("API server's names, -want +got:\n%s", diff)
	}
}

// Certificates as the CIS benchmarks and Kubernetes want them.
func TestCertificates(t *testing.T) {
	now := time.Now().Truncate(time.Second).UTC()
	s := open(t, t.TempDir(), now, nil)
	list, err := credentialsOf(testCluster())
	if err != nil {
		t.Fatal(err)
	}
	roots := map[CA]*x509.CertPool{}
	for _, ca := range authorities() {
		c := cert(t, resolve(t, s, CARef(ca)))
		if !c.IsCA || !c.MaxPathLenZero || c.KeyUsage&x509.KeyUsageCertSign == 0 {
			t.Errorf("%s: no authority for leaves only: %+v", ca, c.KeyUsage)
		}
		roots[ca] = x509.NewCertPool()
		roots[ca].AddCert(c)
	}
	for _, want := range list {
		c := cert(t, resolve(t, s, CertRef(want.Name)))
		usage := x509.ExtKeyUsageClientAuth
		if want.Usage == usageServer {
			usage = x509.ExtKeyUsageServerAuth
		}
		for _, ca := range authorities() {
			_, err := c.Verify(x509.VerifyOptions{Roots: roots[ca], CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
			if good := err == nil; good != (ca == want.CA) {
				t.Errorf("%s against authority %s: %v", want.Name, ca, err)
			}
		}
		if c.IsCA || c.NotAfter.Sub(now) != leafLifetime {
			t.Errorf("%s: authority %t, ends %s", want.Name, c.IsCA, c.NotAfter)
		}
		if !slices.Equal(c.Subject.Organization, want.Organizations) {
			t.Errorf("%s: organizations %v", want.Name, c.Subject.Organization)
		}
		if _, err := tls.X509KeyPair(resolve(t, s, CertRef(want.Name)), resolve(t, s, KeyRef(want.Name))); err != nil {
			t.Errorf("%s: %v", want.Name, err)
		}
	}
	if got := resolve(t, s, "kubeconfig:scheduler-cp-1"); !bytes.Contains(got, []byte(`server: "https://10.0.0.11:6443"`)) {
		t.Errorf("kubeconfig:\n%s", regexp.MustCompile(`-data: .*`).ReplaceAll(got, []byte("-data: …")))
	}
}

// A host whose clock is a day behind accepts new certificates.
func TestT48Backdate(t *testing.T) {
	now := time.Now()
	s := open(t, t.TempDir(), now, nil)
	for _, ref := range []string{CARef(Kubernetes), CertRef("apiserver-cp-1")} {
		c := cert(t, resolve(t, s, ref))
		if early := now.Sub(c.NotBefore); early < 23*time.Hour+50*time.Minute || early > 25*time.Hour {
			t.Errorf("%s is valid since %s before now, want 24h", ref, early)
		}
	}
}

func TestReuseAndRenewal(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	tests := []struct {
		name   string
		later  time.Duration
		change func(*manifests.Cluster)
		damage func(t *testing.T, dir string)
		want   string // reason for apiserver-cp-1; empty: reused
	}{
		{name: "the same", want: ""},
		{name: "half a year later", later: 180 * day, want: ""},
		{name: "20 days before its end", later: 345 * day, want: "it expires on"},
		{name: "after its end", later: 400 * day, want: "it expires on"},
		{name: "another name", change: func(c *manifests.Cluster) { c.ControlPlane.SANs = nil }, want: "names or addresses"},
		{name: "key of somebody else", damage: func(t *testing.T, dir string) {
			swap(t, dir, "scheduler-cp-1.key", "apiserver-cp-1.key")
		}, want: "damaged"},
		{name: "certificate of somebody else", damage: func(t *testing.T, dir string) {
			swap(t, dir, "scheduler-cp-1.key", "apiserver-cp-1.key")
			swap(t, dir, "scheduler-cp-1.crt", "apiserver-cp-1.crt")
		}, want: "subject changed"},
		{name: "cut short", damage: func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "apiserver-cp-1.crt"), 100); err != nil {
				t.Fatal(err)
			}
		}, want: "damaged"},
		{name: "other authority", damage: func(t *testing.T, dir string) {
			for _, e := range []string{".crt", ".key"} {
				if err := os.Remove(filepath.Join(dir, "kubernetes-ca"+e)); err != nil {
					t.Fatal(err)
				}
			}
		}, want: "another authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			first := open(t, dir, now, nil)
			if _, err := first.Ensure(); err != nil {
				t.Fatal(err)
			}
			old := resolve(t, first, CertRef("apiserver-cp-1"))
			if tt.damage != nil {
				tt.damage(t, dir)
			}
			s := open(t, dir, now.Add(tt.later), tt.change)
			issued, err := s.Ensure()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(issued, func(l string) bool { return strings.HasPrefix(l, "apiserver-cp-1: ") })
			if (i >= 0) != (tt.want != "") || i >= 0 && !strings.Contains(issued[i], tt.want) {
				t.Errorf("issued %q, want reason %q", issued, tt.want)
			}
			if same := bytes.Equal(old, resolve(t, s, CertRef("apiserver-cp-1"))); same != (tt.want == "") {
				t.Errorf("certificate is the same: %t", same)
			}
			if again, err := s.Ensure(); err != nil || len(again) > 0 {
				t.Errorf("issued again: %v, %v", again, err)
			}
		})
	}
}

func swap(t *testing.T, dir, from, to string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, from))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, to), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// An authority is never replaced silently: everything it signed would be lost.
func TestDamagedAuthority(t *testing.T) {
	dir := t.TempDir()
	if _, err := open(t, dir, time.Now(), nil).Ensure(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "kubernetes-ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir, time.Now(), nil).Ensure(); err == nil || !strings.Contains(err.Error(), "kubernetes-ca") {
		t.Errorf("error %v, want one that names the authority", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kubernetes-ca.key")); err == nil {
		t.Error("a new key was made")
	}
}

// Modes do not depend on the umask, and a key that others can read is refused.
func TestT43Modes(t *testing.T) {
	for _, mask := range []int{0, 0o077} {
		dir := filepath.Join(t.TempDir(), "state", "pki")
		old := syscall.Umask(mask)
		s := open(t, dir, time.Now(), nil)
		_, err := s.Ensure()
		if err == nil {
			_, err = s.Resolve(RefToken)
		}
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			want := fs.FileMode(0o600)
			if d.IsDir() {
				want = 0o700
			}
			if info.Mode().Perm() != want {
				t.Errorf("umask %03o: %s has mode %s", mask, p, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if _, err := open(t, dir, time.Now(), nil).Ensure(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "etcd-ca.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir, time.Now(), nil).Ensure(); err == nil || !strings.Contains(err.Error(), "others can read it") {
		t.Errorf("error %v", err)
	}
}

// However a secret is printed, it does not show; nor do errors quote it.
func TestT43Redaction(t *testing.T) {
	sec := trust.Secret("hunter2hunter2")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %v %+v %#v %q %x\n", sec, sec, sec, sec, sec, sec)
	fmt.Fprintf(&b, "%v %+v %#v %x\n", struct{ S trust.Secret }{sec}, &pair{key: sec}, pair{key: sec}, pair{key: sec})
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "s", sec, "p", struct{ S trust.Secret }{sec})
	j, err := json.Marshal(map[string]any{"s": sec})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprint([]byte("hunter2hunter2"))} {
		if strings.Contains(b.String(), leak) {
			t.Errorf("%q in %s", leak, b.String())
		}
	}
	dir := t.TempDir()
	s := open(t, dir, time.Now(), nil)
	if _, err := s.Ensure(); err != nil {
		t.Fatal(err)
	}
	key := resolve(t, s, KeyRef("apiserver-cp-1"))
	if err := os.WriteFile(filepath.Join(dir, "kubernetes-ca.crt"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Resolve(CertRef("scheduler-cp-1"))
	body := strings.Split(string(key), "\n")[1]
	if err == nil || strings.Contains(err.Error(), body) {
		t.Errorf("error %v", err)
	}
}

func TestT44Token(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	s := open(t, dir, now, nil)
	first := string(resolve(t, s, RefToken))
	if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(first) {
		t.Fatalf("token of %d characters has a wrong form", len(first))
	}
	if !bytes.Contains(resolve(t, s, RefBootstrapKubeconfig), []byte("token: "+first+"\n")) {
		t.Error("bootstrap kubeconfig has another token")
	}
	for _, tt := range []struct {
		later time.Duration
		same  bool
	}{{10 * time.Minute, true}, {40 * time.Minute, false}, {-time.Hour, false}} {
		got := string(resolve(t, open(t, dir, now.Add(tt.later), nil), RefToken))
		if (got == first) != tt.same {
			t.Errorf("after %s the token is the same: %t", tt.later, got == first)
		}
		swapToken(t, dir, first, now)
	}
	later := open(t, dir, now.Add(23*time.Hour), nil)
	later.ReuseToken(24 * time.Hour)
	if got := string(resolve(t, later, RefToken)); got != first {
		t.Error("the tickets of a day have different tokens")
	}
}

func swapToken(t *testing.T, dir, token string, made time.Time) {
	t.Helper()
	b, err := json.Marshal(storedToken{token, made})
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "bootstrap-token.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Keys that data is encrypted or tokens are signed with are made once.
func TestKeptKeys(t *testing.T) {
	dir := t.TempDir()
	for _, ref := range []string{RefEncryption, RefServiceAccountKey, RefServiceAccountPub, CARef(Etcd), CAKeyRef(Etcd)} {
		first := resolve(t, open(t, dir, time.Now(), nil), ref)
		if len(first) < 80 || !bytes.Equal(first, resolve(t, open(t, dir, time.Now().Add(1000*time.Hour), nil), ref)) {
			t.Errorf("%s changes", ref)
		}
	}
}

func TestUnknownRefs(t *testing.T) {
	s := open(t, t.TempDir(), time.Now(), nil)
	for _, ref := range []string{"", "pki:", "pki:nobody.crt", "pki:../../etc/passwd.crt", "pki:admin.p12", "kubeconfig:apiserver-cp-1", "token:x", "secret:x", "file:/etc/shadow"} {
		if _, err := s.Resolve(ref); !errors.Is(err, errUnknownRef) {
			t.Errorf("%q: error %v", ref, err)
		}
	}
}

// The balancers share a password that stays and is part of the state, and each has a
// certificate for its health checks, as haproxy reads it. An external balancer has one.
func TestBalancerSecrets(t *testing.T) {
	dir := t.TempDir()
	balanced := func(c *manifests.Cluster) {
		c.Hosts[1].Roles = append(c.Hosts[1].Roles, manifests.RoleLoadBalancer)
		c.LoadBalancer.VIP = "10.0.0.10"
	}
	s := open(t, dir, time.Now(), balanced)
	if _, err := s.Ensure(); err != nil {
		t.Fatal(err)
	}
	state, err := ReadState(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	block := resolve(t, s, RefVRRP)
	if !regexp.MustCompile(`^authentication \{\n    auth_type PASS\n    auth_pass [a-z0-9]{8}\n\}\n$`).Match(block) || !bytes.Equal(block, state.Files[vrrpFile]) {
		t.Errorf("%q, in the state %q", block, state.Files[vrrpFile])
	}
	if again := resolve(t, open(t, dir, time.Now().Add(1000*time.Hour), balanced), RefVRRP); !bytes.Equal(again, block) {
		t.Error("the password changes")
	}
	pair := resolve(t, s, PEMRef("lb-health-node-1"))
	if _, err := tls.X509KeyPair(pair, pair); err != nil {
		t.Error(err)
	}
	if c := cert(t, pair); c.Subject.CommonName != Health || len(c.Subject.Organization) > 0 {
		t.Errorf("%v", c.Subject)
	}
	external := open(t, t.TempDir(), time.Now(), func(c *manifests.Cluster) { c.LoadBalancer.Mode = manifests.BalanceExternal })
	if c := cert(t, resolve(t, external, CertRef("lb-health"))); c.Subject.CommonName != Health {
		t.Errorf("%v", c.Subject)
	}
}

func TestMirrorCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mirror")
	now := time.Now()
	hosts := []string{"dmz", "10.0.0.3", "localhost"}
	first, err := MirrorCA(dir, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(first.CA)
	for _, h := range hosts {
		if _, err := first.Certificate.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: h}); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
	same, err := MirrorCA(dir, hosts, now)
	if err != nil || same.Issued != "" || same.Fingerprint != first.Fingerprint || !strings.HasPrefix(first.Fingerprint, "sha256:") {
		t.Errorf("second start: issued %q, %s and %s, %v", same.Issued, same.Fingerprint, first.Fingerprint, err)
	}
	moved, err := MirrorCA(dir, append(hosts, "dmz2"), now)
	if err != nil || moved.Issued == "" || moved.Fingerprint != first.Fingerprint {
		t.Errorf("other names: issued %q, %s and %s, %v", moved.Issued, moved.Fingerprint, first.Fingerprint, err)
	}
}

// openssl is the judge that shares no code with us.
func TestOpenSSL(t *testing.T) {
	testenv.NeedTool(t, "openssl")
	dir := t.TempDir()
	s := open(t, dir, time.Now(), nil)
	if _, err := s.Ensure(); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("openssl", args...).CombinedOutput()
		if err != nil {
			t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	f := func(name string) string { return filepath.Join(dir, name) }
	run("verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "10.96.0.1", "-CAfile", f("kubernetes-ca.crt"), f("apiserver-cp-1.crt"))
	run("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "api.example.com", "-CAfile", f("kubernetes-ca.crt"), f("apiserver-cp-1.crt"))
	run("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", f("etcd-ca.crt"), f("apiserver-etcd-client-cp-1.crt"))
	run("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", f("etcd-ca.crt"), f("etcd-peer-cp-1.crt"))
	run("ec", "-in", f("service-account.key"), "-noout", "-check")
	if text := run("x509", "-in", f("admin.crt"), "-noout", "-subject", "-nameopt", "RFC2253"); !strings.Contains(text, "CN=kubernetes-admin,O=offk8s:cluster-admins") {
		t.Errorf("admin: %s", text)
	}
	if text := run("x509", "-in", f("apiserver-cp-1.crt"), "-noout", "-text"); !strings.Contains(text, "ASN1 OID: prime256v1") || !strings.Contains(text, "ecdsa-with-SHA256") {
		t.Errorf("apiserver:\n%s", text)
	}
}

// A wildcard in sans is a name of the API server's certificate like any other.
func TestWildcardName(t *testing.T) {
	s := open(t, t.TempDir(), time.Now(), func(c *manifests.Cluster) { c.ControlPlane.SANs = []string{"*.k8s.example.com"} })
	c := cert(t, resolve(t, s, CertRef("apiserver-cp-1")))
	if err := c.VerifyHostname("api.k8s.example.com"); err != nil {
		t.Error(err)
	}
	if err := c.VerifyHostname("a.b.k8s.example.com"); err == nil {
		t.Error("the wildcard stands for two labels")
	}
}

// A half copied directory is an error: a new authority would end the trust in the old one.
func TestHalfAnAuthority(t *testing.T) {
	for lost, left := range map[string]string{"mirror-ca.key": "mirror-ca.crt", "mirror-ca.crt": "mirror-ca.key"} {
		dir := t.TempDir()
		if _, err := MirrorCA(dir, []string{"dmz"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(filepath.Join(dir, left))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
		if _, err := MirrorCA(dir, []string{"dmz"}, time.Now()); err == nil || !strings.Contains(err.Error(), left+" is there and "+lost+" is not") {
			t.Errorf("without %s: %v", lost, err)
		}
		if now, err := os.ReadFile(filepath.Join(dir, left)); err != nil || !bytes.Equal(now, kept) {
			t.Errorf("without %s, %s changed: %v", lost, left, err)
		}
	}
}

// Mirrors that start at one time in a new directory have one authority.
func TestMirrorsOfOneDirectory(t *testing.T) {
	for range 5 {
		dir := filepath.Join(t.TempDir(), "mirror")
		var all [4]MirrorTLS
		var tasks sync.WaitGroup
		for i := range all {
			tasks.Go(func() {
				var err error
				if all[i], err = MirrorCA(dir, []string{"dmz"}, time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
		tasks.Wait()
		if t.Failed() {
			return
		}
		for _, m := range all {
			if m.Fingerprint != all[0].Fingerprint || !bytes.Equal(m.Certificate.Certificate[0], all[0].Certificate.Certificate[0]) {
				t.Fatalf("%s and %s", m.Fingerprint, all[0].Fingerprint)
			}
		}
	}
}

// A mirror whose CA and certificate are there needs no place to write: a read-only mount, a
// secret of a container.
func TestMirrorCAIsOnlyRead(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	first, err := MirrorCA(dir, []string{"dmz"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("cannot mount here: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if same, err := MirrorCA(dir, []string{"dmz"}, time.Now()); err != nil || same.Fingerprint != first.Fingerprint {
		t.Errorf("%s, %v, want %s", same.Fingerprint, err, first.Fingerprint)
	}
	if _, err := MirrorCA(dir, []string{"other"}, time.Now()); !errors.Is(err, syscall.EROFS) {
		t.Errorf("another name: %v, want EROFS", err)
	}
}
