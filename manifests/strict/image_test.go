package strict

import (
	"strings"
	"testing"
)

func TestCheckImageRef(t *testing.T) {
	sum := "@sha256:" + strings.Repeat("a", 64)
	long := strings.Repeat("a", 200)
	for _, tt := range []struct{ ref, want string }{
		{"registry.k8s.io/pause:3.10", ""},
		{"registry.example.com/a__b/c--d/e.f/g-h:V1_2.3-4", ""},
		{"localhost/a:1", ""},
		{"localhost:5000/a/b:1" + sum, ""},
		{"10.0.0.9:5000/app" + sum, ""},
		{"a.example/" + long + "/" + strings.Repeat("b", 44) + ":1", ""},
		{"a.example/" + long + "/" + strings.Repeat("b", 45) + ":1", "256 characters, want at most 255"},
		{"registry.example.com/a..b/app:1", `repository "a..b/app"`},
		{"registry.example.com/a___b:1", `repository "a___b"`},
		{"registry.example.com/a._b:1", `repository "a._b"`},
		{"registry.example.com/-a:1", `repository "-a"`},
		{"registry.example.com/Team/app:1", `repository "Team/app"`},
		{"registry.example.com//app:1", `repository "/app"`},
		{"registry.example.com/../app:1", `repository "../app"`},
		{"Registry.example.com/app:1", `registry "Registry.example.com"`},
		{"my_registry.example.com:5000/app:1", `registry "my_registry.example.com:5000"`},
		{"registry.example.com:port/app:1", `registry "registry.example.com:port"`},
		{"registry..example/app:1", `registry "registry..example"`},
		{"[fd00::5]:5000/app:1", `registry "[fd00::5]:5000"`},
		{"registry.example.com/app:1+build", `tag "1+build"`},
		{"registry.example.com/app:", `tag ""`},
		{"registry.example.com/app:" + strings.Repeat("1", 129), "want 1 to 128"},
		{"registry.example.com/app@sha256:short", `digest "sha256:short"`},
		{"registry.example.com/app@", "no digest"},
		{"registry.example.com/app:1@md5:d41d8cd98f00b204e9800998ecf8427e", "digest"},
		{"docker://registry.example.com/app:1", "no scheme docker://"},
		{"app:1", "no registry"},
		{"team/app:1", "no registry"},
		{"", "repository"},
	} {
		err := CheckImageRef(tt.ref)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: got %v, want %q", tt.ref, err, tt.want)
		}
	}
}

func FuzzParseImage(f *testing.F) {
	for _, seed := range []string{"registry.k8s.io/pause:3.10", "a/b@sha256:x", "::", "/", "a:b/c", "A.b/c", "a.b/c__d:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		i, err := ParseImage(ref)
		if err != nil {
			return
		}
		again := i.Path
		if i.Host != "" {
			again = i.Host + "/" + again
		}
		if i.Tag != "" {
			again += ":" + i.Tag
		}
		if i.Digest != "" {
			again += "@" + i.Digest.String()
		}
		if again != ref {
			t.Fatalf("%q: parts make %q", ref, again)
		}
	})
}
