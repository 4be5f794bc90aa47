package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/offk8s/offk8s/manifests/strict"
)

// line is a line of the input, or the error that ends it.
type line struct {
	text []byte
	err  error
}

// listen reads lines from in, without the empty ones. When in ends or is silent, it calls
// gone with the reason. It reads one line ahead at most.
func listen(ctx context.Context, in io.Reader, gone context.CancelCauseFunc) <-chan line {
	silent := time.AfterFunc(Silence, func() {
		gone(fmt.Errorf("no sign of life from the operator for %s", Silence))
	})
	br := bufio.NewReaderSize(&heard{in, silent}, 64<<10)
	lines := make(chan line)
	go func() {
		defer silent.Stop()
		for {
			text, err := readLine(br, maxRequest)
			if errors.Is(err, io.EOF) {
				gone(errors.New("the operator went away"))
				return
			}
			if err == nil && len(bytes.TrimSpace(text)) == 0 {
				continue
			}
			select {
			case lines <- line{text, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				gone(err)
				return
			}
		}
	}()
	return lines
}

// heard restarts a timer when data arrives.
type heard struct {
	io.Reader
	silent *time.Timer
}

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	h.silent.Reset(Silence)
	return n, err
}

// readLine returns a line of at most limit bytes; the last line may lack its newline.
func readLine(br *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if line = append(line, part...); len(line) > limit {
			return nil, fmt.Errorf("more than %d bytes", limit)
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// parseRequest decodes a line.
func parseRequest(line []byte) (Request, error) {
	var req Request
	// The version first: another version may have fields that are unknown here.
	var v struct {
		Protocol string `json:"protocol"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return req, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if v.Protocol != Protocol {
		return req, fmt.Errorf("%w: protocol %q, this agent speaks %q", ErrRequest, v.Protocol, Protocol)
	}
	if err := strict.DecodeJSON(line, &req); err != nil {
		return req, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return req, nil
}
