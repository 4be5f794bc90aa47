package bundle

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/tarfile"
	"github.com/offk8s/offk8s/manifests"
)

// verifyWritten verifies the bundle that was written, and that it is the one with this
// root. It reads every byte once and hashes it for the digest of its part and for that of
// its blob at the same time.
func (o *output) verifyWritten(ctx context.Context, root digest.Digest) (err error) {
	f, err := tarfile.OpenParts(ctx, o.files)
	if err != nil {
		return tarFailure(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := open(f, f.Index, OpenOptions{root: root})
	if errors.Is(err, ErrOtherBase) {
		return verifyFailure(fmt.Errorf("index.json is not what was written, with the digest %s", root))
	}
	if err != nil {
		return err
	}
	sums := newBlobSums(b)
	at := int64(0)
	for i, name := range o.files {
		if o.parts[i], err = sums.part(ctx, name, at); err != nil {
			break
		}
		at += o.parts[i].Size
	}
	return errors.Join(err, sums.end())
}

// readAhead is how many bytes the kernel is asked to read before they are needed.
const readAhead = 8 << 20

// blobSums compares the blobs of a bundle with their digests, in the order of the tar and
// on a goroutine of its own, while the bytes pass.
type blobSums struct {
	b      *Bundle
	left   []placed // not passed yet; the first may have begun
	pieces chan blobPiece
	done   chan struct{}
	bad    []error
}

// placed is a blob and where it is in the tar.
type placed struct {
	digest digest.Digest
	tarfile.Member
}

// blobPiece is the next piece of a blob.
type blobPiece struct {
	piece
	digest digest.Digest
	last   bool
}

func newBlobSums(b *Bundle) *blobSums {
	s := &blobSums{b: b, pieces: make(chan blobPiece, 2), done: make(chan struct{})}
	for _, d := range b.Blobs() {
		if m, ok := b.index.Lookup(blobName(d)); ok { // a delta leaves some out
			s.left = append(s.left, placed{d, m})
		}
	}
	go s.run()
	return s
}

func (s *blobSums) run() {
	defer close(s.done)
	var sum hash.Hash
	for p := range s.pieces {
		if sum == nil {
			sum = p.digest.Algorithm().Hash()
		}
		sum.Write(p.b)
		p.of.release()
		if !p.last {
			continue
		}
		if got := digest.NewDigest(p.digest.Algorithm(), sum); got != p.digest {
			err := fmt.Errorf("member %q: content has digest %s", blobName(p.digest), got)
			s.bad = append(s.bad, badArtifact("verify", s.b.labels[p.digest], err))
		}
		sum = nil
	}
}

// part reads the file name, whose first byte is at in the tar, and returns its entry.
func (s *blobSums) part(ctx context.Context, name string, at int64) (partEntry, error) {
	f, info, err := reader.OpenFile(name)
	if err != nil {
		return partEntry{}, err
	}
	defer f.Close()
	sum := newPartSum()
	for off := int64(0); off < info.Size() && err == nil; {
		if off%readAhead == 0 {
			// Best effort: the device is to be busy while the last bytes are hashed.
			_ = unix.Fadvise(int(f.Fd()), off, 2*readAhead, unix.FADV_WILLNEED)
		}
		b := newBlock()
		p := b.b[:min(info.Size()-off, hashBuffer)]
		if _, err = io.ReadFull(reader.Context(ctx, f), p); err == nil {
			sum.add(b, p)
			s.add(b, p, at+off)
		}
		b.release()
		off += int64(len(p))
	}
	return sum.entry(), err
}

// add takes p, which is a part of a block, and at its offset in the tar.
func (s *blobSums) add(of *block, p []byte, at int64) {
	for len(s.left) > 0 {
		m := s.left[0]
		from, to := max(m.Offset-at, 0), min(m.Offset+m.Size-at, int64(len(p)))
		if from > to {
			return
		}
		last := m.Offset+m.Size-at <= int64(len(p))
		of.users.Add(1)
		s.pieces <- blobPiece{piece{of, p[from:to]}, m.digest, last}
		if !last {
			return
		}
		s.left = s.left[1:]
	}
}

// end returns the bad blobs, sorted.
func (s *blobSums) end() error {
	close(s.pieces)
	<-s.done
	manifests.SortErrors(s.bad)
	return errors.Join(s.bad...)
}
