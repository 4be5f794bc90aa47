package manifests

import (
	"encoding/json"
	"testing"
)

func TestServiceIP(t *testing.T) {
	tests := []struct {
		name, cidr string
		n          int
		want       string
		bad        bool
	}{
		{"default api", "", 1, "10.96.0.1", false},
		{"dns", "172.20.0.0/24", 10, "172.20.0.10", false},
		{"host bits are masked", "10.0.0.77/16", 1, "10.0.0.1", false},
		{"too small", "10.0.0.0/30", 10, "", true},
		{"not a range", "10.0.0.0", 1, "", true},
		{"v6", "fd00::/112", 10, "fd00::a", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Cluster{Network: ClusterNetwork{ServiceCIDR: tt.cidr}}
			got, err := c.ServiceIP(tt.n)
			if (err != nil) != tt.bad || got != tt.want {
				t.Errorf("ServiceIP(%d) of %q = %q, %v", tt.n, tt.cidr, got, err)
			}
		})
	}
}

func TestEndpoint(t *testing.T) {
	c := Cluster{Hosts: []Host{
		{Name: "w", Address: "10.0.0.1", Roles: []Role{RoleWorker}},
		{Name: "cp", Address: "fd00::2", Roles: []Role{RoleControlPlane}},
	}}
	if got := c.Endpoint(); got != "[fd00::2]:6443" {
		t.Errorf("Endpoint() = %q", got)
	}
	c.ControlPlane.Endpoint = "api.example:443"
	if got := c.Endpoint(); got != "api.example:443" {
		t.Errorf("Endpoint() = %q", got)
	}
	if got := len(c.Nodes()); got != 2 {
		t.Errorf("%d nodes, want 2", got)
	}
}

// An empty list of time servers is another wish than none, and stays one when the
// cluster is written and read again.
func TestNoTimeServers(t *testing.T) {
	for text, want := range map[string]string{"": "null", "time:\n  servers: []\n": "[]", "time:\n  servers: [a]\n": `["a"]`} {
		c, err := LoadCluster("cluster.yaml", []byte("apiVersion: offk8s.dev/v1\nkind: Cluster\nname: lab\n"+
			"hosts: [{name: a, address: 10.0.0.1, roles: [control-plane, etcd, worker]}]\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		var again Cluster
		if b, err := json.Marshal(c); err != nil || json.Unmarshal(b, &again) != nil {
			t.Fatal(err)
		}
		for _, c := range []*Cluster{c, &again} {
			if got, _ := json.Marshal(c.Time.Servers); string(got) != want {
				t.Errorf("%q: servers %s, want %s", text, got, want)
			}
		}
	}
}
