package catalog

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

// ObjectData is the data of the templates of Kubernetes objects
// (CNIRelease.Objects, Release.DNSTemplate).
type ObjectData struct {
	// PodCIDR and ServiceCIDR are the first ranges; PodCIDR6 is the IPv6 range of pods with
	// addresses of both families, or else "".
	PodCIDR     string
	ServiceCIDR string
	PodCIDR6    string
	// Nodes are all addresses of the nodes.
	Nodes      []string
	NodePorts  string // the range of node ports, "30000-32767"
	DNSAddress string // cluster IP of the DNS service
	DNSDomain  string // "cluster.local"
	// APIServer is the URL of the API for programs on nodes, which works without a proxy
	// of services.
	APIServer string
	// LocalDNS are the addresses of the DNS cache on each node, first its own.
	LocalDNS []string
	// Forward passes queries for names outside the cluster to the resolver of the
	// host; hosts behind an air gap often have none.
	Forward bool
	// Namespace is that of the pod network.
	Namespace string
	// Options are the settings of the pod network, of CNIRelease.Settings.
	Options map[string]any
	// Images maps the role in the catalog entry to a full image reference,
	// preferably with a digest.
	Images map[string]string
}

// NodePattern returns a regular expression for the address of any node.
func (d ObjectData) NodePattern() string {
	var out []string
	for _, a := range d.Nodes {
		out = append(out, regexp.QuoteMeta(a))
	}
	return "^(" + strings.Join(out, "|") + ")$"
}

// Settings returns the options as text, "backend=vxlan port=8472". As an annotation of
// pods it starts them again when an option changes.
func (d ObjectData) Settings() string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(d.Options)) {
		out = append(out, fmt.Sprintf("%s=%v", k, d.Options[k]))
	}
	return strings.Join(out, " ")
}

// RenderObjects executes a template of Kubernetes objects and returns the YAML
// documents. A role that is missing in data is an error.
func RenderObjects(text string, data ObjectData) ([]byte, error) {
	s, err := execute(text, data)
	return []byte(s), err
}

// parse parses a template in which a missing key is an error. The function words splits
// text at spaces.
func parse(text string) (*template.Template, error) {
	t, err := template.New("objects").Option("missingkey=error").Funcs(template.FuncMap{"words": strings.Fields}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	return t, nil
}

// execute executes a template.
func execute(text string, data any) (string, error) {
	t, err := parse(text)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("render template: %w", err)
	}
	return b.String(), nil
}
