package agent

import (
	"errors"
	"testing"

	"github.com/offk8s/offk8s/installer/facts"
)

func TestGuard(t *testing.T) {
	versions := map[string]string{"kubernetes": "1.36.3", "etcd": "v3.6.16"}
	installed := &facts.Installed{Cluster: "prod", Identity: "sha256:aa", Components: versions}
	for _, tt := range []struct {
		name       string
		installed  *facts.Installed
		identity   string
		components map[string]string
		want       error
	}{
		{"new host", nil, "sha256:aa", versions, nil},
		{"the same", installed, "sha256:aa", map[string]string{"etcd": "v3.6.16", "kubernetes": "1.36.3", "flannel": "1"}, nil},
		{"other credentials", installed, "sha256:bb", versions, ErrIdentity},
		{"no credentials", installed, "", versions, ErrIdentity},
		{"newer", installed, "sha256:aa", map[string]string{"kubernetes": "1.37.0", "etcd": "v3.6.16"}, ErrUpgrade},
		{"older", installed, "sha256:aa", map[string]string{"kubernetes": "1.36.3", "etcd": "v3.5.0"}, ErrUpgrade},
		{"a component is gone", installed, "sha256:aa", map[string]string{"kubernetes": "1.36.3"}, ErrUpgrade},
		{"installed before this was recorded", &facts.Installed{Cluster: "prod"}, "sha256:bb", versions, nil},
		{"interrupted before the credentials", &facts.Installed{Cluster: "prod", Components: versions}, "", versions, nil},
	} {
		err := Guard(tt.installed, tt.identity, tt.components)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: error %v is no ErrPolicy", tt.name, err)
		}
	}
}
