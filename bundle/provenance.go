package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests"
)

// Types of a provenance: in-toto Statement v1 with the predicate of SLSA v1.
const (
	statementType  = "https://in-toto.io/Statement/v1"
	provenanceType = "https://slsa.dev/provenance/v1"
	packBuildType  = "https://offk8s.dev/pack/v1"
	packBuilder    = "https://offk8s.dev/pack"
)

// Provenance is an in-toto statement about the origin of a bundle.
type Provenance struct {
	Type          string               `json:"_type"`
	Subject       []ProvenanceResource `json:"subject"` // index.json, then each artifact
	PredicateType string               `json:"predicateType"`
	Predicate     ProvenancePredicate  `json:"predicate"`
}

// ProvenanceResource is a descriptor of in-toto: a subject, or the source of an artifact.
type ProvenanceResource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ProvenancePredicate is the predicate of https://slsa.dev/spec/v1.0/provenance.
type ProvenancePredicate struct {
	BuildDefinition struct {
		BuildType            string               `json:"buildType"`
		ExternalParameters   ProvenanceParameters `json:"externalParameters"`
		ResolvedDependencies []ProvenanceResource `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version,omitempty"`
		} `json:"builder"`
		Metadata struct {
			StartedOn time.Time `json:"startedOn"`
		} `json:"metadata"`
	} `json:"runDetails"`
}

// ProvenanceParameters are the choices of the user of pack.
type ProvenanceParameters struct {
	Name       string   `json:"name"`
	Sequence   int64    `json:"sequence"`
	Kubernetes string   `json:"kubernetes"`
	Arches     []string `json:"arches"`
	Distros    []string `json:"distros"`
	CNI        string   `json:"cni"`
	Runtime    string   `json:"runtime"`
}

// Attest returns a DSSE envelope, signed by key, with the Provenance of the bundle of lock
// with this root: the content, the address and digest of each source with the evidence for
// it, and the version of offk8s. The same Lock, root and key give the same bytes.
func Attest(lock *manifests.Lock, root digest.Digest, key *trust.KeyPair) ([]byte, error) {
	statement, err := encode(provenanceOf(lock, root))
	if err != nil {
		return nil, err
	}
	return key.SignStatement(statement)
}

// provenanceOf lists the artifacts in the order of a Lock.
func provenanceOf(lock *manifests.Lock, root digest.Digest) Provenance {
	p := Provenance{Type: statementType, PredicateType: provenanceType}
	p.Subject = []ProvenanceResource{{Name: MemberIndex, Digest: digestSet(root)}}
	d, r := &p.Predicate.BuildDefinition, &p.Predicate.RunDetails
	d.BuildType, r.Builder.ID, r.Metadata.StartedOn = packBuildType, packBuilder, lock.Created.UTC()
	d.ExternalParameters = ProvenanceParameters{
		lock.Name, lock.Sequence, lock.Kubernetes, lock.Arches, lock.Distros, lock.CNI, lock.Runtime,
	}
	seen := map[[2]string]bool{}
	for i := range lock.Artifacts {
		a := &lock.Artifacts[i]
		p.Subject = append(p.Subject, ProvenanceResource{Name: refOf(a), Digest: digestSet(contentOf(a))})
		if a.Source.URL == fetch.SelfURL {
			r.Builder.Version = map[string]string{"offk8s": a.Version}
		}
		source := [2]string{a.Source.URL, a.Source.Digest.String()}
		if seen[source] || a.Source.Trust == manifests.TrustLocal {
			continue // one archive has several programs
		}
		seen[source] = true
		x := ProvenanceResource{Name: a.Name, URI: a.Source.URL, Digest: digestSet(a.Source.Digest), Annotations: map[string]string{"trust": a.Source.Trust}}
		if a.Source.Signer != "" {
			x.Annotations["signer"] = a.Source.Signer
		}
		d.ResolvedDependencies = append(d.ResolvedDependencies, x)
	}
	return p
}

func digestSet(d digest.Digest) map[string]string {
	if d == "" {
		return nil
	}
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// Provenance returns the statement in the envelope of Attest after checking that the
// signer of b signed it, and that it is of b. The errors are of class ErrVerify.
func (b *Bundle) Provenance(envelope []byte) (Provenance, error) {
	var p Provenance
	signer, ok := b.Signer()
	if !ok {
		return p, policyFailure(fmt.Errorf("provenance: %w", trust.ErrNoKey))
	}
	statement, _, err := trust.OpenStatement(envelope, []trust.PublicKey{signer})
	if errors.Is(err, trust.ErrUnknownKey) {
		err = fmt.Errorf("%w: not by the key of the bundle, %s, or altered", trust.ErrBadSignature, signer.Fingerprint())
	}
	if err == nil {
		err = json.Unmarshal(statement, &p) // newer versions may say more
	}
	if err == nil && (p.PredicateType != provenanceType || len(p.Subject) == 0) {
		err = fmt.Errorf("found a statement of %q, want %q", p.PredicateType, provenanceType)
	}
	if err == nil && p.Subject[0].Digest["sha256"] != b.root.Encoded() {
		err = fmt.Errorf("is of the bundle with the root sha256:%s, this one has %s", p.Subject[0].Digest["sha256"], b.root)
	}
	if err != nil {
		return p, badArtifact("check", "provenance", err)
	}
	return p, nil
}
