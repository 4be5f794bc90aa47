package pki

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// Options of Open.
type Options struct {
	Dir     string             // the operator's state folder of this cluster; made when missing
	Cluster *manifests.Cluster // what the credentials are for
	Now     func() time.Time   // nil: time.Now
}

// Store issues and keeps the credentials of one cluster. It is safe for
// concurrent use within one process; two processes are kept apart by the lock
// on the cluster's state that the caller holds.
type Store struct {
	dir    string
	now    func() time.Time
	wanted map[string]Credential
	order  []string
	// endpoint is the API's URL as nodes dial it.
	endpoint string

	mu    sync.Mutex
	token trust.Secret
}

// Open opens the store in o.Dir for the credentials of o.Cluster; nothing is
// issued yet.
func Open(o Options) (*Store, error) {
	list, err := Credentials(o.Cluster)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if err := makeDir(o.Dir); err != nil {
		return nil, err
	}
	s := &Store{dir: o.Dir, now: o.Now, wanted: map[string]Credential{}, endpoint: "https://" + o.Cluster.Endpoint()}
	if s.now == nil {
		s.now = time.Now
	}
	for _, c := range list {
		s.wanted[c.Name] = c
		s.order = append(s.order, c.Name)
	}
	return s, nil
}

// Ensure issues everything that is missing or stale and returns the names of
// what it issued, with the reason: "apiserver-cp-1: its names or addresses changed".
func (s *Store) Ensure() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var issued []string
	for _, ca := range CAs() {
		if _, err := s.authority(ca); err != nil {
			return issued, err
		}
	}
	for _, name := range s.order {
		_, why, err := s.leaf(name)
		if err != nil {
			return issued, err
		}
		if why != "" {
			issued = append(issued, name+": "+why)
		}
	}
	if _, _, err := s.serviceAccount(); err != nil {
		return issued, err
	}
	_, err := s.encryption()
	return issued, err
}

// Resolve returns what ref names, issuing it when needed:
//
//	pki:<name>.crt, pki:<name>.key        a credential, PEM
//	pki:<ca>-ca.crt, pki:<ca>-ca.key      an authority, PEM
//	pki:service-account.key, .pub         the key pair of service account tokens
//	kubeconfig:<name>                     a credential as a kubeconfig
//	kubeconfig:bootstrap                  the kubeconfig that kubelets join with
//	token:bootstrap                       the bootstrap token
//	secret:encryption-config              the API server's encryption at rest
//
// The error wraps ErrUnknownRef when there is no such thing.
func (s *Store) Resolve(ref string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.resolve(ref)
	if err != nil {
		return nil, fmt.Errorf("credential %q: %w", ref, err)
	}
	return b, nil
}

func (s *Store) resolve(ref string) ([]byte, error) {
	switch ref {
	case RefToken:
		return s.bootstrapToken()
	case RefEncryption:
		return s.encryption()
	case RefBootstrapKubeconfig:
		return s.bootstrapKubeconfig()
	case RefServiceAccountKey:
		key, _, err := s.serviceAccount()
		return key, err
	case RefServiceAccountPub:
		_, pub, err := s.serviceAccount()
		return pub, err
	}
	if name, ok := strings.CutPrefix(ref, refKubeconfig); ok {
		return s.kubeconfig(name)
	}
	file, ok := strings.CutPrefix(ref, refPKI)
	if !ok {
		return nil, ErrUnknownRef
	}
	name, ext := strings.TrimSuffix(file, filepath.Ext(file)), filepath.Ext(file)
	p, err := s.named(name)
	if err != nil {
		return nil, err
	}
	switch ext {
	case ".crt":
		return p.cert, nil
	case ".key":
		return p.key, nil
	}
	return nil, ErrUnknownRef
}

func (s *Store) named(name string) (pair, error) {
	for _, ca := range CAs() {
		if name == caName(ca) {
			return s.authority(ca)
		}
	}
	p, _, err := s.leaf(name)
	return p, err
}

// authority reads or makes a CA. The key is written first: a certificate on the
// disk means that the authority was born and is never replaced silently.
func (s *Store) authority(ca CA) (pair, error) {
	return openCA(s.dir, caName(ca), "offk8s "+string(ca)+" CA", s.now())
}

func openCA(dir, name, commonName string, now time.Time) (pair, error) {
	p, err := readPair(dir, name)
	if err != nil {
		return pair{}, err
	}
	if p.cert == nil {
		if p, err = newCA(commonName); err != nil {
			return pair{}, err
		}
		return p, writePair(dir, name, p)
	}
	cert, _, err := parsePair(p)
	if err != nil {
		return pair{}, fmt.Errorf("authority %q in %q: %w", name, dir, err)
	}
	if now.After(cert.NotAfter) {
		return pair{}, fmt.Errorf("authority %q in %q ended %s", name, dir, cert.NotAfter.Format(time.DateOnly))
	}
	return p, nil
}

// leaf reads or issues a credential; why is the reason when it was issued.
func (s *Store) leaf(name string) (p pair, why string, err error) {
	c, ok := s.wanted[name]
	if !ok {
		return pair{}, "", ErrUnknownRef
	}
	ca, err := s.authority(c.CA)
	if err != nil {
		return pair{}, "", err
	}
	return openLeaf(s.dir, ca, c, s.now())
}

func openLeaf(dir string, ca pair, c Credential, now time.Time) (p pair, why string, err error) {
	p, err = readPair(dir, c.Name)
	if err != nil {
		return pair{}, "", err
	}
	why = "it was missing"
	if p.cert != nil {
		if why = stale(ca, p, c, now); why == "" {
			return p, "", nil
		}
	}
	if p, err = issue(ca, c, now); err != nil {
		return pair{}, "", err
	}
	return p, why, writePair(dir, c.Name, p)
}

func readPair(dir, name string) (pair, error) {
	cert, err1 := readSecret(filepath.Join(dir, name+".crt"))
	key, err2 := readSecret(filepath.Join(dir, name+".key"))
	if err := errors.Join(err1, err2); err != nil {
		return pair{}, fmt.Errorf("read credential %q: %w", name, err)
	}
	return pair{cert: cert, key: key}, nil
}

func writePair(dir, name string, p pair) error {
	if err := durable.WriteFile(filepath.Join(dir, name+".key"), p.key, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, name+".crt"), p.cert, 0o600)
}
