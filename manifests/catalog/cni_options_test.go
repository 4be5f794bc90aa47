package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func flannel(t *testing.T) CNIRelease {
	t.Helper()
	n, err := loadEmbedded(t).CNI("flannel")
	if err != nil {
		t.Fatal(err)
	}
	r, err := n.For("1.36")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOptionsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		options string // JSON
		want    string // of the only problem; empty: none
	}{
		{`{}`, ""},
		{`{"backend": "host-gw", "mtu": 1400}`, ""},
		{`{"directRouting": true, "port": 4789}`, ""},
		{`{"backend": "host-gw", "directRouting": false}`, ""},
		{`{"backend": "udp"}`, "network.options.backend: found udp, want one of vxlan, host-gw"},
		{`{"backend": "vxlan\", \"x\": \""}`, "network.options.backend: found"},
		{`{"backend": 1}`, "network.options.backend: found 1, want one of"},
		{`{"port": "8472"}`, "network.options.port: found 8472, want a number from 1 to 65535"},
		{`{"port": 70000}`, "network.options.port: found 70000"},
		{`{"mtu": 1400.5}`, "network.options.mtu: found 1400.5"},
		{`{"mtu": 100}`, "network.options.mtu: found 100"},
		{`{"directRouting": "yes"}`, "network.options.directRouting: found yes, want true or false"},
		{`{"backend": "host-gw", "directRouting": true}`, "network.options.directRouting: does nothing with backend host-gw, want backend vxlan"},
		{`{"backend": "host-gw", "port": 1}`, "network.options.port: does nothing with backend host-gw"},
		{`{"direct": true}`, "network.options.direct: found"},
	} {
		var given map[string]any
		if err := json.Unmarshal([]byte(tt.options), &given); err != nil {
			t.Fatal(err)
		}
		_, problems := flannel(t).Settings(given)
		var got []string
		for _, p := range problems {
			got = append(got, p.Path+": "+p.Message)
		}
		if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tt.want)) {
			t.Errorf("%s: %q, want %q", tt.options, got, tt.want)
		}
	}
	if _, problems := (CNIRelease{}).Settings(map[string]any{"x": true}); len(problems) != 1 || !strings.Contains(problems[0].Message, "no options") {
		t.Errorf("a network without options: %v", problems)
	}
}

// Ports, modules and files of hosts follow the options, as the configuration does.
func TestOptionsAreUsed(t *testing.T) {
	for _, tt := range []struct {
		given            map[string]any
		ports, modules   []string
		ready            int
		oneSubnet        bool
		contains, absent string
	}{
		{nil, []string{"8472/udp"}, []string{"vxlan"}, 2, false, `"Backend": {"Type": "vxlan", "Port": 8472}`, `"mtu"`},
		{map[string]any{"port": int64(4789), "mtu": int64(1400)}, []string{"4789/udp"}, []string{"vxlan"}, 2, false, `"Port": 4789}`, `"DirectRouting"`},
		{map[string]any{"directRouting": true}, []string{"8472/udp"}, []string{"vxlan"}, 2, false, `"Port": 8472, "DirectRouting": true}`, `host-gw`},
		{map[string]any{"backend": "host-gw"}, nil, nil, 1, true, `"Backend": {"Type": "host-gw"}`, `"Port"`},
		{map[string]any{"mtu": int64(1400)}, []string{"8472/udp"}, []string{"vxlan"}, 2, false, `"isDefaultGateway": true, "mtu": 1400}}`, `host-gw`},
	} {
		r := flannel(t)
		settings, problems := r.Settings(tt.given)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		got, err := r.With(settings)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Ports, tt.ports) || !slices.Equal(got.Modules, tt.modules) || len(got.Ready) != tt.ready || (got.OneSubnet != "") != tt.oneSubnet {
			t.Errorf("%v: ports %v, modules %v, ready %v, one subnet %q", tt.given, got.Ports, got.Modules, got.Ready, got.OneSubnet)
		}
		data := sampleData("flannel", "plugin")
		data.Options = settings
		text, err := RenderObjects(r.Objects, data)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), tt.contains) || strings.Contains(string(text), tt.absent) {
			t.Errorf("%v: no %s, or a %s, in\n%s", tt.given, tt.contains, tt.absent, text)
		}
		if !strings.Contains(string(text), `offk8s.dev/settings: "`+data.Settings()+`"`) {
			t.Errorf("%v: pods do not start again with other options", tt.given)
		}
		if len(flannel(t).Ports) != 1 || !strings.Contains(r.Ports[0], "{{") {
			t.Error("With changed the catalog")
		}
	}
}
