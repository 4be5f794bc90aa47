package pki

import (
	"strings"
	"time"
)

// Summary describes a state directory, without secrets.
type Summary struct {
	Identity string   `json:"identity"`          // "sha256:<hex>", which the hosts of the cluster record
	UID      string   `json:"uid"`               // of the cluster, 32 hex digits
	Missing  []string `json:"missing,omitempty"` // files that cannot be made again
	// Authorities are those of the cluster; Certificates counts the others. FirstEnd
	// is the one of all that ends first. All are empty without an identity.
	Authorities  []Validity `json:"authorities"`
	Certificates int        `json:"certificates"`
	FirstEnd     *Validity  `json:"firstEnd,omitempty"`
	Copy         CopyState  `json:"copy"` // empty, current or out of date
}

// Validity is the end of a certificate.
type Validity struct {
	Name     string    `json:"name"`
	NotAfter time.Time `json:"notAfter"` // UTC
}

// Summary describes the state directory of the cluster with that name.
func (s *Credentials) Summary(cluster string) (Summary, error) {
	var v Summary
	first, end, err := s.FirstEnd()
	if err != nil {
		return v, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Missing, err = s.dir.missing(); err != nil {
		return v, err
	}
	if v.Identity, err = s.dir.identity(); err != nil || v.Identity == "" {
		return v, err
	}
	if v.UID, err = s.dir.uid(); err != nil {
		return v, err
	}
	state, err := s.dir.state(cluster)
	if err != nil {
		return v, err
	}
	v.FirstEnd = &Validity{first, end.UTC()}
	if v.Authorities, err = s.dir.authorityEnds(); err != nil {
		return v, err
	}
	for name := range state.Files {
		if strings.HasSuffix(name, ".crt") {
			v.Certificates++
		}
	}
	v.Certificates -= len(v.Authorities)
	if state.Copy != nil {
		v.Copy, err = compareCopy(state.Content, state.Copy, nil)
	}
	return v, err
}

// AuthorityEnds returns the ends of the authorities of the cluster, none if they are not there
// yet.
func (s *Credentials) AuthorityEnds() ([]Validity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, err := s.identity(); id == "" {
		return nil, err
	}
	return s.dir.authorityEnds()
}

func (d stateDir) authorityEnds() (out []Validity, err error) {
	for _, ca := range authorities() {
		p, err := d.readPair(caName(ca))
		if err != nil {
			return nil, err
		}
		cert, _, err := parsePair(p)
		if err != nil {
			return nil, err
		}
		out = append(out, Validity{caName(ca), cert.NotAfter.UTC()})
	}
	return out, nil
}

// Belongs reports whether the state directory can be that of the cluster, since two
// clusters may have the same name: it has the certificate of one of the cluster's etcd
// members with the name and address of today, or it has none of any member.
func (s *Credentials) Belongs() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.dir.names()
	if err != nil {
		return false, err
	}
	empty := true
	for _, file := range names {
		name, ok := strings.CutSuffix(file, ".crt")
		if !ok || !strings.HasPrefix(name, etcdServer+"-") {
			continue
		}
		empty = false
		p, err := s.dir.readPair(name)
		if err != nil {
			return false, err
		}
		cert, _, err := parsePair(p)
		if c, known := s.byName[name]; known && err == nil && changed(cert, c) == "" {
			return true, nil
		}
	}
	return empty, nil
}
