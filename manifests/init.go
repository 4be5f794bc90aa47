package manifests

import (
	"bytes"
	_ "embed"
	"reflect"
	"strings"
)

//go:embed init/pack.yaml
var initManifest []byte

//go:embed init/cluster.yaml
var initCluster []byte

// exampleMirror is the mirror of init/cluster.yaml, whose fingerprint is that of no CA.
var exampleMirror = ClusterMirror{
	URL: "https://10.0.0.5:8443", CAFingerprint: "sha256:" + strings.Repeat("0", 64),
}

// IsExample reports the mirror of InitCluster: the user has not written another yet.
func (m ClusterMirror) IsExample() bool { return reflect.DeepEqual(m, exampleMirror) }

// InitManifest returns a commented pack.yaml to start from; it loads unchanged.
func InitManifest() []byte { return bytes.Clone(initManifest) }

// InitCluster returns a commented cluster.yaml to start from: one control plane
// and two workers. It loads unchanged; its names and addresses are examples.
func InitCluster() []byte { return bytes.Clone(initCluster) }
