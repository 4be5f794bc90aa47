package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/mail"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// maxRelease is the largest size of a Release file, far above Debian's.
const maxRelease = 32 << 20

// ErrExpired means that a Release file is past its Valid-Until.
var ErrExpired = errors.New("suite has expired")

// SuiteOptions are the options of ReadSuite.
type SuiteOptions struct {
	Now              time.Time // compared with Valid-Until; if zero, the current time
	IgnoreValidUntil bool      // accept a Release past its Valid-Until, as of an archived distribution
}

// Suite is a suite with the packages of one architecture.
type Suite struct {
	Name     string
	Signer   string // fingerprint of the key that signed InRelease
	Packages []Package

	budget metadata.Budget
}

// release is a verified Release file.
type release struct {
	*stanza
	base string // URL of the suite's directory
	// files are the lines of SHA256 by file name, which are checked when a file is
	// wanted. The value of a file with two different lines is ambiguous.
	files map[string]indexLine
}

type indexLine struct{ digest, size string }

var ambiguous = indexLine{}

type indexFile struct {
	digest digest.Digest
	size   int64
}

// file returns digest and size of a file, and whether the release file has it.
func (r *release) file(name string) (indexFile, bool, error) {
	line, ok := r.files[name]
	if !ok {
		return indexFile{}, false, nil
	}
	if line == ambiguous {
		return indexFile{}, true, fmt.Errorf("release file: %q twice, with different digests", name)
	}
	f := indexFile{digest: digest.NewDigestFromEncoded(digest.SHA256, line.digest)}
	err := f.digest.Validate()
	if err == nil {
		f.size, err = strconv.ParseInt(line.size, 10, 64)
	}
	if err != nil || f.size < 0 {
		return indexFile{}, true, fmt.Errorf("release file: %q: SHA256 %.200q, size %.40q", name, line.digest, line.size)
	}
	return f, true, nil
}

// ReadSuite reads source's suite below archiveURL for arch ("amd64", "arm64"):
// the signature of InRelease (or of Release and Release.gpg) by a key of
// keyring, its suite and Valid-Until, then every component's Packages by size
// and SHA-256. errors.Is an error with ErrExpired or trust's sentinels, and with
// metadata.ErrAltered if the suite cannot be trusted. A fault of a single package
// is no error: see Package.Unusable.
func ReadSuite(ctx context.Context, g metadata.Getter, archiveURL string, source catalog.AptSource, arch string, keyring *trust.Keyring, o SuiteOptions) (*Suite, error) {
	archiveURL = strings.TrimRight(archiveURL, "/")
	s := &Suite{Name: source.Suite}
	if err := s.read(ctx, g, archiveURL, source, arch, keyring, o); err != nil {
		return nil, metadata.Classify(fmt.Errorf("apt suite %q of %q: %w", source.Suite, archiveURL, err))
	}
	return s, nil
}

func (s *Suite) read(ctx context.Context, g metadata.Getter, archiveURL string, source catalog.AptSource, arch string, keyring *trust.Keyring, o SuiteOptions) error {
	if err := metadata.CheckPath(source.Suite); err != nil {
		return err
	}
	base := archiveURL + "/dists/" + source.Suite
	body, signer, err := getRelease(ctx, g, base, keyring)
	if err != nil {
		return err
	}
	s.Signer = signer
	r, err := parseRelease(body, base)
	if err != nil {
		return fmt.Errorf("release file: %w", err)
	}
	if err := r.check(source.Suite, o); err != nil {
		return err
	}
	for _, component := range source.Components {
		index := component + "/binary-" + arch + "/Packages"
		err := r.open(ctx, g, index, func(content io.Reader) error {
			return s.readPackages(content, archiveURL, arch)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", index, err)
		}
	}
	return nil
}

// getRelease returns the verified text of InRelease, or of Release where the
// archive has no InRelease.
func getRelease(ctx context.Context, g metadata.Getter, base string, keyring *trust.Keyring) ([]byte, string, error) {
	in, err := metadata.Get(ctx, g, base+"/InRelease", maxRelease)
	if err == nil {
		return trust.VerifyClearsigned(keyring, in)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	body, err := metadata.Get(ctx, g, base+"/Release", maxRelease)
	if err != nil {
		return nil, "", err
	}
	sig, err := metadata.Get(ctx, g, base+"/Release.gpg", maxRelease)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", trust.ErrUnsigned, err)
	}
	if err != nil {
		return nil, "", err
	}
	signer, err := trust.VerifyDetached(keyring, bytes.NewReader(body), sig)
	return body, signer, err
}

func parseRelease(body []byte, base string) (*release, error) {
	s, err := oneStanza(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r := &release{stanza: s, base: base, files: map[string]indexLine{}}
	for line := range strings.Lines(s.get("SHA256")) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("SHA256 line %.200q", line)
		}
		now := indexLine{f[0], f[1]}
		if before, twice := r.files[f[2]]; twice && before != now {
			now = ambiguous
		}
		r.files[f[2]] = now
	}
	if len(r.files) == 0 {
		return nil, errors.New("no SHA256 digests")
	}
	return r, nil
}

