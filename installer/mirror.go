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

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
)

// Mirror is a mirror with a verified bundle.
type Mirror struct {
	*agent.RemoteBundle
	// Agent is the mirror's address and CA, for the requests to the hosts.
	Agent agent.Endpoint
}

// MirrorCAError means that the mirror has another CA than cluster.yaml expects. It
// wraps agent.ErrVerify.
type MirrorCAError struct{ URL, Got, Want string }

func (e *MirrorCAError) Error() string {
	return fmt.Sprintf("mirror %s: its CA has the fingerprint %s, mirror.caFingerprint is %s", e.URL, e.Got, e.Want)
}

func (e *MirrorCAError) Unwrap() error { return agent.ErrVerify }

// OpenMirror fetches the mirror's CA, compares it with the fingerprint in
// cluster.yaml, and verifies the bundle with keys (PEM). If root is set, only that
// bundle is accepted. The error is agent.ErrVerify, agent.ErrPolicy or one of the network.
func OpenMirror(ctx context.Context, m manifests.ClusterMirror, keys string, root digest.Digest) (*Mirror, error) {
	out := &Mirror{Agent: agent.Endpoint{URL: m.URL}}
	if m.CAFingerprint != "" {
		ca, err := fetchCA(ctx, m)
		if err != nil {
			return nil, err
		}
		out.Agent.CAPEM = string(ca)
	}
	var err error
	out.RemoteBundle, err = agent.OpenRemote(ctx, agent.Bundle{PublicKeys: keys, Root: root}, out.Agent)
	return out, err
}

// fetchCA fetches the CA over a connection that is not verified, which is why it
// compares the fingerprint.
func fetchCA(ctx context.Context, m manifests.ClusterMirror) ([]byte, error) {
	u, err := url.Parse(m.URL)
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
		return nil, fmt.Errorf("mirror: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	got, err := trust.Fingerprint(b)
	if resp.StatusCode != http.StatusOK || err != nil {
		return nil, fmt.Errorf("mirror: %s: %s and no certificate", u, resp.Status)
	}
	if want := strings.ToLower(strings.ReplaceAll(m.CAFingerprint, " ", "")); got != want {
		return nil, &MirrorCAError{m.URL, got, want}
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
