//go:build depsonly

// Package deps holds the dependencies until the code that uses them is there.
package deps

import (
	_ "github.com/ProtonMail/go-crypto/openpgp/v2"
	_ "github.com/cavaliergopher/grab/v3"
	_ "github.com/cloudflare/cfssl/csr"
	_ "github.com/cloudflare/cfssl/initca"
	_ "github.com/cloudflare/cfssl/signer/local"
	_ "github.com/goccy/go-yaml"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/google/go-containerregistry/pkg/registry"
	_ "github.com/google/go-containerregistry/pkg/v1/layout"
	_ "github.com/google/go-containerregistry/pkg/v1/mutate"
	_ "github.com/google/go-containerregistry/pkg/v1/random"
	_ "github.com/google/go-containerregistry/pkg/v1/remote"
	_ "github.com/google/go-containerregistry/pkg/v1/tarball"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/mholt/archiver/v4"
	_ "github.com/opencontainers/go-digest"
	_ "github.com/opencontainers/image-spec/specs-go/v1"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/sassoftware/go-rpmutils"
	_ "github.com/secure-systems-lab/go-securesystemslib/encrypted"
	_ "github.com/spf13/cobra"
	_ "github.com/ulikunitz/xz"
	_ "github.com/vbauerster/mpb/v8"
	_ "golang.org/x/crypto/ssh/agent"
	_ "golang.org/x/crypto/ssh/knownhosts"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "pault.ag/go/debian/dependency"
	_ "pault.ag/go/debian/version"
	_ "pgregory.net/rapid"
)
