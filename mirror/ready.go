package mirror

import (
	"fmt"
	"net/http"

	"github.com/offk8s/offk8s/mirror/files"
)

// ready answers /readyz: status 200 if the files of all bundles can be read to
// their last blob, else 503. /healthz only says that the process answers.
func (m *Mirror) ready(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if err := m.watch.readable(); err != nil {
		http.Error(w, "a bundle cannot be read; see the mirror's log", http.StatusServiceUnavailable)
		return fmt.Errorf("%w: %w", files.ErrStorage, err)
	}
	h.Set("Content-Type", typeText)
	// A failed write means that the client is gone.
	_, _ = w.Write([]byte("ok\n"))
	return nil
}
