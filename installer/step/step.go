// Package step holds the kinds of change that offk8s makes on a host: one file
// a kind, one declarative change each.
//
// A Step is pure data until an agent runs it: the operator's side builds steps
// (installer/phase), prints them (dry run) and sends them as JSON; the agent on
// the host calls Check, and Apply where Check says that something differs.
// Every change is journaled with what was there before, so that Undo restores
// it. Secrets never stand in a step: a step names a secret by reference, and
// the value travels beside the steps in the request (see Env.Secret).
package step

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
)

// Step is one declarative change on one host. Implementations are plain
// structs with JSON tags; all have pointer receivers.
type Step interface {
	// Kind is the step's name in JSON and in the list of this package, "file".
	Kind() string
	// Describe says in a few words what will be so, "file /etc/chrony.conf 0644".
	// It never contains a secret.
	Describe() string
	// Validate reports what is wrong with the step's own fields.
	Validate() error
	// Check compares the host with the step and changes nothing. With Differs it
	// already returns Prior, so that the journal has it before Apply begins.
	Check(ctx context.Context, env *Env) (Result, error)
	// Apply makes it so. It is called after Check said Differs, is idempotent,
	// and returns what Undo needs, to be journaled before the change counts as done.
	Apply(ctx context.Context, env *Env) (Result, error)
	// Undo restores what was there before; prior is what Apply returned as Prior.
	Undo(ctx context.Context, env *Env, prior json.RawMessage) error
}

// State is what a Check or an Apply found or did.
type State string

// The states.
const (
	OK       State = "ok"       // is already so
	Differs  State = "differs"  // Check: Apply would change it
	Changed  State = "changed"  // Apply changed it
	Verified State = "verified" // a check without a change: waits, health, smoke
	Skipped  State = "skipped"  // does not apply here; Reason says why
	Failed   State = "failed"
)

// Result is the outcome of Check or Apply.
type Result struct {
	State State `json:"state"`
	// Reason says what differs or what was done, in words for people; no secrets.
	Reason string `json:"reason,omitempty"`
	// Prior is what Undo needs; its shape belongs to the step kind. It is stored
	// in the host's journal (0600).
	Prior json.RawMessage `json:"prior,omitempty"`
}

// Env is what a step may use on the host. The agent makes it; tests make their own.
type Env struct {
	// Root is prepended to every path, "" on a real host (tests give a folder).
	Root string
	// Log gets details; it is sent to the operator as events.
	Log *slog.Logger
	// Run runs a program with data as argv, never through a shell. Tests replace it.
	Run Runner
	// Secret returns the value of a reference.
	Secret func(ref SecretRef) ([]byte, error)
	// Fetch opens an artifact of the verified bundle by its plain digest; the
	// reader fails at the end when the bytes do not have it. A digest that is not
	// in the signed Lock is refused before any request.
	Fetch func(ctx context.Context, plain string) (io.ReadCloser, error)
	// Stamp and SetStamp keep small facts between runs ("unit etcd started with sha256:…").
	Stamp    func(key string) string
	SetStamp func(key, value string) error
	// Owned says that the journal already holds what was there before this step:
	// what Apply replaces is offk8s's own and need not be saved.
	Owned bool
	// After has argv run once when all steps are undone: a daemon that stays must
	// be restarted after its configuration came back. Nil outside of Undo.
	After func(argv []string)
}

// SecretRef names a secret whose value travels beside the steps, such as
// "pki:etcd-server-cp-1.key".
type SecretRef string

// SecretUser is implemented by kinds that use secrets. Every field of type
// SecretRef must be among its Secrets: the operator sends these and no others.
type SecretUser interface {
	// Secrets returns the references that this step uses.
	Secrets() []SecretRef
}

// references returns ref, if there is one.
func references(ref SecretRef) []SecretRef {
	if ref == "" {
		return nil
	}
	return []SecretRef{ref}
}

// Target identifies the thing that a step changes, by one of the fields.
type Target struct{ Path, Name, Destination, File string }

// Targeter is implemented by kinds that change one named thing. If a step keeps
// its ID and gets another target, such as a renamed file, then it has another
// prior in the journal.
type Targeter interface {
	Target() Target
}

// Runner runs programs.
type Runner interface {
	// Run runs argv with stdin and returns what it wrote, also together with an
	// error. A non-zero exit is an *ExitError with a shortened stderr in its message.
	Run(ctx context.Context, cmd Cmd) (Output, error)
}

// Cmd is a program call.
type Cmd struct {
	Argv  []string
	Stdin []byte
	Env   []string // added to a minimal environment (PATH, LANG=C, HOME); no proxies
	Dir   string
}

// Output is what a program wrote.
type Output struct {
	Stdout, Stderr []byte
}

// Item is a step in a plan: the step with its identity and reason.
type Item struct {
	// ID is unique on the host within the plan and stable between runs,
	// "etcd/unit"; the journal is keyed by it.
	ID string `json:"id"`
	// Why is the reason in words, "kubelet refuses to start with swap on".
	Why string `json:"why,omitempty"`
	// Unless names a file whose presence means that the step is not needed any
	// more (a bootstrap kubeconfig once the node has joined); reported as Skipped... "".
	Unless string `json:"unless,omitempty"`
	Step   Step   `json:"-"`
}
