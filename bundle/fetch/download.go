package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/cavaliergopher/grab/v3"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/reader"
)

// maxFileSize is the limit in bytes for a download of unknown size.
const maxFileSize = 8 << 30

// ErrMismatch means that upstream served unexpected content.
var ErrMismatch = errors.New("content is not what was expected")

// MismatchError is an ErrMismatch with the details.
type MismatchError struct {
	What        string // "digest", "size", "name" …
	Found, Want string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s %s from upstream, expected %s", e.What, e.Found, e.Want)
}

// Is matches ErrMismatch.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }

// errRange means that the server did not continue a download at the end of the
// part file.
var errRange = errors.New("server does not continue the download")

// download is the download of one file into a part file.
type download struct {
	client *Client
	http   *http.Client  // nil: that of client
	url    string        // before rewrites
	want   digest.Digest // empty: first use
	size   int64         // bytes, 0 if unknown
	path   string        // of the part file
	task   Task

	target  string // after rewrites; set by run if empty
	noRange bool   // the server does not continue downloads
	hash    hasher
	counted int64  // bytes reported to task
	answer  string // media type of the last answer
}

// run downloads into d.path and returns the digests of the file after checking
// d.want and d.size. If the content is wrong, it is deleted and downloaded once
// more from its first byte, because a proxy may have mixed two versions of the
// file.
func (d *download) run(ctx context.Context) (sums, error) {
	if d.http == nil {
		d.http = d.client.http
	}
	if d.target == "" {
		target, err := d.client.URL(d.url)
		if err != nil {
			return sums{}, err
		}
		d.target = target
	}
	for mismatches := 0; ; {
		var s sums
		err := d.client.retry(ctx, d.url, func() (progressed bool, err error) {
			s, progressed, err = d.attempt(ctx)
			return progressed, err
		})
		if err == nil {
			return s, nil
		}
		switch {
		case errors.Is(err, errRange) && !d.noRange:
			d.noRange = true
		case errors.Is(err, ErrMismatch):
			mismatches++
		default:
			return sums{}, err
		}
		if rmErr := removePart(d.path); rmErr != nil {
			return sums{}, errors.Join(err, rmErr)
		}
		if mismatches == 2 {
			return sums{}, err
		}
		d.client.o.Log.Warn("download again from its start", "url", d.url, "err", err)
	}
}

// attempt sends one request, which continues the part file if there is one.
func (d *download) attempt(ctx context.Context) (s sums, progressed bool, err error) {
	before, err := d.prepare()
	if err != nil {
		return sums{}, false, permanent{err}
	}
	req, err := grab.NewRequest(d.path, d.target)
	if err != nil {
		return sums{}, false, permanent{err}
	}
	req.Size = d.size
	req.NoCreateDirectories = true
	req.IgnoreRemoteTime = true
	req.BufferSize = 256 << 10
	resp := (&grab.Client{HTTPClient: d}).Do(req.WithContext(ctx))
	err = resp.Err()
	after := d.partSize()
	progressed = after > before
	if errors.Is(err, reader.ErrTooSlow) {
		progressed = after-before >= minWindow
	}
	if err != nil {
		return sums{}, progressed, d.explain(err, after)
	}
	s, err = d.hash.sums(d.path)
	if err != nil {
		return sums{}, progressed, permanent{err}
	}
	d.count(s.size - d.counted)
	return s, progressed, d.check(s)
}

// prepare deletes a part file that cannot be continued, and returns the size of
// the part file.
func (d *download) prepare() (int64, error) {
	n := d.partSize()
	// Without a digest nothing would detect two halves of different files.
	if n == 0 || d.want == "" || d.noRange || d.size > 0 && n > d.size {
		if err := removePart(d.path); err != nil {
			return 0, err
		}
		n = 0
	}
	d.hash = hasher{}
	d.count(-d.counted)
	d.task.Total(d.size)
	return n, nil
}

func (d *download) partSize() int64 {
	fi, err := os.Stat(d.path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

func (d *download) count(n int64) {
	d.counted += n
	d.task.Add(n)
}

// explain turns an error of grab into one of this package.
func (d *download) explain(err error, have int64) error {
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, grab.ErrBadLength) && have < d.size:
		return fmt.Errorf("connection ended after %d of %d bytes", have, d.size)
	case errors.Is(err, grab.ErrBadLength):
		return permanent{d.sizeMismatch(have)}
	case errors.As(err, &pathErr): // the local disk
		return permanent{err}
	}
	return err
}

