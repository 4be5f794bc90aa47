package bundle

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdWindow is the largest window a stored blob may ask for: what RFC 9659
// lets every HTTP client of the mirror rely on.
const zstdWindow = 8 << 20

// NewZstdWriter returns an encoder with the fixed settings that make stored
// blobs the same on every machine: one level, one goroutine, one window.
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

// NewZstdReader returns a decoder of a stored blob that refuses windows over
// 8 MiB, decodes on the caller's goroutine and so needs a bounded amount of
// memory. The caller bounds the decoded size and closes the decoder.
func NewZstdReader(r io.Reader) (*zstd.Decoder, error) {
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
