package bundle

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdWindow is the largest window of a stored blob in bytes, the size that
// every HTTP client must support (RFC 9659).
const zstdWindow = 8 << 20

// NewZstdWriter returns an encoder with fixed settings (one level, goroutine and
// window size), so that stored blobs are the same on every machine.
func NewZstdWriter(w io.Writer) (*zstd.Encoder, error) {
	e, err := zstd.NewWriter(w,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, fmt.Errorf("zstd writer: %w", err)
	}
	return e, nil
}

// newZstdReader returns a decoder for a stored blob. It refuses windows over 8
// MiB and decodes on the caller's goroutine, which bounds its memory. The caller
// limits the decoded size and closes the decoder.
func newZstdReader(r io.Reader) (*zstd.Decoder, error) {
	d, err := zstd.NewReader(r,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindow),
		zstd.WithDecoderMaxMemory(4*zstdWindow))
	if err != nil {
		return nil, fmt.Errorf("zstd reader: %w", err)
	}
	return d, nil
}
