package oci

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Error codes of distribution-spec v1.1, "Error codes".
const (
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeNameInvalid     = "NAME_INVALID"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeUnauthorized    = "UNAUTHORIZED"
	codeUnsupported     = "UNSUPPORTED"
	codePagination      = "PAGINATION_NUMBER_INVALID" // of distribution; the specification has none for it
)

// ErrConflict means that bundles cannot be served together: one name leads to different
// content.
var ErrConflict = errors.New("in two bundles with different content")

// apiError is an error that the client receives as JSON.
type apiError struct {
	status  int
	code    string
	message string
	detail  any
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func (e *apiError) write(w http.ResponseWriter, head bool) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	body, err := json.Marshal(struct {
		Errors []item `json:"errors"`
	}{[]item{{e.code, e.message, e.detail}}})
	if err != nil { // the detail cannot be encoded
		body = []byte(`{"errors":[{"code":"` + e.code + `","message":"no details"}]}`)
	}
	writeJSON(w, head, e.status, "application/json", body)
}

func writeJSON(w http.ResponseWriter, head bool, status int, mediaType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if !head {
		// A failed write means that the client is gone.
		_, _ = w.Write(body)
	}
}

// Unsupported answers a request that is not GET or HEAD with status 405.
func Unsupported(w http.ResponseWriter) {
	w.Header().Set("Allow", "GET, HEAD")
	e := apiError{status: http.StatusMethodNotAllowed, code: codeUnsupported, message: "the mirror is read-only: only GET and HEAD are answered"}
	e.write(w, false)
}

// Unauthorized answers a request without a right password with status 401. The caller
// sets WWW-Authenticate.
func Unauthorized(w http.ResponseWriter, head bool) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	e := apiError{status: http.StatusUnauthorized, code: codeUnauthorized, message: "this mirror wants a user and a password"}
	e.write(w, head)
}
