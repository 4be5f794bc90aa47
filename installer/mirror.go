package installer

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// Mirror is a mirror with a verified bundle, or several with the same.
type Mirror struct {
	*agent.RemoteBundle
	// Agent has the addresses of the mirrors and their CA, for the requests to the hosts.
	Agent agent.Endpoint
	// Away are the reasons why some of the mirrors, but not all, do not answer.
	Away []error
}

// MirrorCAError means that the mirror has another CA than cluster.yaml expects. It
// wraps agent.ErrVerify.
type MirrorCAError struct{ URL, Got, Want string }

func (e *MirrorCAError) Error() string {
	return fmt.Sprintf("mirror %s: its CA has the fingerprint %s, mirror.caFingerprint is %s", e.URL, e.Got, e.Want)
}

func (e *MirrorCAError) Unwrap() error { return agent.ErrVerify }

// ErrMirrorsDiffer means that several mirrors do not serve the same bundle.
var ErrMirrorsDiffer = fmt.Errorf("%w: the mirrors serve different bundles", agent.ErrPolicy)

// OpenMirror fetches the CA of each mirror, compares it with the fingerprint in
// cluster.yaml, and verifies the bundle as agent.OpenRemote does. One mirror that answers is
// enough. The error is agent.ErrVerify, agent.ErrPolicy or one of the network.
func OpenMirror(ctx context.Context, m manifests.ClusterMirror, b agent.Bundle) (*Mirror, error) {
	urls := m.Addresses()
	opened, errs := make([]*Mirror, len(urls)), make([]error, len(urls))
	var g errgroup.Group
	for i, u := range urls {
		g.Go(func() error {
			opened[i], errs[i] = openOne(ctx, u, m.CAFingerprint, b)
			return nil
		})
	}
	_ = g.Wait() // its functions return no error
	var out *Mirror
	var away []error
	for i, err := range errs {
		switch {
		case errors.Is(err, agent.ErrVerify), errors.Is(err, agent.ErrPolicy), errors.Is(err, agent.ErrRequest), errors.Is(err, agent.ErrAccess), err != nil && ctx.Err() != nil:
			return nil, err
		case err != nil:
			away = append(away, fmt.Errorf("%s: %w", urls[i], err))
		case out == nil:
			out = opened[i]
		case out.Root != opened[i].Root:
			return nil, fmt.Errorf("%w: %s has %s, %s has %s", ErrMirrorsDiffer, out.Agent.URLs[0], short(out.Root), urls[i], short(opened[i].Root))
		}
	}
	switch {
	case out == nil && len(errs) == 1:
		return nil, errs[0]
	case out == nil:
		return nil, fmt.Errorf("none of the mirrors answers: %w", errors.Join(away...))
	}
	out.Agent.URLs, out.Away = urls, away
	return out, out.Use(out.Agent)
}

// openOne verifies the bundle of one mirror.
func openOne(ctx context.Context, u, fingerprint string, b agent.Bundle) (*Mirror, error) {
	out := &Mirror{Agent: agent.Endpoint{URLs: []string{u}}}
	if fingerprint != "" {
		ca, err := fetchCA(ctx, u, fingerprint)
		if err != nil {
			return nil, err
		}
		out.Agent.CAPEM = string(ca)
	}
	var err error
	out.RemoteBundle, err = agent.OpenRemote(ctx, b, out.Agent)
	return out, err
}

// fetchCA fetches the CA over a connection that is not verified, which is why it
// compares the fingerprint.
func fetchCA(ctx context.Context, mirror, fingerprint string) ([]byte, error) {
	u, err := url.Parse(mirror)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/ca.crt"
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", agent.ExplainTLS(err))
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	got, err := trust.Fingerprint(b)
	if resp.StatusCode != http.StatusOK || err != nil {
		return nil, fmt.Errorf("mirror: %s: %s and no certificate", u, resp.Status)
	}
	if want := strings.ToLower(strings.ReplaceAll(fingerprint, " ", "")); got != want {
		return nil, &MirrorCAError{mirror, got, want}
	}
	// Only the certificate that was compared, whatever else the answer held.
	block, _ := pem.Decode(b)
	return pem.EncodeToMemory(block), nil
}

// Complete checks that the mirror serves everything that the plan needs, so that an
// omission shows before any host is changed. The error lists the missing artifacts.
func (m *Mirror) Complete(ctx context.Context, in stage.Input) error {
	paths, err := stage.Paths(in)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var missing []string
	var g errgroup.Group
	g.SetLimit(agent.MirrorConnections)
	for _, p := range paths {
		g.Go(func() error {
			if err := m.Has(ctx, p); err != nil {
				mu.Lock()
				defer mu.Unlock()
				missing = append(missing, err.Error())
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no error
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("the mirror lacks %d of %d artifacts:\n  %s", len(missing), len(paths), strings.Join(missing, "\n  "))
}
