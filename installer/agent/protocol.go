package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/step"
)

// Protocol is the version of Request and Event. An agent refuses other versions; since
// the operator installs the agent's binary, both ends normally agree.
const Protocol = "offk8s-agent/2"

// Each end sends a sign of life every Beat, also while nothing else happens: the agent an
// EventAlive, the operator an empty line. An end that receives nothing for Silence counts
// as gone.
const (
	Beat    = 5 * time.Second
	Silence = 45 * time.Second
)

// StateDir holds the journal, the lock, the stamps and documents of the bundle. Undo
// removes it last.
const StateDir = "/var/lib/offk8s"

// maxRequest bounds a Request in bytes.
const maxRequest = 64 << 20

// Mode is the work of a Request.
type Mode string

// The modes.
const (
	ModeLock  Mode = "lock"  // lock the host until the session ends
	ModeFacts Mode = "facts" // observe the host
	ModeTime  Mode = "time"  // facts with only the time
	ModeProbe Mode = "probe" // ask what Request.Probes ask
	// ModeListen opens the sockets of Request.Probes, until the next ModeListen or the end
	// of the session.
	ModeListen Mode = "listen"
	ModeAhead  Mode = "ahead" // begin to compare the items with the host, for later requests
	ModeCheck  Mode = "check" // compare the items with the host, change nothing
	ModeApply  Mode = "apply" // apply the items
	ModeUndo   Mode = "undo"  // restore everything in the journal, newest first
	ModeStop   Mode = "stop"  // stop Units until ModeStart, the end of the session or StopLimit
	ModeStart  Mode = "start" // start Units
)

// Request is one line of JSON on the agent's standard input. The agent answers requests
// one after the other; the end of its input ends it.
type Request struct {
	Protocol string `json:"protocol"`
	Mode     Mode   `json:"mode"`
	Cluster  string `json:"cluster,omitempty"` // name; a host belongs to one cluster
	Host     string `json:"host,omitempty"`    // name in the inventory
	// Identity is the one of the operator's credentials for the cluster; a host of this
	// cluster that was installed with others refuses ModeApply, and ModeUndo if it is not "".
	Identity string `json:"identity,omitempty"`
	// Started is when the run began, and Operator the "user@machine" that began it. All
	// requests of a run have the same.
	Started  time.Time `json:"started,omitzero"`
	Operator string    `json:"operator,omitempty"`
	// Roles are those of the host, and Hosts the hosts of the cluster, for the journal. A
	// request without Hosts has those of the one before it.
	Roles  []string       `json:"roles,omitempty"`
	Hosts  []facts.Member `json:"hosts,omitempty"`
	Bundle Bundle         `json:"bundle,omitzero"`
	Mirror Endpoint       `json:"mirror,omitzero"`
	// Modules are the kernel modules that ModeFacts looks for.
	Modules []string `json:"modules,omitempty"`
	// Probes are the questions of ModeProbe, or the sockets of ModeListen.
	Probes []probe.Probe `json:"probes,omitempty"`
	// Units are the services of ModeStop and ModeStart, "etcd.service".
	Units []string `json:"units,omitempty"`
	// Items are step.Items as JSON, in order.
	Items []json.RawMessage `json:"items,omitempty"`
	// Keep are the IDs of all steps that are planned for the host, and for any host if
	// they change the cluster. With Keep, Items are these steps and are not applied.
	// ModeApply undoes the recorded steps that are not among them, newest first; ModeCheck
	// lists them.
	Keep []string `json:"keep,omitzero"`
	// Secrets are the values of the references in Items, base64 in JSON. Sealed are more of
	// them, encrypted by SealSecrets, as an operator sends them all.
	Secrets map[string][]byte `json:"secrets,omitempty"`
	Sealed  []byte            `json:"sealed,omitempty"`
	// TakeOver ends another agent that holds the lock of the host.
	TakeOver bool `json:"takeOver,omitempty"`
	// AllowDowngrade accepts a bundle of a lower sequence than the host has seen.
	AllowDowngrade bool `json:"allowDowngrade,omitempty"`
	// Awaits are the hosts that a step waits for, by its ID, and Patience is how long it
	// waits at least: they do their part of the work at the same time.
	Awaits   map[string][]string `json:"awaits,omitempty"`
	Patience time.Duration       `json:"patience,omitempty"` // nanoseconds
	// Pending reports, for ModeCheck, that earlier stages have changes to make, so that
	// a check that fails counts as a difference.
	Pending bool `json:"pending,omitempty"`
	// Fresh reports that a host has changed since ModeAhead, so that its looks do not count.
	Fresh bool `json:"fresh,omitempty"`
}