func (d *download) check(s sums) error {
	if d.size > 0 && s.size != d.size {
		return permanent{d.sizeMismatch(s.size)}
	}
	if d.want == "" {
		return nil
	}
	if got := s.of(d.want.Algorithm()); got != d.want {
		found := got.String()
		if d.answer == "text/html" {
			found += " of a web page (text/html)"
		}
		return permanent{&MismatchError{What: "digest", Found: found, Want: d.want.String()}}
	}
	return nil
}

func (d *download) sizeMismatch(found int64) error {
	return &MismatchError{What: "size", Found: fmt.Sprint(found), Want: fmt.Sprint(d.size)}
}

// Do is the HTTP client of grab. It checks that a range continues the part file,
// which grab does not, and hashes the body while it is read.
func (d *download) Do(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodHead {
		return d.head(req), nil
	}
	if from := req.Header.Get("Range"); strings.HasSuffix(from, "-") && d.size > 0 {
		// Some registries do not support open ranges.
		req.Header.Set("Range", from+strconv.FormatInt(d.size-1, 10))
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, err
	}
	if err := d.accept(req, resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// head answers grab's request for size and ranges before a part file is
// continued. No HEAD is sent: a signed address is valid for one method only, and
// many registries continue a blob without announcing it. The answer to GET shows
// whether this server does.
func (d *download) head(req *http.Request) *http.Response {
	size := d.size
	if size <= 0 {
		size = -1
	}
	return &http.Response{
		StatusCode: http.StatusOK, ContentLength: size, Body: http.NoBody,
		Header: http.Header{"Accept-Ranges": {"bytes"}}, Request: req,
	}
}

func (d *download) accept(req *http.Request, resp *http.Response) error {
	start, err := d.start(req, resp)
	if err != nil {
		return err
	}
	d.answer, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	limit := int64(maxFileSize)
	if d.size > 0 {
		limit = d.size
	}
	if resp.ContentLength >= 0 {
		total := start + resp.ContentLength
		if d.size > 0 && total != d.size {
			return permanent{d.sizeMismatch(total)}
		}
		if total > limit {
			return permanent{fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, total, limit)}
		}
		d.task.Total(total)
	}
	if err := d.hash.start(d.path, start, strings.HasPrefix(d.want.String(), "sha512:")); err != nil {
		return permanent{err}
	}
	d.count(start)
	resp.Body = &hashedBody{ReadCloser: resp.Body, d: d, left: limit - start}
	return nil
}

// start returns the offset at which the body of resp begins in the file.
func (d *download) start(req *http.Request, resp *http.Response) (int64, error) {
	asked := req.Header.Get("Range")
	if asked == "" {
		if resp.StatusCode != http.StatusOK {
			return 0, statusError(d.target, resp)
		}
		return 0, nil
	}
	if have := d.partSize(); resp.StatusCode == http.StatusRequestedRangeNotSatisfiable &&
		resp.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", have) {
		// The part file is the whole file: an answer without content.
		resp.StatusCode, resp.ContentLength = http.StatusPartialContent, 0
		resp.Body = &emptyBody{resp.Body}
		return have, nil
	}
	if resp.StatusCode >= 400 && resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		return 0, statusError(d.target, resp)
	}
	have := d.partSize()
	var first int64 = -1
	if spec, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes "); ok {
		from, _, _ := strings.Cut(spec, "-")
		if n, err := strconv.ParseInt(from, 10, 64); err == nil {
			first = n
		}
	}
	if resp.StatusCode != http.StatusPartialContent || first != have {
		return 0, permanent{fmt.Errorf("%w: asked for %s, got status %d and content range %q",
			errRange, asked, resp.StatusCode, resp.Header.Get("Content-Range"))}
	}
	return have, nil
}

// emptyBody is a body whose content is of no interest.
type emptyBody struct{ io.Closer }

func (*emptyBody) Read([]byte) (int, error) { return 0, io.EOF }

// hashedBody hashes and counts a body while grab reads it, and cuts it off when
// it is longer than it may be.
type hashedBody struct {
	io.ReadCloser
	d    *download
	left int64
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if int64(n) > b.left {
		return 0, permanent{fmt.Errorf("%w: body does not end where it should", ErrMismatch)}
	}
	b.left -= int64(n)
	b.d.hash.write(p[:n])
	b.d.count(int64(n))
	return n, err
}
