package stage

import (
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// A host's plan names the credentials of that host, the authorities'
// certificates and what its role shares, and a store can give all of them; no
// other key ever travels to it.
func TestT43OwnSecretsOnly(t *testing.T) {
	in := testInput(t, "1.36")
	in.Cluster.Hosts = append(in.Cluster.Hosts, manifests.Host{
		Name: "etcd-only", Address: "10.0.0.14", Roles: []manifests.Role{manifests.RoleEtcd},
	})
	store, err := pki.Open(pki.Options{Dir: t.TempDir(), Cluster: in.Cluster})
	if err != nil {
		t.Fatal(err)
	}
	in.StateCopies = true
	if _, err := store.Establish(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.SealCopy("test", []byte("correct horse")); err != nil {
		t.Fatal(err)
	}
	for _, h := range in.Cluster.Hosts {
		shared := []string{pki.CARef(pki.Etcd), pki.CARef(pki.Kubernetes), pki.CARef(pki.FrontProxy)}
		if h.IsNode() {
			shared = append(shared, pki.RefBootstrapKubeconfig)
		}
		if h.HasRole(manifests.RoleControlPlane) {
			shared = append(shared, pki.CAKeyRef(pki.Kubernetes), pki.RefServiceAccountKey, pki.RefServiceAccountPub, pki.RefEncryption, pki.RefCopy)
		}
		for it := range plan(t, in) {
			f, ok := it.Step.(*step.File)
			if !ok || f.Secret == "" || it.host.Name != h.Name {
				continue
			}
			ref := string(f.Secret)
			if ref == pki.RefCopy && it.ID != StateCopyID {
				t.Errorf("the copy of the state is the step %q, want %q", it.ID, StateCopyID)
			}
			name := strings.TrimSuffix(strings.TrimSuffix(ref, ".key"), ".crt")
			if !strings.HasSuffix(name, "-"+h.Name) && !slices.Contains(shared, ref) {
				t.Errorf("%s gets %q", h.Name, ref)
			}
			if b, err := store.Resolve(ref); err != nil || len(b) == 0 {
				t.Errorf("%s: %v", h.Name, err)
			}
		}
	}
}
