package installer_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/manifests"
)

var update = flag.Bool("update", false, "rewrite the picture of the documentation")

// Every topology has a picture that is well-formed, with each host once.
func TestGraph(t *testing.T) {
	for _, top := range manifests.Topologies() {
		n := manifests.NewCluster{Topology: top.Name}
		for i := range 12 {
			n.Hosts = append(n.Hosts, fmt.Sprintf("10.0.0.%d", 11+i))
		}
		switch top.Name {
		case "all-in-one":
			n.Hosts = n.Hosts[:1]
		case "compact", "production", "production-etcd":
			n.VIP = "10.0.0.10"
		case "external":
			n.Endpoint = "k8s.example.com:443"
		}
		doc, err := n.Write()
		if err != nil {
			t.Fatal(err)
		}
		c, err := manifests.LoadCluster("c.yaml", doc)
		if err != nil {
			t.Fatal(err)
		}
		svg := graph(t, c)
		for _, h := range c.Hosts {
			if k := strings.Count(svg, ">"+h.Name+"<"); k != 1 {
				t.Errorf("%s: %s is %d times in the picture", top.Name, h.Name, k)
			}
		}
		for _, want := range []string{n.VIP, n.Endpoint, c.Endpoint(), c.Mirror.URL} {
			if !strings.Contains(svg, want) {
				t.Errorf("%s: no %q:\n%s", top.Name, want, svg)
			}
		}
	}
}

// The picture of docs/production.md is that of its cluster.yaml.
func TestGraphOfDocs(t *testing.T) {
	n := manifests.NewCluster{Topology: "production", VIP: "10.0.0.10"}
	for i := range 6 {
		n.Hosts = append(n.Hosts, fmt.Sprintf("10.0.0.%d", 11+i))
	}
	doc, err := n.Write()
	if err != nil {
		t.Fatal(err)
	}
	c, err := manifests.LoadCluster("c.yaml", doc)
	if err != nil {
		t.Fatal(err)
	}
	const file = "../docs/production.svg"
	svg := graph(t, c)
	if *update {
		if err := os.WriteFile(file, []byte(svg), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != svg {
		t.Errorf("%s is not the picture of the cluster (error %v); run the test with -update", file, err)
	}
}

// Of many workers some are drawn and the others counted.
func TestGraphOfMany(t *testing.T) {
	c := &manifests.Cluster{Name: `"<a>&`, Hosts: []manifests.Host{{Name: "cp", Roles: []manifests.Role{manifests.RoleControlPlane, manifests.RoleEtcd}}}}
	for i := range 1000 {
		c.Hosts = append(c.Hosts, manifests.Host{Name: fmt.Sprintf("node-%d", i), Roles: []manifests.Role{manifests.RoleWorker}})
	}
	svg := graph(t, c)
	if drawn := strings.Count(svg, ">node-"); drawn < 5 || !strings.Contains(svg, fmt.Sprintf("and %d more", 1000-drawn)) {
		t.Errorf("%d nodes are drawn:\n%s", drawn, svg)
	}
}

func graph(t *testing.T, c *manifests.Cluster) string {
	t.Helper()
	var b bytes.Buffer
	if err := installer.NewGraph(c).WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return b.String()
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
	}
}
