package strict

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestIsDigest(t *testing.T) {
	good := digest.FromString("x")
	for _, d := range []digest.Digest{
		good, digest.SHA512.FromString("x"), digest.SHA384.FromString("x"), "", "sha256:", ":" + digest.Digest(good.Encoded()),
		digest.Digest(good.Encoded()), good + "0", good[:len(good)-1], good[:len(good)-1] + "g", good[:len(good)-1] + "\n",
		digest.Digest(strings.ToUpper(string(good))), "sha256:" + digest.Digest(strings.ToUpper(good.Encoded())), " " + good,
		"sha512:" + digest.Digest(good.Encoded()), "sha256:" + good, "md5:d41d8cd98f00b204e9800998ecf8427e",
	} {
		want := d.Validate() == nil && d.Algorithm() != digest.SHA384
		if got := IsDigest(d); got != want {
			t.Errorf("%q: %v, want %v", d, got, want)
		}
		if got := CheckDigest(d) == nil; got != (want || d == "") {
			t.Errorf("%q: CheckDigest accepts it: %v", d, got)
		}
	}
}
