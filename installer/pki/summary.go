package pki

import (
	"strings"
	"time"
)

// Summary describes a state directory, without secrets.
type Summary struct {
	Identity string   `json:"identity"`          // see Credentials.Identity
	UID      string   `json:"uid"`               // of the cluster, 32 hex digits
	Missing  []string `json:"missing,omitempty"` // files that cannot be made again
	// Authorities are those of the cluster; Certificates counts what they issued, of
	// which Earliest ends first, nil if there are none.
	Authorities  []Validity `json:"authorities"`
	Certificates int        `json:"certificates"`
	Earliest     *Validity  `json:"earliest,omitempty"`
	Copy         CopyState  `json:"copy"`
}

// Validity is the end of a certificate.
type Validity struct {
	Name     string    `json:"name"`
	NotAfter time.Time `json:"notAfter"` // UTC
}

// Summary describes the state directory of the cluster with that name.
func (s *Credentials) Summary(cluster string) (Summary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v Summary
	var err error
	if v.Missing, err = s.dir.missing(); err != nil {
		return v, err
	}
	if v.Identity, err = s.dir.identity(); err != nil {
		return v, err
	}
	if v.UID, err = s.dir.uid(); err != nil {
		return v, err
	}
	names, err := s.dir.names()
	if err != nil {
		return v, err
	}
	for _, file := range names {
		name, ok := strings.CutSuffix(file, ".crt")
		if !ok {
			continue
		}
		end, err := s.dir.validity(name)
		if err != nil {
			return v, err
		}
		if strings.HasSuffix(name, "-ca") {
			v.Authorities = append(v.Authorities, end)
			continue
		}
		v.Certificates++
		if v.Earliest == nil || end.NotAfter.Before(v.Earliest.NotAfter) {
			v.Earliest = &end
		}
	}
	if v.Identity == "" {
		return v, nil
	}
	sealed, err := s.dir.read(CopyFile)
	if err != nil || sealed == nil {
		return v, err
	}
	state, err := s.dir.state(cluster)
	if err != nil {
		return v, err
	}
	v.Copy, err = compareCopy(state.Content, sealed, nil)
	return v, err
}

func (d stateDir) validity(name string) (Validity, error) {
	p, err := d.readPair(name)
	if err != nil {
		return Validity{}, err
	}
	cert, _, err := parsePair(p)
	if err != nil {
		return Validity{}, err
	}
	return Validity{name, cert.NotAfter.UTC()}, nil
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
