// Package probe asks a host about its disk and the network around it: questions with
// parameters, or that take time, which the facts of the host (installer/facts) do not answer.
//
//	answers := probe.Run(ctx, []probe.Probe{{Kind: probe.Neighbor, Interface: "eth0", Address: vip}})
//
// The agent runs the probes; preflight (installer/stage) chooses them and judges the
// answers. A probe may send packets and write to a file without a name; it changes nothing.
package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Kind is the question.
type Kind string

// The kinds, one file each.
const (
	// Neighbor asks which station has Address on the link of Interface (ARP, RFC 5227).
	Neighbor Kind = "neighbor"
	// VRRP asks which routers announce themselves on the link of Interface (RFC 3768, RFC
	// 5798). It takes Listening.
	VRRP Kind = "vrrp"
	// Sync asks how long the disk of the directory Path takes to store a small record.
	Sync Kind = "sync"
	// Listen opens a socket for Protocol at Address and Port, which answers Dial: see Open.
	Listen Kind = "listen"
	// Dial asks whether Target can be reached with Protocol. It takes Dialling if not.
	Dial Kind = "dial"
)

// Probe is a question to a host.
type Probe struct {
	Kind      Kind       `json:"kind"`
	Interface string     `json:"interface,omitempty"` // "eth0"
	Address   netip.Addr `json:"address,omitzero"`    // IPv4
	Path      string     `json:"path,omitempty"`
	// Protocol is "tcp", "udp", "vrrp" or "ipip"; the last two have no ports.
	Protocol string `json:"protocol,omitempty"`
	Port     int    `json:"port,omitempty"`
	Target   string `json:"target,omitempty"` // "10.0.0.11:6443", "10.0.0.11"
}

// Answer is a host's answer to a probe.
type Answer struct {
	Probe
	// Stations are those that answered or were heard, none if the link is silent.
	Stations []Station `json:"stations,omitempty"`
	// Latency is what 99 of 100 do not exceed, in nanoseconds.
	Latency time.Duration `json:"latency,omitempty"`
	// Busy reports that another program has the port.
	Busy bool `json:"busy,omitempty"`
	// Error is the reason why the question could not be asked, or the target not reached.
	Error string `json:"error,omitempty"`
}

// Station is an interface of a machine on the link.
type Station struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac,omitempty"`    // "52:54:00:00:00:01"
	VRRPID  int        `json:"vrrpID,omitempty"` // 1 to 255
}

// Waiting is how long Neighbor waits for an answer, and Listening how long VRRP listens:
// routers announce themselves every second unless configured otherwise.
const (
	Waiting   = time.Second
	Listening = 3500 * time.Millisecond
)

// Run asks all questions at the same time and returns their answers in order. It returns
// early when ctx ends.
func Run(ctx context.Context, probes []Probe) []Answer {
	out := make([]Answer, len(probes))
	var all sync.WaitGroup
	for i, p := range probes {
		all.Go(func() { out[i] = p.run(ctx) })
	}
	all.Wait()
	return out
}

func (p Probe) run(ctx context.Context) Answer {
	a := Answer{Probe: p}
	var err error
	switch p.Kind {
	case Neighbor:
		a.Stations, err = p.neighbor(ctx, Waiting)
	case VRRP:
		a.Stations, err = p.routers(ctx, Listening)
	case Sync:
		a.Latency, err = p.sync(ctx)
	case Dial:
		err = p.dial(ctx, Dialling)
	default:
		err = fmt.Errorf("probe %q: unknown kind", p.Kind)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// appendNew appends s unless it is in list.
func appendNew(list []Station, s Station) []Station {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
