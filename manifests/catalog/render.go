package catalog

import (
	"bytes"
	"fmt"
	"text/template"
)

// ObjectData is what the templates of Kubernetes objects (CNIRelease.Objects,
// Release.DNSTemplate) may use.
type ObjectData struct {
	PodCIDR    string
	DNSAddress string // cluster IP of the DNS service
	DNSDomain  string // "cluster.local"
	// Forward says that the hosts have a resolver of their own, to which names
	// outside the cluster are passed on; an air gap often has none.
	Forward bool
	// Images maps the role in the catalog entry to the full reference to run,
	// best by digest.
	Images map[string]string
}

// RenderObjects fills a template of Kubernetes objects and returns the YAML
// documents. A role that data does not name is an error, not an empty image.
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
