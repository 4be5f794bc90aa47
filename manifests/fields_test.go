package manifests

import (
	"reflect"
	"testing"

	"github.com/offk8s/offk8s/manifests/fields"
)

// Each field has a description, which explain and the schema show.
func TestEveryFieldIsDescribed(t *testing.T) {
	seen := map[string]fields.Field{}
	var walk func(list []fields.Field)
	walk = func(list []fields.Field) {
		for _, f := range list {
			if f.Description == "" {
				t.Errorf("%s has no comment", f.Path)
			}
			seen[f.Path] = f
			walk(f.Fields)
		}
	}
	walk(ClusterFields())
	walk(ManifestFields())
	for path, want := range map[string]fields.Field{
		"hosts":            {Type: "list of objects", Required: true, Description: "the machines"},
		"hosts[].labels":   {Type: "map of strings", Description: "labels of the node"},
		"network.options":  {Type: "map of any values", Description: "options are settings of the bundle's pod network; docs/networks.md lists them."},
		"files[].url":      {Type: "string", Required: true, Description: "where pack downloads it"},
		"expires":          {Type: "date", Description: "day after which offk8s warns about the bundle, UTC"},
		"loadBalancer.vip": {Type: "string", Description: "vip is the address that moves between the balancers."},
	} {
		got := seen[path]
		got.Path, got.Fields = "", nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: found %+v, want %+v", path, got, want)
		}
	}
}

func TestSchema(t *testing.T) {
	s := fields.Schema("offk8s cluster.yaml", ClusterFields())
	hosts := s["properties"].(map[string]any)["hosts"].(map[string]any)
	host := hosts["items"].(map[string]any)
	if hosts["type"] != "array" || host["additionalProperties"] != false {
		t.Errorf("hosts: found %v", hosts)
	}
	if want := []string{"name", "address"}; !reflect.DeepEqual(host["required"].([]string)[:2], want) {
		t.Errorf("required: found %v, want %v first", host["required"], want)
	}
	roles := host["properties"].(map[string]any)["roles"].(map[string]any)
	if item := roles["items"].(map[string]any); item["type"] != "string" {
		t.Errorf("roles: found %v", roles)
	}
	options := s["properties"].(map[string]any)["network"].(map[string]any)["properties"].(map[string]any)["options"].(map[string]any)
	if any, ok := options["additionalProperties"].(map[string]any); !ok || len(any) != 0 {
		t.Errorf("options: found %v, want any values", options)
	}
}
