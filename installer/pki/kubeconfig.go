package pki

import (
	"encoding/base64"
	"fmt"

	"github.com/offk8s/offk8s/bundle/trust"
)

// kubeconfig returns a credential as a kubeconfig that needs no other file.
func (s *Credentials) kubeconfig(name string) (trust.Secret, error) {
	c, ok := s.byName[name]
	if !ok || c.Server == "" {
		return nil, errUnknownRef
	}
	p, _, err := s.leaf(name)
	if err != nil {
		return nil, err
	}
	user := fmt.Sprintf("    client-certificate-data: %s\n    client-key-data: %s\n",
		base64.StdEncoding.EncodeToString(p.cert), base64.StdEncoding.EncodeToString(p.key))
	return s.renderKubeconfig(c.Server, c.CommonName, user)
}

// bootstrapKubeconfig returns the kubeconfig with which a kubelet requests its certificate.
func (s *Credentials) bootstrapKubeconfig() (trust.Secret, error) {
	t, err := s.bootstrapToken()
	if err != nil {
		return nil, err
	}
	return s.renderKubeconfig(s.endpoint, "kubelet-bootstrap", "    token: "+string(t)+"\n")
}

func (s *Credentials) renderKubeconfig(server, user, credential string) (trust.Secret, error) {
	ca, err := s.authority(Kubernetes)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    server: %q
    certificate-authority-data: %s
users:
- name: %q
  user:
%scontexts:
- name: default
  context:
    cluster: kubernetes
    user: %q
current-context: default
`, server, base64.StdEncoding.EncodeToString(ca.cert), user, credential, user), nil
}
