package fetch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// reachTime is how long Unreachable waits for an answer.
const reachTime = 4 * time.Second

// Unreachable connects to the hosts of all addresses at the same time and returns
// the errors of those that cannot be reached, by address. An address is a URL or
// the repository of an image; rewrites apply. Any answer of a host is good. A
// host that is silent may only be slow: silence counts if no host answered at all.
// Hosts that answered an earlier call are not asked again.
func (c *Client) Unreachable(ctx context.Context, addresses []string) map[string]error {
	roots := map[string]string{} // address of a host by address
	for _, a := range addresses {
		if root, err := c.root(a); err == nil { // others have better errors elsewhere
			roots[a] = root
		}
	}
	hosts := map[string]bool{}
	for _, root := range roots {
		hosts[root] = true
	}
	failed := c.knock(ctx, hosts)
	out := map[string]error{}
	for a, root := range roots {
		if err := failed[root]; err != nil {
			out[a] = err
		}
	}
	return out
}

// root returns the address of the host that serves address.
func (c *Client) root(address string) (string, error) {
	if !strings.Contains(address, "://") && !strings.HasPrefix(address, AptScheme) {
		repo, err := c.repository(address)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s://%s/v2/", repo.Scheme(), repo.RegistryStr()), nil
	}
	target, err := c.URL(address)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	return u.Scheme + "://" + u.Host + "/", nil
}

// HostOf returns the host, with a port if it is not the usual one, that serves a URL
// or a repository of images.
func (c *Client) HostOf(address string) (string, error) {
	root, err := c.root(address)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(root)
	if err != nil {
		return "", err
	}
	return u.Host, nil
}

// knock asks each host once and returns the errors by address of the host.
func (c *Client) knock(ctx context.Context, roots map[string]bool) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	answered := false
	failed := map[string]error{}
	for root := range roots {
		if _, known := c.common.reached.Load(root); known {
			answered = true
			continue
		}
		wg.Go(func() {
			err := c.ask(ctx, root)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				answered = true
				c.common.reached.Store(root, true)
				return
			}
			failed[root] = err
		})
	}
	wg.Wait()
	if answered {
		maps.DeleteFunc(failed, func(_ string, err error) bool { return !hardlyHeals(err, true) })
	}
	return failed
}

// ErrSilent means that a host did not answer in time.
var ErrSilent = fmt.Errorf("no answer within %s", reachTime)

func (c *Client) ask(ctx context.Context, root string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, root, nil)
	if err != nil {
		return err
	}
	last := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := (&http.Client{Transport: c.tr, CheckRedirect: last}).Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return &url.Error{Op: "Head", URL: root, Err: ErrSilent}
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
