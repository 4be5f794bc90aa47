package apiproxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"github.com/offk8s/offk8s/manifests/strict"
)

// kubeconfig has the fields of the kubeconfigs that installer/pki writes.
type kubeconfig struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Clusters   []struct {
		Name    string `yaml:"name"`
		Cluster struct {
			Server string `yaml:"server"`
			CA     string `yaml:"certificate-authority-data"`
		} `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User struct {
			Certificate string `yaml:"client-certificate-data"`
			Key         string `yaml:"client-key-data"`
		} `yaml:"user"`
	} `yaml:"users"`
	Contexts []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	CurrentContext string `yaml:"current-context"`
}

// credential returns the client certificate and the authority in a kubeconfig that
// installer/pki has written, with one cluster and one user.
func credential(file string) (*tls.Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	doc := strict.New(file, "v1", "Config")
	if doc.Decode(b, &k); doc.Err() != nil {
		return nil, doc.Err()
	}
	if len(k.Clusters) != 1 || len(k.Users) != 1 {
		return nil, fmt.Errorf("%q: found %d clusters and %d users, want one of each", file, len(k.Clusters), len(k.Users))
	}
	ca, err := base64.StdEncoding.DecodeString(k.Clusters[0].Cluster.CA)
	cert, err1 := base64.StdEncoding.DecodeString(k.Users[0].User.Certificate)
	key, err2 := base64.StdEncoding.DecodeString(k.Users[0].User.Key)
	if err := errors.Join(err, err1, err2); err != nil {
		return nil, fmt.Errorf("%q: %w", file, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%q: client certificate: %w", file, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%q: no certificate of an authority", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}}, nil
}
