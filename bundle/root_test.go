package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

// A bundle has one Lock, for Open as for the agent, which reads index.json by
// ReadLock: no other descriptor may be taken for the one that leads there.
func TestT11OneLock(t *testing.T) {
	original, key := tiny(t)
	change := func(f func(*ocispec.Index)) bag {
		g := unpack(t, original)
		var index ocispec.Index
		if err := json.Unmarshal(g[bundle.MemberIndex], &index); err != nil {
			t.Fatal(err)
		}
		f(&index)
		b, err := json.Marshal(index)
		if err != nil {
			t.Fatal(err)
		}
		g[bundle.MemberIndex] = b
		g.sign(t, key)
		return g
	}
	tests := map[string]func(*ocispec.Index){
		"image with the type of the content index": func(i *ocispec.Index) { i.Manifests[0].ArtifactType = manifests.ArtifactTypeContent },
		"image with another type":                  func(i *ocispec.Index) { i.Manifests[0].ArtifactType = "x/y" },
		"image with urls":                          func(i *ocispec.Index) { i.Manifests[0].URLs = []string{"https://a.example/"} },
		"image with data":                          func(i *ocispec.Index) { i.Manifests[1].Data = []byte("x") },
		"image with a platform": func(i *ocispec.Index) {
			i.Manifests[1].Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
		},
		"image with an annotation":      func(i *ocispec.Index) { i.Manifests[0].Annotations["x"] = "y" },
		"two content indexes":           func(i *ocispec.Index) { i.Manifests = append(i.Manifests, i.Manifests[len(i.Manifests)-1]) },
		"content index with urls":       func(i *ocispec.Index) { i.Manifests[len(i.Manifests)-1].URLs = []string{"https://a.example/"} },
		"content index with data":       func(i *ocispec.Index) { i.Manifests[len(i.Manifests)-1].Data = []byte("x") },
		"content index with a platform": func(i *ocispec.Index) { i.Manifests[len(i.Manifests)-1].Platform = &ocispec.Platform{OS: "linux"} },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			g := change(f)
			if err := checkBytes(t, g.pack(t), bundletest.Options(key)); !errors.Is(err, bundle.ErrVerify) {
				t.Errorf("Open: %v", err)
			}
			if _, _, _, err := bundle.ReadLock(g[bundle.MemberIndex], g.read); err == nil {
				t.Error("ReadLock accepts it")
			}
		})
	}
	g := change(func(*ocispec.Index) {})
	if _, _, _, err := bundle.ReadLock(g[bundle.MemberIndex], g.read); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// read returns a blob for ReadLock.
func (g bag) read(d ocispec.Descriptor) ([]byte, error) {
	b, ok := g[blob(d.Digest)]
	if !ok {
		return nil, fmt.Errorf("no %s", d.Digest)
	}
	return b, nil
}

// Descriptors of our documents name no second source of the content.
func TestT11ArtifactDescriptors(t *testing.T) {
	original, key := tiny(t)
	for _, field := range []string{`"urls":["https://a.example/"],`, `"data":"eA==",`, `"platform":{"architecture":"amd64","os":"linux"},`} {
		g := unpack(t, original)
		name := g.find(t, `"artifactType":"`+manifests.ArtifactTypeFiles+`","config"`)
		var m ocispec.Manifest
		if err := json.Unmarshal(g[name], &m); err != nil {
			t.Fatal(err)
		}
		switch field[1] {
		case 'u':
			m.Layers[0].URLs = []string{"https://a.example/"}
		case 'd':
			m.Config.Data = []byte("{}")
		default:
			m.Layers[0].Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		g.replace(t, name, b)
		g.sign(t, key)
		if err := checkBytes(t, g.pack(t), bundletest.Options(key)); !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), "urls, data") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// 60 MiB of empty descriptors must not become gigabytes.
func TestT10HostileIndexFitsInMemory(t *testing.T) {
	original, _ := tiny(t)
	for name, element := range map[string]string{"objects": `{}`, "arrays": `[]`, "numbers": `0`, "objects in objects": `{"platform":{}}`} {
		g := unpack(t, original)
		var b bytes.Buffer
		b.WriteString(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[`)
		for b.Len() < 60<<20 {
			b.WriteString(element + ",")
		}
		b.WriteString(element + `]}`)
		g[bundle.MemberIndex] = b.Bytes()
		delete(g, bundle.MemberSignature)
		delete(g, bundle.MemberSigstore)
		packed := g.pack(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := checkBytes(t, packed, bundle.OpenOptions{AllowUnsigned: true})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("%s: %v", name, err)
		}
		// The document itself is 60 MiB.
		if used := after.TotalAlloc - before.TotalAlloc; used > 200<<20 {
			t.Errorf("%s: allocated %d MiB", name, used>>20)
		}
	}
}
