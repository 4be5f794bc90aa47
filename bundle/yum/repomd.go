package yum

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/metadata"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/trust"
)

// repomd is the root of a repository's metadata.
type repomd struct {
	Data []repomdData `xml:"data"`
}

type repomdData struct {
	Type     string      `xml:"type,attr"`
	Checksum xmlChecksum `xml:"checksum"`
	Open     xmlChecksum `xml:"open-checksum"`
	Location struct {
		Href string `xml:"href,attr"`
		Base string `xml:"base,attr"`
	} `xml:"location"`
	// Sizes are text, since an entry that nobody reads may have any.
	Size     string `xml:"size"`
	OpenSize string `xml:"open-size"`
}

type xmlChecksum struct {
	Type  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

// digest returns the checksum as a digest; only SHA-256 and SHA-512 are taken.
func (c xmlChecksum) digest() (digest.Digest, error) {
	var algorithm digest.Algorithm
	switch c.Type {
	case "sha256":
		algorithm = digest.SHA256
	case "sha512":
		algorithm = digest.SHA512
	default:
		return "", fmt.Errorf("checksum type %.40q, want sha256 or sha512", c.Type)
	}
	d := digest.NewDigestFromEncoded(algorithm, strings.ToLower(strings.TrimSpace(c.Value)))
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("checksum %.200q: %w", c.Value, err)
	}
	return d, nil
}

// readRepomd fetches repomd.xml and checks its signature. If signed is set, the
// signature is required; if not, it is checked if it exists and keys are known.
func readRepomd(ctx context.Context, g metadata.Getter, base string, keyring *trust.Keyring, signed bool) (*repomd, error) {
	at := base + "/repodata/repomd.xml"
	raw, err := metadata.Get(ctx, g, at, maxRepomd)
	if err != nil {
		return nil, err
	}
	if signed || !keyring.Empty() {
		if err := checkRepomd(ctx, g, at+".asc", raw, keyring, signed); err != nil {
			return nil, err
		}
	}
	var m repomd
	d := newDecoder(bytes.NewReader(raw))
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("parse %q: %w", at, reader.Whole(err))
	}
	return &m, nil
}

func checkRepomd(ctx context.Context, g metadata.Getter, at string, raw []byte, keyring *trust.Keyring, signed bool) error {
	sig, err := metadata.Get(ctx, g, at, maxRepomd)
	if errors.Is(err, fs.ErrNotExist) {
		if !signed {
			return nil
		}
		return fmt.Errorf("repomd.xml must be signed: %w: %w", trust.ErrUnsigned, err)
	}
	if err != nil {
		return err
	}
	_, err = trust.VerifyDetached(keyring, bytes.NewReader(raw), sig)
	if err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	return nil
}

// Types of metadata files.
const (
	kindPrimary   = "primary"
	kindFilelists = "filelists"
	kindModules   = "modules"
)

// has reports whether the repository has a metadata file of one type.
func (m *repomd) has(kind string) bool {
	return slices.ContainsFunc(m.Data, func(d repomdData) bool { return d.Type == kind })
}

// find returns the entry of one type; two of a type are refused.
func (m *repomd) find(kind string) (*repomdData, error) {
	var found *repomdData
	for i := range m.Data {
		if m.Data[i].Type != kind {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("repomd.xml: %q twice", kind)
		}
		found = &m.Data[i]
	}
	if found == nil {
		return nil, fmt.Errorf("repomd.xml: no %q", kind)
	}
	return found, nil
}

// open fetches the file that d names, checks size and digest of the compressed
// file, and returns its decompressed content. After reading it, the caller
// calls finish, which checks size and digest of the content.
func (d *repomdData) open(ctx context.Context, g metadata.Getter, base string) (r io.ReadCloser, finish func() error, err error) {
	want, err := d.Checksum.digest()
	if err != nil {
		return nil, nil, fmt.Errorf("repomd.xml: %s: %w", d.Type, err)
	}
	if d.Location.Base != "" {
		return nil, nil, fmt.Errorf("repomd.xml: %s: xml:base %q, refused", d.Type, d.Location.Base)
	}
	at, err := metadata.Resolve(base, d.Location.Href)
	if err != nil {
		return nil, nil, fmt.Errorf("repomd.xml: %s: %w", d.Type, err)
	}
	limit, err := limitOf(d.Size, metadata.MaxCompressed)
	if err != nil {
		return nil, nil, fmt.Errorf("repomd.xml: %s: %w", d.Type, err)
	}
	raw, err := metadata.Get(ctx, g, at, limit)
	if err != nil {
		return nil, nil, err
	}
	if got := want.Algorithm().FromBytes(raw); got != want {
		return nil, nil, fmt.Errorf("%q: digest %s, repomd.xml says %s", at, got, want)
	}
	content, err := metadata.Decompress(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("%q: %w", at, err)
	}
	open, err := limitOf(d.OpenSize, metadata.MaxOpen)
	if err != nil {
		return nil, nil, fmt.Errorf("repomd.xml: %s: %w", d.Type, err)
	}
	hash := crypto.SHA256.New()
	body := io.TeeReader(reader.Limit(content, open), hash)
	finish = func() error {
		if _, err := io.Copy(io.Discard, body); err != nil {
			return fmt.Errorf("%q: %w", at, err)
		}
		got := hex.EncodeToString(hash.Sum(nil))
		if d.Open.Type == "sha256" && got != strings.ToLower(strings.TrimSpace(d.Open.Value)) {
			return fmt.Errorf("%q: decompressed digest %s, repomd.xml says %s", at, got, d.Open.Value)
		}
		return nil
	}
	return readCloser{body, content}, finish, nil
}

// limitOf returns the stated size if there is one, and at most limit.
func limitOf(stated string, limit int64) (int64, error) {
	stated = strings.TrimSpace(stated)
	if stated == "" {
		return limit, nil
	}
	n, err := strconv.ParseInt(stated, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("size %q", stated)
	}
	if n == 0 {
		return limit, nil
	}
	return min(n, limit), nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// decodeElement is xml.Decoder.DecodeElement, except that it reports an early
// end as io.ErrUnexpectedEOF.
func decodeElement(d *decoder, v any, start *xml.StartElement) error {
	if err := d.DecodeElement(v, start); err != nil {
		return reader.Whole(err)
	}
	return nil
}
