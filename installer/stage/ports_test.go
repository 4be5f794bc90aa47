package stage

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPorts(t *testing.T) {
	const want = `PORT  USE  FROM  TO
22/tcp  SSH  operator  lb-1, lb-2, cp-1, cp-2, cp-3, node-1
8443/tcp  mirror  lb-1, lb-2, cp-1, cp-2, cp-3, node-1  10.0.0.3
6443/tcp  load balancer  lb-1, lb-2, cp-1, cp-2, cp-3, node-1  lb-1, lb-2
vrrp  virtual address  lb-1, lb-2  lb-1, lb-2
6443/tcp  API  lb-1, lb-2, cp-1, cp-2, cp-3, node-1  cp-1, cp-2, cp-3
123/udp  time  lb-1, lb-2, cp-1, cp-2, cp-3, node-1  cp-1, cp-2, cp-3
2379/tcp  etcd  cp-1, cp-2, cp-3  cp-1, cp-2, cp-3
2380/tcp  etcd members  cp-1, cp-2, cp-3  cp-1, cp-2, cp-3
10250/tcp  kubelet  cp-1, cp-2, cp-3  cp-1, cp-2, cp-3, node-1
8472/udp  pod network  cp-1, cp-2, cp-3, node-1  cp-1, cp-2, cp-3, node-1
6443/tcp  API  users  lb-1, lb-2
30000-32767/tcp  services with node ports  users  cp-1, cp-2, cp-3, node-1
30000-32767/udp  services with node ports  users  cp-1, cp-2, cp-3, node-1

HOST  ADDRESS
lb-1  10.0.0.11
lb-2  10.0.0.12
cp-1  10.0.0.13
cp-2  10.0.0.14
cp-3  10.0.0.15
node-1  10.0.0.16
`
	var got bytes.Buffer
	if err := NewPorts(sixHosts(t, "1.36")).WriteText(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, regexp.MustCompile(` {2,}`).ReplaceAllString(got.String(), "  ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The table of ports in docs/requirements.md, in both languages, has those of a plan.
func TestPortsInRequirements(t *testing.T) {
	var want []string
	for _, p := range NewPorts(sixHosts(t, "1.36")).Ports {
		switch p.Use {
		case "virtual address":
			want = append(want, "VRRP")
		case "services with node ports":
			want = append(want, "30000")
		default:
			want = append(want, p.Port)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	port := regexp.MustCompile(`\d+/(tcp|udp)|VRRP|30000`)
	for _, name := range []string{"docs/requirements.md", "docs/zh-CN/requirements.md"} {
		b, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(b)) {
			if cells := strings.Split(line, "|"); len(cells) == 5 {
				got = append(got, port.FindAllString(cells[3], -1)...)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
			t.Errorf("%s (-plan +page):\n%s", name, diff)
		}
	}
}
