package manifests

import (
	"embed"
	"fmt"
	"reflect"
	"sync"

	"github.com/offk8s/offk8s/manifests/fields"
)

// fieldSources are the files that declare the types of cluster.yaml and pack.yaml. The
// comments there are the only description of the fields.
//
//go:embed cluster.go cluster_topology.go manifest.go
var fieldSources embed.FS

// ClusterFields returns the fields of cluster.yaml.
func ClusterFields() []fields.Field { return documentTypes().Of(reflect.TypeFor[Cluster]()) }

// ManifestFields returns the fields of pack.yaml.
func ManifestFields() []fields.Field { return documentTypes().Of(reflect.TypeFor[Manifest]()) }

var documentTypes = sync.OnceValue(func() fields.Types {
	comments, err := fields.Comments(fieldSources)
	if err != nil {
		panic(fmt.Sprintf("source of the fields: %v", err)) // it compiles
	}
	return fields.Types{Tag: "yaml", Time: "date", Comment: func(t reflect.Type, field string) string { return comments[t.Name()+"."+field] }}
})
