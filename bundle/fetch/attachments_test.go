package fetch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
)

// referrersRegistry is a fakeRegistry with a list of referrers.
type referrersRegistry struct {
	*fakeRegistry
	list   []ocispec.Descriptor
	status int  // of the referrers API
	tag    bool // the list is at the fallback tag
}

func (r *referrersRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	list := r.list
	switch {
	case strings.Contains(req.URL.Path, "/referrers/") && r.status != 200:
		w.WriteHeader(r.status)
		return
	case strings.Contains(req.URL.Path, "/referrers/") && req.URL.RawQuery == "" && len(list) > 1:
		list = list[:1]
		w.Header().Set("Link", fmt.Sprintf("<%s?page=2>; rel=\"next\"", req.URL.Path))
	case strings.Contains(req.URL.Path, "/referrers/") && len(list) > 1:
		list = list[1:]
	case r.tag && strings.Contains(req.URL.Path, "/manifests/sha256-") && !strings.Contains(req.URL.Path, "."):
	default:
		r.fakeRegistry.ServeHTTP(w, req)
		return
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	_ = json.NewEncoder(w).Encode(object{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list})
}

func TestAttachments(t *testing.T) {
	image := digest.FromString("image")
	tests := []struct {
		name   string
		status int
		tag    bool
		want   []string // found; "-" before those that are left out
		err    string
	}{
		{name: "API in two pages", status: 200, want: []string{"good", "-foreign", "-index"}},
		{name: "no API", status: 404},
		{name: "fallback tag", status: 404, tag: true, want: []string{"good", "-foreign", "-index"}},
		{name: "API not implemented", status: 501, tag: true, want: []string{"good", "-foreign", "-index"}},
		{name: "registry broken", status: 500, tag: true, err: "500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &referrersRegistry{
				fakeRegistry: &fakeRegistry{docs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}},
				status:       tt.status, tag: tt.tag,
			}
			names := map[digest.Digest]string{}
			hang := func(name, mediaType string, subject digest.Digest, v object) {
				v["schemaVersion"], v["mediaType"], v["subject"] = 2, mediaType, object{"mediaType": index, "digest": subject, "size": 1}
				d := f.add(mediaType, v)
				f.list, names[d.Digest] = append(f.list, d), name
			}
			empty := f.add("application/vnd.oci.empty.v1+json", []byte("{}"))
			hang("good", manifest, image, object{"config": empty, "layers": []any{empty}})
			hang("foreign", manifest, digest.FromString("other"), object{"config": empty, "layers": []any{empty}})
			hang("index", index, image, object{"manifests": []any{}})
			srv := httptest.NewServer(f)
			defer srv.Close()
			c, err := fetch.NewClient(fetch.Options{
				Rewrites: []manifests.Rewrite{{From: "example.com", To: srv.URL}}, Attempts: 2,
				Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
			})
			if err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(filepath.Join(t.TempDir(), "store"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			found, err := fetch.Env{Client: c, Store: s}.Attachments(t.Context(), fetch.ImageRef{Repo: "example.com/a/b"}, image)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, x := range found {
				name := names[x.Digest]
				if x.Skip != "" {
					name = "-" + name
				}
				got[name] = true
				if x.Name != "example.com/a/b@"+x.Digest.String() {
					t.Errorf("name %s", x.Name)
				}
			}
			want := map[string]bool{}
			for _, name := range tt.want {
				want[name] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
