package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

var (
	// ErrTicketExpired means that a ticket is not valid any more.
	ErrTicketExpired = errors.New("the ticket has expired")
	// ErrTicketHost means that a ticket is for another host.
	ErrTicketHost = errors.New("the ticket is for another host")
	// ErrTicketBundle means that the mirror does not serve the bundle of a ticket.
	ErrTicketBundle = fmt.Errorf("%w: not the bundle of the ticket", agent.ErrPolicy)
)

// MaxTicket bounds a sealed ticket in bytes.
const MaxTicket = 64 << 20

const kindTicket = "Ticket"

// TicketHeader is the part of a sealed ticket that is readable without the passphrase.
type TicketHeader struct {
	Cluster string    `json:"cluster"` // name
	Host    string    `json:"host"`    // name
	Address string    `json:"address"` // of the host
	Made    time.Time `json:"made"`    // UTC, in whole seconds, as Expires
	Expires time.Time `json:"expires"`
}

// Ticket has everything that one host needs to install itself without a connection to
// the machine with the state of the cluster: the host computes its plan and fetches the
// bundle from the mirror.
type Ticket struct {
	TicketHeader
	// File is cluster.yaml, which names the other hosts.
	File []byte `json:"file"`
	// Identity is the one of the credentials, as in RunOptions.
	Identity string         `json:"identity"`
	Bundle   agent.Bundle   `json:"bundle"`
	Mirror   agent.Endpoint `json:"mirror"`
	// StateCopies is as in stage.Input.
	StateCopies bool `json:"stateCopies,omitempty"`
	// Secrets are those that the steps of the host name, by reference, and no others.
	Secrets map[string][]byte `json:"secrets"`
}

// Format redacts the secrets.
func (t *Ticket) Format(f fmt.State, verb rune) { trust.Secret(nil).Format(f, verb) }

// SealedTicket is a ticket, encrypted with a passphrase as a sealed state is.
type SealedTicket struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	TicketHeader
	pki.SealedPart
}

// Secrets returns the secrets that the host needs for its part of the plan, by
// reference; see Plan.Alone. resolve is as RunOptions.Secrets.
func (p *Plan) Secrets(host string, resolve func(ref string) ([]byte, error)) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, st := range p.Alone(host).Stages {
		values, err := secretsOf(st.Hosts[0].Items, resolve)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", host, err)
		}
		for ref, v := range values {
			out[ref] = v
		}
	}
	return out, nil
}

// Alone returns the part of a plan of all hosts that one host does when it installs
// itself. The first host of the plan does what one does for all.
func (p *Plan) Alone(host string) *Plan {
	whole := p
	if p.whole != nil {
		whole = p.whole
	}
	mine := *p
	mine.Stages = slices.DeleteFunc(slices.Clone(p.Stages), func(st PlanStage) bool { return st.AnyOf && st.Hosts[0].Host != host })
	out := mine.Only(host)
	out.whole = whole
	return out
}

// Seal encrypts the ticket. Each call gives another output.
func (t *Ticket) Seal(pass []byte) ([]byte, error) {
	part, err := pki.SealPart(*t, pass)
	if err != nil {
		return nil, fmt.Errorf("seal ticket: %w", err)
	}
	b, err := json.Marshal(SealedTicket{manifests.APIVersion, kindTicket, t.TicketHeader, part})
	return append(b, '\n'), err
}

// ParseTicket parses the output of Seal. The error is pki.ErrDamaged.
func ParseTicket(b []byte) (*SealedTicket, error) {
	var s SealedTicket
	if err := strict.DecodeJSON(b, &s); err != nil {
		return nil, fmt.Errorf("ticket: %w: %w", pki.ErrDamaged, err)
	}
	if s.APIVersion != manifests.APIVersion || s.Kind != kindTicket {
		return nil, fmt.Errorf("ticket: %w: found apiVersion %q and kind %q, want %q and %q",
			pki.ErrDamaged, s.APIVersion, s.Kind, manifests.APIVersion, kindTicket)
	}
	if err := s.Verify(); err != nil {
		return nil, fmt.Errorf("ticket: %w", err)
	}
	return &s, nil
}

// Open decrypts the ticket. The error is trust.ErrPassphrase or pki.ErrDamaged.
func (s *SealedTicket) Open(pass []byte) (*Ticket, error) {
	var t Ticket
	if err := s.SealedPart.Open(&t, pass); err != nil {
		return nil, fmt.Errorf("ticket: %w", err)
	}
	if t.TicketHeader != s.TicketHeader {
		return nil, fmt.Errorf("ticket: %w: what is readable without the passphrase was altered", pki.ErrDamaged)
	}
	return &t, nil
}

// Check checks the ticket against the clock and the addresses of this machine. The error
// joins ErrTicketHost and ErrTicketExpired.
func (h TicketHeader) Check(now time.Time, addresses []netip.Addr) error {
	var errs []error
	want, err := netip.ParseAddr(h.Address)
	if err != nil || !slices.Contains(addresses, want) {
		var found []string
		for _, a := range addresses {
			found = append(found, a.String())
		}
		errs = append(errs, fmt.Errorf("%w: it is for %q with the address %s, this machine has %s",
			ErrTicketHost, h.Host, h.Address, strings.Join(found, ", ")))
	}
	if !now.Before(h.Expires) {
		errs = append(errs, fmt.Errorf("%w: the one of %q was valid until %s, the clock of this machine says %s",
			ErrTicketExpired, h.Host, h.Expires.Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	return errors.Join(errs...)
}

// Load returns the cluster of the ticket, with its mirror.
func (t *Ticket) Load() (*manifests.Cluster, error) {
	c, err := manifests.LoadCluster("cluster.yaml of the ticket", t.File)
	if err != nil {
		return nil, err
	}
	c.Mirror.URL, c.Mirror.URLs = "", t.Mirror.URLs
	return c, nil
}

// OpenMirror verifies the bundle of the ticket on its mirror. If the mirror has another
// one, the error is ErrTicketBundle; the others are as of the function OpenMirror.
func (t *Ticket) OpenMirror(ctx context.Context) (*Mirror, error) {
	out := &Mirror{Agent: t.Mirror}
	anyRoot := t.Bundle
	anyRoot.Root = "" // reported as ErrTicketBundle
	var err error
	if out.RemoteBundle, err = agent.OpenRemote(ctx, anyRoot, t.Mirror); err != nil {
		return nil, err
	}
	if out.Root != t.Bundle.Root {
		return nil, fmt.Errorf("%w: the mirror %s serves %s, the ticket is for %s", ErrTicketBundle, strings.Join(t.Mirror.URLs, ", "), short(out.Root), short(t.Bundle.Root))
	}
	return out, nil
}

func short(d digest.Digest) string { return d.String()[:min(19, len(d))] }
