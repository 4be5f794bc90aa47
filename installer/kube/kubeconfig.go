package kube

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/url"

	"github.com/offk8s/offk8s/manifests/strict"
)

// kubeconfig has the fields of a kubeconfig as pki.Credentials writes it.
type kubeconfig struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Clusters   []struct {
		Cluster struct {
			Server string `yaml:"server"`
			CA     string `yaml:"certificate-authority-data"`
		} `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		User struct {
			Certificate string `yaml:"client-certificate-data"`
			Key         string `yaml:"client-key-data"`
			Token       string `yaml:"token"`
		} `yaml:"user"`
	} `yaml:"users"`
}

// ParseKubeconfig returns the URL of the API server in a kubeconfig with one cluster and
// one user, and the configuration to connect to it. token is empty if the user has a
// certificate. Errors quote nothing of the file, which has a key.
func ParseKubeconfig(b []byte) (server string, conf *tls.Config, token string, err error) {
	var k kubeconfig
	// Other fields do no harm, so problems with them do not count.
	ok := strict.New("", "v1", "Config").Decode(b, &k)
	if !ok || len(k.Clusters) != 1 || len(k.Users) != 1 {
		return "", nil, "", errors.New("want a kubeconfig with one cluster and one user")
	}
	cluster, user := k.Clusters[0].Cluster, k.Users[0].User
	if u, err := url.Parse(cluster.Server); err != nil || u.Scheme != "https" || u.Host == "" {
		return "", nil, "", errors.New("server: want a https URL")
	}
	conf = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	ca, err := base64.StdEncoding.DecodeString(cluster.CA)
	if err != nil || !conf.RootCAs.AppendCertsFromPEM(ca) {
		return "", nil, "", errors.New("certificate-authority-data: no certificate in it")
	}
	if user.Token != "" && user.Certificate == "" {
		return cluster.Server, conf, user.Token, nil
	}
	cert, cerr := base64.StdEncoding.DecodeString(user.Certificate)
	key, kerr := base64.StdEncoding.DecodeString(user.Key)
	pair, err := tls.X509KeyPair(cert, key)
	if errors.Join(cerr, kerr, err) != nil {
		return "", nil, "", errors.New("client-certificate-data and client-key-data: no certificate with its key in them")
	}
	conf.Certificates = []tls.Certificate{pair}
	return cluster.Server, conf, "", nil
}
