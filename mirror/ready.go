package mirror

import (
	"fmt"
	"net/http"

	"github.com/offk8s/offk8s/mirror/files"
)

// ready answers /readyz: status 200 if the files of all bundles can be read to
// their last blob, else 503.
func (m *Mirror) ready(w http.ResponseWriter, r *http.Request) error {
	if err := m.watch.readable(); err != nil {
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "a bundle cannot be read; see the mirror's log", http.StatusServiceUnavailable)
		return fmt.Errorf("%w: %w", files.ErrStorage, err)
	}
	ok(w, r)
	return nil
}

// ok answers /healthz, which only says that the process answers. Neither asks for a Host:
// HAProxy checks by HTTP/1.0 and sends none.
func ok(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", typeText)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "3")
	if r.Method != http.MethodHead {
		// A failed write means that the client is gone.
		_, _ = w.Write([]byte("ok\n"))
	}
}