// Bundle identifies and authenticates the bundle.
type Bundle struct {
	PublicKeys string        `json:"publicKeys"` // PEM
	Root       digest.Digest `json:"root"`       // digest of index.json
	// Histories are those of keys that the operator has seen, as of trust.EncodeHistories.
	Histories string `json:"histories,omitempty"`
}

// Endpoint is the address of a mirror, or of several with the same bundle.
type Endpoint struct {
	// URLs are those of the mirrors; the next is used if one does not answer.
	URLs []string `json:"urls"`
	// CAPEM are the only authorities to trust for https; empty means the system's.
	CAPEM string `json:"caPEM,omitempty"`
}

// EventType is the type of an Event.
type EventType string

// The event types. Every answer ends with exactly one EventEnd; without it, the agent
// died or the connection was lost.
const (
	EventKey   EventType = "key"   // the first one of a session; not part of an answer
	EventStart EventType = "start" // a step begins
	EventStep  EventType = "step"  // a step ended, with its State
	EventLog   EventType = "log"
	EventFacts EventType = "facts"
	EventProbe EventType = "probe" // the answers of ModeProbe and ModeListen
	EventStays EventType = "stays" // what Undo retains, and does not bring back
	EventAlive EventType = "alive" // a sign of life, not part of an answer
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

	// Key is the public key for SealSecrets.
	Key   []byte       `json:"key,omitempty"`
	Facts *facts.Facts `json:"facts,omitempty"`
	Stays []string     `json:"stays,omitempty"`
	Gone  []string     `json:"gone,omitempty"`
	// Answers are in the order of Request.Probes.
	Answers []probe.Answer `json:"answers,omitempty"`
	// Of the end: empty on success. Code stands for one of the errors below.
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Errors of an agent; on the operator's side errors.Is finds them in Event.Err.
var (
	// ErrLocked: another agent works on the host. Retrying later helps.
	ErrLocked = errors.New("another offk8s works on this host")
	// ErrVerify: the mirror's content does not match the signature.
	ErrVerify = errors.New("verification failed")
	// ErrPolicy: intact, but not allowed, such as an older bundle.
	ErrPolicy = errors.New("refused by policy")
	// ErrIdentity: the host belongs to a cluster with other credentials. It is an ErrPolicy.
	ErrIdentity = fmt.Errorf("%w: not the credentials of this cluster", ErrPolicy)
	// ErrUpgrade: the bundle has other versions than the host. It is an ErrPolicy.
	ErrUpgrade = fmt.Errorf("%w: this would be an upgrade", ErrPolicy)
	// ErrDowngrade is the ErrPolicy of an older bundle, which Request.AllowDowngrade permits.
	ErrDowngrade = fmt.Errorf("%w: an older bundle", ErrPolicy)
	// ErrStep: a step failed; its event has the reason.
	ErrStep = errors.New("a step failed")
	// ErrRequest: the request is not valid.
	ErrRequest = errors.New("bad request")
)

var codes = map[string]error{
	"locked": ErrLocked, "identity": ErrIdentity, "upgrade": ErrUpgrade, "downgrade": ErrDowngrade,
	"verify": ErrVerify, "policy": ErrPolicy, "step": ErrStep, "request": ErrRequest,
}

// codeOf returns the code of an error, "" if it has none.
func codeOf(err error) string {
	for _, c := range []string{"locked", "identity", "upgrade", "downgrade", "verify", "policy", "step", "request"} {
		if errors.Is(err, codes[c]) {
			return c
		}
	}
	return ""
}

// Err returns the error of an EventEnd, nil on success.
func (e Event) Err() error {
	if e.Error == "" {
		return nil
	}
	return &remoteError{text: e.Error, class: codes[e.Code]}
}

// remoteError is an error that an agent reported.
type remoteError struct {
	text  string
	class error // one of the errors above, or nil
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() error { return e.class }
