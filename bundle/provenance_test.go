package bundle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
)

func TestProvenance(t *testing.T) {
	builder := bundletest.New(t)
	builder.AddSmall(t)
	b, err := bundle.Open(context.Background(), []string{builder.Seal(t)}, bundletest.Options(builder.Key))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	envelope, err := bundle.Attest(b.Lock(), b.Root(), builder.Key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := bundle.Attest(b.Lock(), b.Root(), builder.Key)
	if err != nil || !bytes.Equal(again, envelope) {
		t.Errorf("attested twice: other bytes (%v)", err)
	}
	p, err := b.Provenance(envelope)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Lock().Artifacts) + 1; len(p.Subject) != n || p.Subject[0].Digest["sha256"] != b.Root().Encoded() {
		t.Errorf("subjects %v, want %d, the root first", p.Subject, n)
	}
	sources := p.Predicate.BuildDefinition.ResolvedDependencies
	i := slices.IndexFunc(sources, func(r bundle.ProvenanceResource) bool { return r.Name == bundletest.PauseImage })
	if i < 0 || sources[i].URI == "" || sources[i].Digest["sha256"] == "" || sources[i].Annotations["trust"] != "catalog" {
		t.Errorf("sources %v, want %s with address, digest and evidence", sources, bundletest.PauseImage)
	}

	moved, err := bundle.Attest(b.Lock(), digest.FromString("other"), builder.Key)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := builder.Key.SignStatement([]byte(`{"predicateType":"https://example.com/v1"}`))
	if err != nil {
		t.Fatal(err)
	}
	var signed, other map[string]any // the signature of one for the statement of the other
	if err := errors.Join(json.Unmarshal(envelope, &signed), json.Unmarshal(moved, &other)); err != nil {
		t.Fatal(err)
	}
	signed["payload"] = other["payload"]
	forged, err := json.Marshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	for want, envelope := range map[string][]byte{
		"not by the key of the bundle":      forged,
		digest.FromString("other").String(): moved,
		"https://example.com/v1":            unknown,
		"no DSSE envelope":                  []byte("x"),
	} {
		if _, err := b.Provenance(envelope); !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
