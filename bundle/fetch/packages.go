package fetch

import (
	"sync"

	"github.com/offk8s/offk8s/bundle/apt"
	"github.com/offk8s/offk8s/bundle/yum"
	"github.com/offk8s/offk8s/manifests"
)

// Packages holds the headers of the packages of a Lock. The fetchers read them to check the
// packages, and the metadata of repositories is written from them. The zero value is ready
// for use, and safe for concurrent use.
type Packages struct{ rpms, debs sync.Map }

// RPM returns the header of an artifact, and false if it was not fetched.
func (p *Packages) RPM(a manifests.Artifact) (yum.PackageMeta, bool) {
	meta, ok := p.rpms.Load(place(&a))
	if !ok {
		return yum.PackageMeta{}, false
	}
	return meta.(yum.PackageMeta), true
}

// Deb is RPM for a Debian package.
func (p *Packages) Deb(a manifests.Artifact) (apt.PackageMeta, bool) {
	meta, ok := p.debs.Load(place(&a))
	if !ok {
		return apt.PackageMeta{}, false
	}
	return meta.(apt.PackageMeta), true
}

func (p *Packages) addRPM(a *manifests.Artifact, m yum.PackageMeta) {
	if p != nil {
		p.rpms.Store(place(a), m)
	}
}

func (p *Packages) addDeb(a *manifests.Artifact, m apt.PackageMeta) {
	if p != nil {
		p.debs.Store(place(a), m)
	}
}

// place is where the mirror has a package; a Lock has no other artifact there.
func place(a *manifests.Artifact) string { return a.Group + "/" + a.Path }
