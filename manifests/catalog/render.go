package catalog

import (
	"bytes"
	"fmt"
	"text/template"
)

// ObjectData is the data of the templates of Kubernetes objects
// (CNIRelease.Objects, Release.DNSTemplate).
type ObjectData struct {
	PodCIDR    string
	DNSAddress string // cluster IP of the DNS service
	DNSDomain  string // "cluster.local"
	// Forward passes queries for names outside the cluster to the resolver of the
	// host; hosts behind an air gap often have none.
	Forward bool
	// Images maps the role in the catalog entry to a full image reference,
	// preferably with a digest.
	Images map[string]string
}

// RenderObjects executes a template of Kubernetes objects and returns the YAML
// documents. A role that is missing in data is an error.
func RenderObjects(text string, data ObjectData) ([]byte, error) {
	t, err := template.New("objects").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse objects template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("render objects template: %w", err)
	}
	return b.Bytes(), nil
}
