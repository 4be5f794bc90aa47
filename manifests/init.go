package manifests

import (
	"bytes"
	_ "embed"
)

//go:embed init/pack.yaml
var initManifest []byte

//go:embed init/cluster.yaml
var initCluster []byte

// InitManifest returns a commented pack.yaml to start from; it loads unchanged.
func InitManifest() []byte { return bytes.Clone(initManifest) }

// InitCluster returns a commented cluster.yaml to start from: one control plane
// and two workers. It loads unchanged; its names and addresses are examples.
func InitCluster() []byte { return bytes.Clone(initCluster) }
