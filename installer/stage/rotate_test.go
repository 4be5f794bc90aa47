package stage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// keyCluster is a cluster of which only the keys of API servers and the Secrets count. Its
// rotations use the plans and the state directory of real ones.
type keyCluster struct {
	t       *testing.T
	in      stage.Input
	plans   map[pki.RotationPhase]*installer.Plan // each is made once
	dir     string
	files   map[string][]byte // EncryptionConfiguration by control plane
	serving map[string][]byte // the one that its API server runs with, nil while it restarts
	secrets [][]byte          // by the EncryptionConfiguration that each was written with
	left    int               // steps until the run is killed, if it was positive
}

var errKilled = errors.New("killed")

func newKeyCluster(t *testing.T) *keyCluster {
	t.Helper()
	k := &keyCluster{t: t, in: running(production(t, "1.36")), plans: map[pki.RotationPhase]*installer.Plan{}, dir: t.TempDir()}
	if _, err := k.ring().Establish(); err != nil {
		t.Fatal(err)
	}
	k.begin()
	return k
}

// again returns the cluster as it was at first.
func (k *keyCluster) again(dir string) *keyCluster {
	k.t.Helper()
	next := *k
	next.dir = dir
	if err := errors.Join(os.Mkdir(dir, 0o700), copyState(k.dir, dir)); err != nil {
		k.t.Fatal(err)
	}
	next.begin()
	return &next
}

// copyState copies the files of a state directory with the mode that they need.
func copyState(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *keyCluster) begin() {
	k.t.Helper()
	config, err := k.ring().Resolve(pki.RefEncryption)
	if err != nil {
		k.t.Fatal(err)
	}
	k.files, k.serving = map[string][]byte{}, map[string][]byte{}
	for _, h := range k.in.Cluster.HostsWith(manifests.RoleControlPlane) {
		k.files[h.Name], k.serving[h.Name] = config, config
	}
	k.secrets = [][]byte{config, config, config}
}

func (k *keyCluster) ring() *pki.Credentials {
	k.t.Helper()
	c, err := pki.Open(pki.Options{Dir: k.dir, Cluster: k.in.Cluster})
	if err != nil {
		k.t.Fatal(err)
	}
	return c
}

// rotate runs a rotation that is killed after so many steps, never if there are none.
func (k *keyCluster) rotate(steps int) error {
	k.left = steps
	ring := k.ring()
	return installer.RotateKey(k.t.Context(), ring, func(_ context.Context, r pki.Rotation, op stage.Operation) (err error) {
		plan := k.plans[r.Phase]
		if plan == nil {
			if plan, err = installer.NewPlan(k.in, op); err != nil {
				k.t.Fatal(err)
			}
			k.plans[r.Phase] = plan
		}
		for _, st := range plan.Stages {
			if st.Name == "controlplane" && (st.AtATime != 1 || len(st.Hosts[0].Before) == 0) {
				k.t.Fatalf("API servers restart together: %d at a time, gates %v", st.AtATime, st.Hosts[0].Before)
			}
			hosts := st.Hosts
			if st.AnyOf {
				hosts = hosts[:1]
			}
			for _, h := range hosts {
				for _, it := range h.Items {
					if err := k.apply(ring, h.Host, it.Step); err != nil {
						return fmt.Errorf("%s: %s: %w", h.Host, it.ID, err)
					}
				}
			}
		}
		return k.end()
	})
}

func (k *keyCluster) apply(ring *pki.Credentials, host string, s step.Step) error {
	switch s := s.(type) {
	case *kube.KnownKey:
		next, err := ring.Resolve(string(s.Ref))
		if err != nil {
			return err
		}
		if key, ok := pki.WritesWith(k.files[host], next); !ok {
			k.t.Errorf("%s: no key %s", host, key)
		}
	case *step.File:
		b, err := ring.Resolve(string(s.Secret))
		if err != nil {
			return err
		}
		k.files[host] = b
		return k.end()
	case *step.Unit:
		if bytes.Equal(k.serving[host], k.files[host]) {
			return nil
		}
		k.serving[host] = nil
		if err := k.end(); err != nil {
			return err
		}
		k.serving[host] = k.files[host]
		return k.end()
	case *kube.Healthy:
		if k.serving[host] == nil {
			return errors.New("the API server is down")
		}
	case *kube.Rewrite:
		for i := range k.secrets {
			k.secrets[i] = k.serving[host]
			if err := k.end(); err != nil {
				return err
			}
		}
	default:
		k.t.Fatalf("step %s in a rotation", s.Describe())
	}
	return nil
}

