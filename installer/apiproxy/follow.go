package apiproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/manifests/strict"
)

const (
	maxServers = 64
	maxAnswer  = 1 << 20 // bytes
	// endpointsPath lists, because system:node-proxier may not get. Every minor keeps these
	// endpoints; their slices are missing before 1.17. Version 0 reads the server's cache.
	endpointsPath = "/api/v1/namespaces/default/endpoints?fieldSelector=metadata.name%3Dkubernetes&resourceVersion=0"
)

// watch checks a server until ctx ends.
func (p *Proxy) watch(ctx context.Context, s *server) {
	for {
		started := time.Now()
		err := p.checkReady(ctx, s.addr)
		if err != nil {
			err = p.checkReady(ctx, s.addr)
		}
		if ctx.Err() != nil {
			return
		}
		p.pool.mark(s, started, err)
		if !pause(ctx, p.timing.check) {
			return
		}
	}
}

// checkReady asks a server whether it is ready.
func (p *Proxy) checkReady(ctx context.Context, addr string) error {
	_, err := p.get(ctx, addr, "/readyz", p.timing.answer)
	return err
}

// get returns the answer of a server.
func (p *Proxy) get(ctx context.Context, addr, path string, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(reader.Limit(res.Body, maxAnswer))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	return b, err
}

// follow adds and removes servers as the API names them, until ctx ends.
func (p *Proxy) follow(ctx context.Context, watch func(context.Context, *server)) {
	var last []string
	failed := false // and logged
	for {
		wait := p.timing.follow
		named, err := p.named(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = p.timing.retry
			if !failed {
				p.log.Warn("the endpoints of the API are not known", "error", err)
			}
			failed = true
		default:
			failed = false
			if !slices.Equal(named, last) {
				p.pool.set(ctx, merge(p.config.Servers, named), watch)
				if err := p.keep(named); err != nil {
					p.log.Warn("the servers are not kept", "error", err)
				}
				last = named
			}
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// named returns the servers that the API names, sorted.
func (p *Proxy) named(ctx context.Context) ([]string, error) {
	err := errors.New("no server")
	for _, s := range p.pool.candidates() {
		var b []byte
		if b, err = p.get(ctx, s.addr, endpointsPath, p.timing.dial); err == nil {
			return parseEndpoints(b)
		}
	}
	return nil, err
}

// parseEndpoints returns the addresses in an EndpointsList, sorted. None, or too many, is
// an error: the servers that are known are better.
func parseEndpoints(b []byte) ([]string, error) {
	var list struct {
		Items []struct {
			Subsets []struct {
				Addresses []struct{ IP string }
				Ports     []struct{ Port int }
			}
		}
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("endpoints: %w", err)
	}
	var out []string
	for _, item := range list.Items {
		for _, s := range item.Subsets {
			for _, a := range s.Addresses {
				for _, port := range s.Ports {
					out = append(out, net.JoinHostPort(a.IP, strconv.Itoa(port.Port)))
				}
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 0 || len(out) > maxServers {
		return nil, fmt.Errorf("endpoints: found %d addresses, want 1 to %d", len(out), maxServers)
	}
	return out, checkServers(out)
}

// keptServers is the content of the file Config.Kept, JSON.
type keptServers struct {
	Servers []string `json:"servers"`
}

func (p *Proxy) keep(servers []string) error {
	b, err := json.Marshal(keptServers{servers})
	if err != nil {
		return err
	}
	return durable.WriteFile(p.config.Kept, append(b, '\n'), 0o600)
}

// kept returns the servers that the API named last, none if the file is missing or damaged.
func (p *Proxy) kept() []string {
	var k keptServers
	b, err := os.ReadFile(p.config.Kept)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = strict.DecodeJSON(b, &k)
	}
	if err == nil && len(k.Servers) > maxServers {
		err = fmt.Errorf("found %d servers, want at most %d", len(k.Servers), maxServers)
	}
	if err = errors.Join(err, checkServers(k.Servers)); err != nil {
		p.log.Warn("the kept servers are not used", "file", p.config.Kept, "error", err)
		return nil
	}
	return k.Servers
}

// checkServers refuses anything but addresses with ports.
func checkServers(servers []string) error {
	var errs []error
	for _, s := range servers {
		if _, err := netip.ParseAddrPort(s); err != nil {
			errs = append(errs, fmt.Errorf("server %q: want an address with a port", s))
		}
	}
	return errors.Join(errs...)
}

// merge returns the servers of a and then those that are only in b.
func merge(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
