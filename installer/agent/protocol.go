package agent

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/step"
)

// Protocol is the version of Request and Event; an agent answers its own only.
// The operator brings its own binary along, so both ends are always the same.
const Protocol = "offk8s-agent/1"

// StateDir is where the agent keeps journal, lock, stamps and the verified
// head of the bundle. Undo removes it last.
const StateDir = "/var/lib/offk8s"

// maxRequest bounds a Request in bytes.
const maxRequest = 64 << 20

// Mode is what the agent shall do.
type Mode string

// The modes.
const (
	ModeFacts Mode = "facts" // look around
	ModeCheck Mode = "check" // compare the items with the host, change nothing
	ModeApply Mode = "apply" // make it so
	ModeUndo  Mode = "undo"  // restore everything in the journal, newest first
)

// Request is one line of JSON on the agent's standard input.
type Request struct {
	Protocol string `json:"protocol"`
	Mode     Mode   `json:"mode"`
	Cluster  string `json:"cluster,omitempty"` // name; a host belongs to one cluster
	Host     string `json:"host,omitempty"`    // the inventory's name of this host
	Bundle   Bundle `json:"bundle,omitzero"`
	Mirror   Mirror `json:"mirror,omitzero"`
	// Items are step.Items as JSON, in order.
	Items []json.RawMessage `json:"items,omitempty"`
	// Secrets are the values of the references in Items, base64 in JSON.
	Secrets map[string][]byte `json:"secrets,omitempty"`
	// AllowDowngrade accepts a bundle of a lower sequence than the host has seen.
	AllowDowngrade bool `json:"allowDowngrade,omitempty"`
	// Pending says (mode check) that earlier phases have changes that are not
	// made yet, so that what cannot be looked at counts as a difference.
	Pending bool `json:"pending,omitempty"`
	// Hold says that standard input stays open while the operator wants the work
	// to go on: its end stops the agent.
	Hold bool `json:"hold,omitempty"`
}

// Bundle is what the operator knows of the bundle beforehand.
type Bundle struct {
	PublicKeys string        `json:"publicKeys"` // PEM
	Root       digest.Digest `json:"root"`       // digest of index.json
}

// Mirror is where artifacts come from.
type Mirror struct {
	URL string `json:"url"`
	// CAPEM are the only certificates that an https mirror is checked with.
	CAPEM string `json:"caPEM,omitempty"`
}

// EventType tells events apart.
type EventType string

// The event types. Every answer ends with exactly one EventEnd; without it the
// agent died or the connection was lost.
const (
	EventStart EventType = "start" // a step begins
	EventStep  EventType = "step"  // a step ended, with its State
	EventLog   EventType = "log"
	EventFacts EventType = "facts"
	EventStays EventType = "stays" // what Undo leaves behind
	EventEnd   EventType = "end"
)

// NotRun is the state of steps after one that failed.
const NotRun step.State = "not run"

// Event is one line of JSON on the agent's standard output.
type Event struct {
	Type EventType `json:"type"`
	// Of a step:
	ID     string        `json:"id,omitempty"`
	State  step.State    `json:"state,omitempty"`
	Reason string        `json:"reason,omitempty"`
	Took   time.Duration `json:"took,omitempty"` // nanoseconds
	// Of a log line:
	Level string `json:"level,omitempty"`
	Text  string `json:"text,omitempty"`

	Facts *facts.Facts `json:"facts,omitempty"`
	Stays []string     `json:"stays,omitempty"`
	// Of the end: empty for success. Code is one of the codes that Error knows.
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Why the agent refuses; errors.Is finds them on the operator's side too.
var (
	// ErrLocked: another agent works on the host. Try again later.
	ErrLocked = errors.New("another offk8s works on this host")
	// ErrVerify: what the mirror serves is not what the key signed.
	ErrVerify = errors.New("verification failed")
	// ErrPolicy: intact, but not allowed, such as an older bundle.
	ErrPolicy = errors.New("refused by policy")
	// ErrStep: a step failed; its event tells which and why.
	ErrStep = errors.New("a step failed")
	// ErrRequest: the request makes no sense to this agent.
	ErrRequest = errors.New("bad request")
)

var codes = map[string]error{
	"locked": ErrLocked, "verify": ErrVerify, "policy": ErrPolicy, "step": ErrStep, "request": ErrRequest,
}

// codeOf returns the code of an error, "" when it has none.
func codeOf(err error) string {
	for _, c := range []string{"locked", "verify", "policy", "step", "request"} {
		if errors.Is(err, codes[c]) {
			return c
		}
	}
	return ""
}

// Err returns the error that an EventEnd carries, nil for success.
func (e Event) Err() error {
	if e.Error == "" {
		return nil
	}
	return &RemoteError{Text: e.Error, Class: codes[e.Code]}
}

// RemoteError is an error that an agent reported.
type RemoteError struct {
	Text  string
	Class error // one of the sentinels of this package, or nil
}

func (e *RemoteError) Error() string { return e.Text }

func (e *RemoteError) Unwrap() error { return e.Class }
