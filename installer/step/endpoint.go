package step

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Endpoint waits until connections to the address of a load balancer lead to every one of
// the servers behind it, and changes nothing. A server is known by its certificate, which
// no other has, so that the balancer has to pass TLS through.
type Endpoint struct {
	NoUndo
	Address string   `json:"address"` // "10.0.0.10:6443"
	Servers []string `json:"servers"` // "10.0.0.11:6443"
	// CAFile verifies all of them. The certificates have the host of Address in them, and
	// those of Servers.
	CAFile string `json:"caFile"`
	// Any is enough: one server, as when a balancer always chooses the same one for a host.
	Any bool `json:"any,omitempty"`
	// Timeout defaults to 2 minutes.
	Timeout Duration `json:"timeout,omitempty"`
}

func (e *Endpoint) Kind() string { return "endpoint" }

func (e *Endpoint) Observes() bool { return true }

func (e *Endpoint) Describe() string {
	return "connections to " + e.Address + " reach " + strings.Join(e.Servers, " ")
}

func (e *Endpoint) Validate() error {
	errs := []error{checkPath("caFile", e.CAFile)}
	for _, a := range append([]string{e.Address}, e.Servers...) {
		if _, _, err := net.SplitHostPort(a); err != nil {
			errs = append(errs, fmt.Errorf("address %q: %w", a, err))
		}
	}
	if len(e.Servers) == 0 || e.Timeout < 0 {
		errs = append(errs, errors.New("want servers, and no negative timeout"))
	}
	return errors.Join(errs...)
}

func (e *Endpoint) Check(ctx context.Context, env *Env) (Result, error) {
	reason, err := e.look(ctx, env)
	res, err := CheckResult(ctx, reason, err)
	if res.State == OK {
		res.State = Verified
	}
	return res, err
}

func (e *Endpoint) Apply(ctx context.Context, env *Env) (Result, error) {
	timeout := time.Duration(e.Timeout)
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	err := Poll(ctx, env, timeout, time.Second, e.Describe(), func(ctx context.Context) (string, error) { return e.look(ctx, env) })
	if err != nil {
		return Result{}, err
	}
	return Result{State: Verified}, nil
}

// attempts is how many connections look makes per server. A balancer that chooses at
// random then misses one of three servers in one of 5,000 looks.
const attempts = 8

// look returns the servers that no connection to the address reaches. It keeps the
// connections until it returns, for balancers that choose the server with the fewest.
func (e *Endpoint) look(ctx context.Context, env *Env) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	pem, err := env.ReadFile(e.CAFile)
	if err != nil {
		return "", err
	}
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 3 * time.Second}, Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}}
	if !d.Config.RootCAs.AppendCertsFromPEM(pem) {
		return "", fmt.Errorf("file %q: no certificate in it", e.CAFile)
	}
	byCert := map[string]string{}
	for _, s := range e.Servers {
		c, cert, err := certificate(ctx, d, s)
		if err != nil {
			return "", fmt.Errorf("the server behind the balancer: %w", err)
		}
		c.Close()
		byCert[cert] = s
	}
	missing := slices.Clone(e.Servers)
	for range attempts * len(e.Servers) {
		c, cert, err := certificate(ctx, d, e.Address)
		if err != nil {
			return "", err
		}
		defer c.Close()
		s, known := byCert[cert]
		if !known {
			return fmt.Sprintf("%s leads to a server that is none of %s", e.Address, strings.Join(e.Servers, ", ")), nil
		}
		missing = slices.DeleteFunc(missing, func(x string) bool { return x == s || e.Any })
		if len(missing) == 0 {
			return "", nil
		}
	}
	return fmt.Sprintf("no connection to %s reaches %s", e.Address, strings.Join(missing, ", ")), nil
}

// certificate connects to an address and returns the connection and the server's
// certificate (DER).
func certificate(ctx context.Context, d *tls.Dialer, address string) (net.Conn, string, error) {
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, "", fmt.Errorf("connect to %s: %w", address, err)
	}
	return c, string(c.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw), nil
}
