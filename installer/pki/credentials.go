package pki

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// Options configure Open.
type Options struct {
	Dir     string             // the operator's state directory of the cluster; created if missing
	DryRun  bool               // leave Dir as it is: keep new credentials in memory
	Cluster *manifests.Cluster // the cluster that uses the credentials
	UID     string             // the UID of a new cluster; "": derived from its identity
	Now     func() time.Time   // nil: time.Now
}

// Credentials issues and stores the credentials of one cluster. It is safe for
// concurrent use within one process; against other processes, the caller locks the
// state directory.
type Credentials struct {
	dir    stateDir
	now    func() time.Time
	byName map[string]credential
	order  []string // names
	// endpoint is the URL of the API that nodes use.
	endpoint string
	newUID   string // see Options.UID
	// balancers reports that hosts balance the load and share a secret.
	balancers bool

	mu       sync.Mutex
	token    trust.Secret
	tokenAge time.Duration // see ReuseToken
}

// Open opens the credentials of o.Cluster in o.Dir. It does not issue any yet.
func Open(o Options) (*Credentials, error) {
	list, err := credentialsOf(o.Cluster)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	dir, err := openDir(o.Dir, o.DryRun)
	if err != nil {
		return nil, err
	}
	s := &Credentials{
		dir: dir, now: o.Now, byName: map[string]credential{}, endpoint: "https://" + o.Cluster.NodeEndpoint(), newUID: o.UID,
		tokenAge: TokenLifetime / 2, balancers: o.Cluster.Balancing() == manifests.BalanceHosts,
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, c := range list {
		s.byName[c.Name] = c
		s.order = append(s.order, c.Name)
	}
	return s, nil
}

// Ensure issues all credentials that are missing or stale. It returns their names
// with the reasons, "apiserver-cp-1: its names or addresses changed".
func (s *Credentials) Ensure() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.establish(); err != nil {
		return nil, err
	}
	var issued []string
	for _, name := range s.order {
		_, why, err := s.leaf(name)
		if err != nil {
			return issued, err
		}
		if why != "" {
			issued = append(issued, name+": "+why)
		}
	}
	if s.balancers {
		// The sealed copy of the state has to contain it.
		if _, err := s.vrrp(); err != nil {
			return issued, err
		}
	}
	return issued, nil
}

// Resolve returns the secret that ref names and issues it if necessary:
//
//	pki:<name>.crt, pki:<name>.key        a credential, PEM
//	pki:<name>.pem                        both in one file, as haproxy reads them
//	pki:<ca>-ca.crt, pki:<ca>-ca.key      an authority, PEM
//	pki:service-account.key, .pub         the key pair of service account tokens
//	kubeconfig:<name>                     a credential as a kubeconfig
//	kubeconfig:bootstrap                  the kubeconfig that kubelets join with
//	token:bootstrap                       the bootstrap token
//	secret:encryption-config              the API server's encryption at rest
//	secret:vrrp                           the block of keepalived.conf with the balancers' password
//	secret:state-copy                     the sealed copy of the state
//
// An unknown reference is an error.
func (s *Credentials) Resolve(ref string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.resolve(ref)
	if err != nil {
		return nil, fmt.Errorf("credential %q: %w", ref, err)
	}
	return b, nil
}

func (s *Credentials) resolve(ref string) ([]byte, error) {
	switch ref {
	case RefToken:
		return s.bootstrapToken()
	case RefEncryption:
		return s.encryption()
	case RefVRRP:
		return s.vrrp()
	case RefCopy:
		return s.copySecret()
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
		return nil, errUnknownRef
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
	case ".pem":
		return slices.Concat(p.cert, p.key), nil
	}
	return nil, errUnknownRef
}

func (s *Credentials) named(name string) (pair, error) {
	for _, ca := range authorities() {
		if name == caName(ca) {
			return s.authority(ca)
		}
	}
	p, _, err := s.leaf(name)
	return p, err
}

// authority reads or creates a CA.
func (s *Credentials) authority(ca CA) (pair, error) {
	return openCA(s.dir, caName(ca), "offk8s "+string(ca)+" CA", s.now())
}

// openCA reads or creates the authority in dir. An authority that exists is never
// replaced, even if it is damaged or has expired.
func openCA(dir stateDir, name, commonName string, now time.Time) (pair, error) {
	p, err := dir.readPair(name)
	if err != nil {
		return pair{}, err
	}
	switch {
	case p.cert == nil && p.key == nil:
		if p, err = newCA(commonName); err != nil {
			return pair{}, err
		}
		return p, dir.writePair(name, p)
	case p.cert == nil || p.key == nil: // a new one would end the trust in the old one, and write over its key
		found, missing := name+".crt", name+".key"
		if p.cert == nil {
			found, missing = missing, found
		}
		return pair{}, fmt.Errorf("authority %q in %q: %s is there and %s is not: copy the whole directory again, or remove %[3]s if nobody trusts the authority yet",
			name, dir.path, found, missing)
	}
	cert, _, err := parsePair(p)
	if err != nil {
		return pair{}, fmt.Errorf("authority %q in %q: %w", name, dir.path, err)
	}
	if now.After(cert.NotAfter) {
		return pair{}, fmt.Errorf("authority %q in %q expired on %s, now it is %s: set the clock if that is wrong; an authority that has ended cannot be renewed, nor the cluster of it, only installed anew",
			name, dir.path, cert.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly))
	}
	return p, nil
}

// leaf reads or issues a credential; why is the reason if it was issued, else empty.
func (s *Credentials) leaf(name string) (p pair, why string, err error) {
	c, ok := s.byName[name]
	if !ok {
		return pair{}, "", errUnknownRef
	}
	ca, err := s.authority(c.CA)
	if err != nil {
		return pair{}, "", err
	}
	return openLeaf(s.dir, ca, c, s.now())
}

// openLeaf reads the credential in dir, or issues it if it is missing or stale.
func openLeaf(dir stateDir, ca pair, c credential, now time.Time) (p pair, why string, err error) {
	p, err = dir.readPair(c.Name)
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
	return p, why, dir.writePair(c.Name, p)
}
