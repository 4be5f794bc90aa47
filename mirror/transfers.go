package mirror

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// transfers are the requests that are being answered.
type transfers struct {
	mu  sync.Mutex
	all map[*responseWriter]transfer
}

// transfer is a request that is being answered.
type transfer struct {
	Client     string // its address
	Path       string
	Began      time.Time
	Sent, Size int64 // bytes of the body; Size is 0 while it is not known
}

// enter adds a request until leave.
func (t *transfers) enter(w *responseWriter, remote, path string, began time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[*responseWriter]transfer{}
	}
	t.all[w] = transfer{Client: remote, Path: path, Began: began}
}

func (t *transfers) leave(w *responseWriter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, w)
}

// list returns the requests below the paths of artifacts, the oldest first.
func (t *transfers) list() []transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []transfer
	for w, x := range t.all {
		if classOf(x.Path) == classOther {
			continue // pages, this one too
		}
		x.Sent, x.Size = w.bytes.Load(), w.length.Load()
		if host, _, err := net.SplitHostPort(x.Client); err == nil {
			x.Client = host
		}
		x.Client, x.Path = runName(x.Client), bounded(x.Path, maxPath)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b transfer) int {
		return cmp.Or(a.Began.Compare(b.Began), strings.Compare(a.Client, b.Client), strings.Compare(a.Path, b.Path))
	})
	return out
}
