package bundle

import (
	"fmt"
	"strings"

	"github.com/offk8s/offk8s/manifests"
)

const readmeText = `offk8s bundle %[1]s, sequence %[2]d: Kubernetes %[3]s
Created %[4]s

This file is an OCI image layout in a plain tar. To check it you need tar,
openssl and sha256sum, and the public key of its maker (offk8s.pub). Get that
key out of band, not with this bundle, or compare its fingerprint:

    openssl pkey -pubin -in offk8s.pub -outform DER | sha256sum
    expected here: %[5]s

1. Unpack into an empty directory (BUNDLE is this tar):

    mkdir bundle && tar -xf BUNDLE -C bundle && cd bundle

2. The signature covers index.json:

    openssl dgst -sha256 -verify offk8s.pub -signature index.json.sig index.json

   "Verified OK" is the only good answer.

3. Every other file is named after its digest. This prints nothing if every
   blob matches its name:

    for f in blobs/sha256/*; do echo "${f##*/}  $f"; done | sha256sum --quiet -c -
    for f in blobs/sha512/*; do [ -e "$f" ] && echo "${f##*/}  $f"; done | sha512sum --quiet -c -

   (If a bundle has no sha512 blobs, the second line has nothing to check.) The
   digests follow from index.json: its "manifests" name the images and, last, an
   index of everything else. That index names artifact manifests, and they name
   the files in their "layers": the title is the path, the digest is the blob. A
   blob that index.json does not lead to does not belong to the bundle; "offk8s
   verify" refuses a bundle with such a blob.

4. Files of the media type %[6]s
   are compressed: zstd -d < blobs/sha256/... > file. Their annotation
   %[7]s is the digest of the file itself.

Images can be copied out without offk8s, for example with

    skopeo copy oci-archive:BUNDLE:NAME docker://registry/NAME

where NAME is the org.opencontainers.image.ref.name of an image in index.json.
skopeo finds those whose mediaType there is an OCI one; images in Docker's
format come from the mirror (offk8s serve) or by "ctr images import BUNDLE".
With offk8s: offk8s verify, offk8s inspect, offk8s serve.
`

// readme returns README.txt, which explains how to check a bundle without
// offk8s.
func readme(l *manifests.Lock, fingerprint string) []byte {
	if fingerprint == "" {
		fingerprint = "none, this bundle is not signed"
	}
	return fmt.Appendf(nil, readmeText, l.Name, l.Sequence, l.Kubernetes,
		l.Created.UTC().Format("2006-01-02 15:04:05 UTC"), strings.TrimPrefix(fingerprint, "sha256:"),
		manifests.MediaTypeFileZstd, manifests.AnnotationPlainDigest)
}
