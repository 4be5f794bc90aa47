package mirror_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/mirror"
)

func ExampleNew() {
	b, err := exampleBundle() // usually bundle.Open
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	m, err := mirror.New([]*bundle.Bundle{b}, mirror.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	server := httptest.NewServer(m) // usually mirror.Server
	defer server.Close()

	for _, path := range []string{"/files/hello.txt", "/config/hosts.toml", "/files/../hello.txt"} {
		r, err := http.Get(server.URL + path)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		first, _, _ := bytes.Cut(body, []byte(" "))
		fmt.Println(path, r.StatusCode, string(first))
	}
	// Output:
	// /files/hello.txt 200 hello
	// /config/hosts.toml 200 server
	// /files/../hello.txt 400 bad
}

// exampleBundle is an unsigned bundle of one file, in memory.
func exampleBundle() (*bundle.Bundle, error) {
	content := []byte("hello from a bundle\n")
	blob := manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: digest.FromBytes(content), Size: int64(len(content))}
	var tar bytes.Buffer
	_, err := bundle.Seal(context.Background(), &tar, bundle.SealInput{
		Lock: &manifests.Lock{
			APIVersion: manifests.APIVersion, Kind: manifests.KindLock, Name: "example", Sequence: 1,
			Created: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Kubernetes: "1.36.3", Minor: "1.36",
			Artifacts: []manifests.Artifact{{Kind: manifests.KindFile, Name: "hello", Group: "files", Path: "hello.txt", Blob: blob}},
		},
		Open: func(digest.Digest) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
	})
	if err != nil {
		return nil, err
	}
	return bundle.OpenReader(context.Background(), bytes.NewReader(tar.Bytes()), int64(tar.Len()), bundle.OpenOptions{AllowUnsigned: true})
}
