package installer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/mirror"
)

var ticketPass = []byte("correct horse")

// ticketFor returns a ticket for w-1, made at noon and valid for a day.
func ticketFor() *installer.Ticket {
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	return &installer.Ticket{
		TicketHeader: installer.TicketHeader{Cluster: "site", Host: "w-1", Address: "10.0.0.2", Made: noon, Expires: noon.Add(24 * time.Hour)},
		File:         []byte("name: site\n"), Identity: "sha256:1", Bundle: agent.Bundle{PublicKeys: "keys", Root: digest.FromString("root")},
		Mirror: agent.Endpoint{URLs: []string{"https://10.0.0.9"}}, Secrets: map[string][]byte{"pki:x.key": []byte("PRIVATE")},
	}
}

func sealTicket(t *testing.T, ticket *installer.Ticket) []byte {
	t.Helper()
	b, err := ticket.Seal(ticketPass)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openTicket(b, pass []byte) (*installer.Ticket, error) {
	s, err := installer.ParseTicket(b)
	if err != nil {
		return nil, err
	}
	return s.Open(pass)
}

func TestTicketTravelsSealed(t *testing.T) {
	want := ticketFor()
	b := sealTicket(t, want)
	for _, secret := range []string{"PRIVATE", "name: site", "10.0.0.9", "sha256:1\""} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the sealed ticket has %q in it", secret)
		}
	}
	got, err := openTicket(b, ticketPass)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*want, *got); diff != "" {
		t.Errorf("ticket (-want +got):\n%s", diff)
	}
	if text := fmt.Sprintf("%v %+v", got, *got); strings.Contains(fmt.Sprint(got), "PRIVATE") {
		t.Errorf("it prints its secrets: %s", text)
	}
	if _, err := openTicket(b, []byte("battery staple")); !errors.Is(err, trust.ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
}

func TestTicketThatWasAltered(t *testing.T) {
	b := sealTicket(t, ticketFor())
	alter := func(field string, value any) []byte {
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		m[field] = value
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, altered := range map[string][]byte{
		"cut": b[:len(b)/2], "something else": []byte("correct horse\n"), "kind": alter("kind", "ClusterState"),
		"longer valid": alter("expires", "2030-01-01T00:00:00Z"), "another host": alter("address", "10.0.0.3"),
		"secret": alter("secret", map[string]string{}),
	} {
		if _, err := openTicket(altered, ticketPass); !errors.Is(err, pki.ErrDamaged) {
			t.Errorf("%s: error %v, want ErrDamaged", name, err)
		}
	}
}

func TestTicketChecksClockAndHost(t *testing.T) {
	h := ticketFor().TicketHeader
	here := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	for _, tc := range []struct {
		name      string
		now       time.Time
		addresses []netip.Addr
		want      error
		text      []string
	}{
		{"good", h.Made, here, nil, nil},
		{"the last second", h.Expires.Add(-time.Second), here, nil, nil},
		{"expired", h.Expires, here, installer.ErrTicketExpired, []string{`"w-1"`, "2026-11-27T12:00:00Z"}},
		{"both times", h.Expires.Add(time.Hour), here, installer.ErrTicketExpired, []string{"until 2026-11-27T12:00:00Z", "says 2026-11-27T13:00:00Z"}},
		{"another host", h.Made, here[:1], installer.ErrTicketHost, []string{`"w-1"`, "10.0.0.2", "this machine has 127.0.0.1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := h.Check(tc.now, tc.addresses)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			for _, s := range tc.text {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q lacks %q", err, s)
				}
			}
		})
	}
}

// A mirror that has moved on to another bundle cannot install from an older ticket.
func TestTicketOfAnotherBundle(t *testing.T) {
	b := bundletest.Open(t)
	m, err := mirror.New([]*bundle.Bundle{b}, mirror.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m)
	defer srv.Close()
	ticket := ticketFor()
	ticket.Mirror.URLs, ticket.Bundle = []string{srv.URL}, agent.Bundle{PublicKeys: string(bundletest.Key(t).PublicPEM()), Root: b.Root()}
	got, err := ticket.OpenMirror(t.Context())
	if err != nil || got.Root != b.Root() || got.Agent.URLs[0] != srv.URL {
		t.Errorf("got %+v, error %v", got, err)
	}
	ticket.Bundle.Root = digest.FromString("another")
	if _, err := ticket.OpenMirror(t.Context()); !errors.Is(err, installer.ErrTicketBundle) || !errors.Is(err, agent.ErrPolicy) {
		t.Errorf("another bundle: error %v, want ErrTicketBundle", err)
	}
}