// check refuses another suite's release file and one that is too old.
func (r *release) check(suite string, o SuiteOptions) error {
	if r.get("Suite") != suite && r.get("Codename") != suite {
		return fmt.Errorf("release file is of suite %q, codename %q: %w", r.get("Suite"), r.get("Codename"), trust.ErrBadSignature)
	}
	until := r.get("Valid-Until")
	if until == "" || o.IgnoreValidUntil {
		return nil
	}
	end, err := mail.ParseDate(until)
	if err != nil {
		return fmt.Errorf("valid-until %q: %w", until, err)
	}
	now := o.Now
	if now.IsZero() {
		now = time.Now()
	}
	if now.After(end) {
		return fmt.Errorf("%w: valid until %s, now %s", ErrExpired, end.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// open fetches an index in one of its compressions, checks digest and size, and
// passes its content to read. The digest of the content is checked too.
func (r *release) open(ctx context.Context, g metadata.Getter, index string, read func(io.Reader) error) error {
	for _, suffix := range []string{".xz", ".gz", ".zst", ""} {
		f, ok, err := r.file(index + suffix)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		raw, err := r.fetch(ctx, g, index+suffix, f)
		if err != nil {
			return err
		}
		content, err := metadata.Decompress(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		defer content.Close()
		plain, known, err := r.file(index)
		if err != nil {
			return err
		}
		verifier := digest.SHA256.Digester()
		limit := int64(metadata.MaxOpen)
		if known {
			limit = plain.size
		}
		body := io.TeeReader(reader.Limit(content, limit), verifier.Hash())
		if err := read(body); err != nil {
			return err
		}
		if got := verifier.Digest(); known && got != plain.digest {
			return fmt.Errorf("decompressed digest %s, release file says %s", got, plain.digest)
		}
		return nil
	}
	return errors.New("not in the release file: no such component or architecture")
}

// fetch fetches one index by its digest where the archive offers that, since
// such a name never changes while the archive is being updated.
func (r *release) fetch(ctx context.Context, g metadata.Getter, name string, f indexFile) ([]byte, error) {
	if f.size > metadata.MaxCompressed {
		return nil, fmt.Errorf("%d bytes, limit %d", f.size, metadata.MaxCompressed)
	}
	at := r.base + "/" + name
	byHash := at[:strings.LastIndexByte(at, '/')] + "/by-hash/SHA256/" + f.digest.Encoded()
	raw, err := []byte(nil), error(fs.ErrNotExist)
	if r.get("Acquire-By-Hash") == "yes" {
		raw, err = metadata.Get(ctx, g, byHash, f.size)
	}
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = metadata.Get(ctx, g, at, f.size)
	}
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != f.digest {
		return nil, fmt.Errorf("digest %s, release file says %s", got, f.digest)
	}
	return raw, nil
}

func (s *Suite) readPackages(content io.Reader, archiveURL, arch string) error {
	return eachStanza(content, func(st *stanza) error {
		if err := s.budget.Package(); err != nil {
			return err
		}
		if a := st.get("Architecture"); a != arch && a != "all" {
			return nil
		}
		p := newPackage(st, archiveURL, s.Name)
		s.Packages = append(s.Packages, p)
		return s.budget.Keep(p.memory())
	})
}
