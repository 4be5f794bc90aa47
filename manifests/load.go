package manifests

import "github.com/offk8s/offk8s/manifests/strict"

// LoadManifest reads a pack.yaml; name is used in messages. The error is a
// *strict.Error with every problem of the file.
func LoadManifest(name string, data []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := load(name, data, KindManifest, m); err != nil {
		return nil, err
	}
	return m, nil
}

// LoadCluster reads a cluster.yaml; name is used in messages. The error is a
// *strict.Error with every problem of the file. Empty fields stay empty,
// see Cluster.SetDefaults.
func LoadCluster(name string, data []byte) (*Cluster, error) {
	c := &Cluster{}
	if err := load(name, data, KindCluster, c); err != nil {
		return nil, err
	}
	return c, nil
}

// load reads a document of one kind and then validates it.
func load(name string, data []byte, kind string, v interface{ Validate() []strict.Problem }) error {
	d := strict.New(name, APIVersion, kind)
	if d.Decode(data, v) {
		d.Report(v.Validate())
	}
	return d.Err()
}
