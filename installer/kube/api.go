package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/offk8s/offk8s/bundle/reader"
)

const (
	// maxAnswer is the limit on an answer in bytes. A list of 5,000 nodes has about 80 MB.
	maxAnswer = 256 << 20
	// readTimeout is the time limit for an answer.
	readTimeout = time.Minute
)

// api is a connection to the API server, on which a request takes milliseconds; the start of
// kubectl takes 0.2 s. Apart from Rewrite, it only reads.
type api struct {
	server string // URL
	token  string // "" if the connection has a client certificate
	tr     http.RoundTripper
	close  func()
}

// connect prepares a connection with the credential of the client. It trusts only the
// authority in the kubeconfig.
func (c Client) connect() (*api, error) {
	if c.Transport != nil {
		return &api{"https://api", "", c.Transport, func() {}}, nil
	}
	read := c.ReadFile
	if read == nil {
		read = os.ReadFile
	}
	b, err := read(c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	server, conf, token, err := ParseKubeconfig(b)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", c.Kubeconfig, err)
	}
	// No Proxy: the API is in the cluster's network.
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	return &api{server, token, tr, tr.CloseIdleConnections}, nil
}

// apiPath returns the path of an object, or of a list of objects if name is empty.
// groupVersion is as in a manifest: "v1", "apps/v1".
func apiPath(groupVersion, namespace, resource, name string) string {
	root := "/apis/"
	if !strings.Contains(groupVersion, "/") {
		root = "/api/"
	}
	p := root + groupVersion
	if namespace != "" {
		p += "/namespaces/" + url.PathEscape(namespace)
	}
	if resource != "" {
		p += "/" + url.PathEscape(resource)
	}
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}

// selected returns path with a label selector, "app=web".
func selected(path, labels string) string {
	return path + "?" + url.Values{"labelSelector": {labels}}.Encode()
}

// statusError is an answer of the API server that is not 200.
type statusError struct {
	method  string
	path    string
	code    int
	message string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %s: %s", e.method, e.path, cmp.Or(e.message, http.StatusText(e.code)))
}

// notFound reports whether the API server has no such object, or no such API.
func notFound(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && s.code == http.StatusNotFound
}

// body returns the answer to a GET of a path.
func (a *api) body(ctx context.Context, path string) ([]byte, error) {
	return a.do(ctx, http.MethodGet, path, nil)
}

// do returns the answer to a request. content, which may be nil, is JSON.
func (a *api) do(ctx context.Context, method, path string, content io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := a.tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	b, err := io.ReadAll(reader.Limit(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return b, nil
	}
	var status struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(b, &status) // other answers have no message
	return nil, &statusError{method, path, resp.StatusCode, status.Message}
}

// get decodes an object or a list.
func (a *api) get(ctx context.Context, into any, path string) error {
	b, err := a.body(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// get is api.get on a connection for this call.
func (c Client) get(ctx context.Context, into any, path string) error {
	a, err := c.connect()
	if err != nil {
		return err
	}
	defer a.close()
	return a.get(ctx, into, path)
}