// end is the end of a step: whatever happens next, every API server can read everything, now
// and after a restart, and at most one is away. Then each writes a Secret.
func (k *keyCluster) end() error {
	k.t.Helper()
	down := 0
	for host, config := range k.serving {
		if config == nil {
			down++
		}
		for _, reader := range [][]byte{config, k.files[host]} {
			for _, s := range k.secrets {
				if key, ok := pki.WritesWith(s, reader); reader != nil && !ok {
					k.t.Fatalf("%s cannot read a Secret that is encrypted with %s", host, key)
				}
			}
			for other := range k.serving {
				for _, writer := range [][]byte{k.serving[other], k.files[other]} {
					if key, ok := pki.WritesWith(writer, reader); reader != nil && !ok {
						k.t.Fatalf("%s cannot read what %s writes with %s", host, other, key)
					}
				}
			}
		}
	}
	if down > 1 {
		k.t.Fatalf("%d API servers are away", down)
	}
	if len(k.secrets) < 12 {
		for _, config := range k.serving {
			if config != nil {
				k.secrets = append(k.secrets, config)
			}
		}
	}
	if k.left--; k.left == 0 {
		return errKilled
	}
	return nil
}

// check compares the end of a rotation: the key is alone everywhere, and new.
func (k *keyCluster) check(not string) string {
	k.t.Helper()
	r, err := k.ring().Rotation()
	if err != nil || r.Phase != pki.RotationNone || r.Key == not {
		k.t.Fatalf("rotation %+v, %v: want one key, not %s", r, err, not)
	}
	config, err := k.ring().Resolve(pki.RefEncryption)
	if err != nil {
		k.t.Fatal(err)
	}
	for host := range k.files {
		if !bytes.Equal(k.files[host], config) || !bytes.Equal(k.serving[host], config) {
			k.t.Errorf("%s has other keys than the state directory", host)
		}
	}
	for _, s := range k.secrets {
		if key, _ := pki.WritesWith(s, config); key != r.Key {
			k.t.Errorf("a Secret is encrypted with %s", key)
		}
	}
	return r.Key
}

// A rotation that is killed after any step, and once more later, goes on; at no time can an
// API server not read a Secret.
func TestRotateKeyKilledAnywhere(t *testing.T) {
	kills, start := 0, newKeyCluster(t)
	for first := 1; ; first++ {
		k := start.again(filepath.Join(t.TempDir(), "state"))
		err := k.rotate(first)
		if err == nil {
			break
		}
		for _, next := range []int{first/2 + 3, 0} {
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("killed after %d steps: %v", first, err)
			}
			kills++
			err = k.rotate(next)
		}
		if err != nil {
			t.Fatalf("after a kill after %d steps: %v", first, err)
		}
		k.check("key1")
	}
	if kills < 40 {
		t.Errorf("killed %d times: the test looks in the wrong place", kills)
	}
}

// The second rotation makes another key.
func TestRotateKeyTwice(t *testing.T) {
	k := newKeyCluster(t)
	key := "key1"
	for range 2 {
		if err := k.rotate(0); err != nil {
			t.Fatal(err)
		}
		key = k.check(key)
	}
	if key != "key3" {
		t.Errorf("the third key is %s", key)
	}
}

// A state directory from before a rotation must not take the cluster's key away.
func TestKeysOfAnOlderState(t *testing.T) {
	k := newKeyCluster(t)
	old := k.files["cp-1"]
	if err := k.rotate(0); err != nil {
		t.Fatal(err)
	}
	if key, ok := pki.WritesWith(k.files["cp-1"], old); ok || key != "key2" {
		t.Errorf("key %s, read %t: want key2, which the old keys do not read", key, ok)
	}
	plan, err := installer.NewPlan(k.in, stage.Install())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range plan.Stages[slices.IndexFunc(plan.Stages, func(s installer.PlanStage) bool { return s.Name == "pki" })].Hosts {
		guard := slices.IndexFunc(h.Items, func(it step.Item) bool { return it.Step.Kind() == "kube-known-key" })
		file := slices.IndexFunc(h.Items, func(it step.Item) bool { return it.ID == "pki/etc/kubernetes/encryption-config.yaml" })
		if guard > file || (guard < 0) != (file < 0) {
			t.Errorf("%s: the keys are step %d, their check is step %d", h.Host, file, guard)
		}
	}
}

// All API servers have to take part.
func TestCheckRotation(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(in *stage.Input)
		ok     bool
	}{
		"all there":         {func(*stage.Input) {}, true},
		"a worker is away":  {func(in *stage.Input) { in.Away = map[string]bool{"w-1": true} }, true},
		"one is away":       {func(in *stage.Input) { in.Away = map[string]bool{"cp-2": true} }, false},
		"one is new":        {func(in *stage.Input) { fresh(*in, "cp-3") }, false},
		"one has to leave":  {func(in *stage.Input) { in.Cluster.Hosts = slices.Delete(slices.Clone(in.Cluster.Hosts), 4, 5) }, false},
		"one loses a role":  {func(in *stage.Input) { in.Cluster.Hosts[4].Roles = []manifests.Role{manifests.RoleEtcd} }, false},
		"nothing installed": {func(in *stage.Input) { fresh(*in, "cp-1", "cp-2", "cp-3") }, false},
	} {
		in := running(production(t, "1.36"))
		tt.change(&in)
		if err := stage.CheckRotation(in); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
