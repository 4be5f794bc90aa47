package stage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// RotateKey gives the API servers the keys of a phase of a rotation, one after the other as
// install does, and nothing else. When all write with the new key, Secrets are written again.
func RotateKey(r pki.Rotation) Operation {
	o := Operation{Name: "rotate"}
	for _, s := range Install().Stages {
		switch s.Name {
		case "pki":
			s.Title, s.Hosts = "keys of the encryption at rest", leaders
			s.Steps = only(s.Steps, "pki/encryption-keys", "pki"+encryption, StateCopyID)
		case "controlplane":
			s.Steps = only(s.Steps, "controlplane/kube-apiserver-unit", "controlplane/healthy")
		default:
			continue
		}
		o.Stages = append(o.Stages, s)
	}
	if r.Phase == pki.RotationFirst {
		o.Stages = append(o.Stages, Stage{
			Name: "rewrite", Title: "Secrets are written again", Hosts: leaders, AnyOf: true, Before: apiAnswers,
			Steps: func(Input, manifests.Host) ([]step.Item, error) {
				l := &list{stage: "rewrite"}
				l.add("secrets", &kube.Rewrite{Key: r.Key}).Why = "the old key goes"
				return l.done()
			},
		})
	}
	return o
}

// only returns the steps with these IDs alone.
func only(steps func(Input, manifests.Host) ([]step.Item, error), ids ...string) func(Input, manifests.Host) ([]step.Item, error) {
	return func(in Input, h manifests.Host) ([]step.Item, error) {
		items, err := steps(in, h)
		return slices.DeleteFunc(items, func(it step.Item) bool { return !slices.Contains(ids, it.ID) }), err
	}
}

// CheckRotation returns an error if an API server of the cluster could miss a phase: all
// have to be installed, and there, and none may be left of an earlier cluster.yaml.
func CheckRotation(in Input) error {
	var bad []string
	for _, h := range leaders(in) {
		switch i := in.Facts[h.Name].Installed; {
		case in.Away[h.Name]:
			bad = append(bad, h.Name+" cannot be reached")
		case i == nil || i.Cluster != in.Cluster.Name:
			bad = append(bad, h.Name+" is not installed yet")
		}
	}
	for _, h := range exControlPlanes(in) {
		bad = append(bad, h.Name+" has yet to leave")
	}
	if len(bad) > 0 {
		return fmt.Errorf("control planes: %s; want all of them, and no other", strings.Join(bad, ", "))
	}
	return nil
}
