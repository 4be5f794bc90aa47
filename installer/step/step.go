// Package step holds the kinds of change that offk8s makes on a host, one file a
// kind.
//
// A Step is pure data until an agent runs it: the operator's side builds steps
// (installer/stage), prints them (dry run) and sends them as JSON. The agent on the
// host calls Check, and Apply if Check reports a difference. It journals the prior
// state with every change, so that Undo can restore it. A step never contains a
// secret but a reference to one; the value travels beside the steps (Env.Secret).
package step

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// Step is one declarative change on one host. Implementations are plain
// structs with JSON tags; all have pointer receivers.
type Step interface {
	// Kind is the step's name in JSON and in the list of this package, "file".
	Kind() string
	// Describe returns the desired state in a few words, "file /etc/chrony.conf 0644",
	// without secrets.
	Describe() string
	// Validate checks the step's fields.
	Validate() error
	// Check compares the host with the step and changes nothing. With Differs it
	// returns Prior if it can, so that the journal has it before Apply begins.
	Check(ctx context.Context, env *Env) (Result, error)
	// Apply makes the change. It is called after Check returned Differs, is idempotent,
	// and returns Prior for the journal, before the change counts as done.
	Apply(ctx context.Context, env *Env) (Result, error)
	// Undo restores the prior state; prior is Result.Prior of Check or Apply, or {}.
	Undo(ctx context.Context, env *Env, prior json.RawMessage) error
}

// State is the outcome of a Check or an Apply.
type State string

// The states.
const (
	OK       State = "ok"       // already in the desired state
	Differs  State = "differs"  // Check: Apply would change it
	Changed  State = "changed"  // Apply changed it
	Verified State = "verified" // a check without a change: waits, health, smoke
	Skipped  State = "skipped"  // does not apply here, see Reason
	Failed   State = "failed"
)

// Result is the outcome of Check or Apply.
type Result struct {
	State State `json:"state"`
	// Reason describes the difference or the change, without secrets.
	Reason string `json:"reason,omitempty"`
	// Prior is the state that Undo restores, in a format of the step kind. The host's
	// journal (0600) stores it.
	Prior json.RawMessage `json:"prior,omitempty"`
	// Rest, if Apply sets it, replaces the prior in the journal: Apply has undone the
	// part of Env.Prior that the step no longer wants.
	Rest json.RawMessage `json:"rest,omitempty"`
}

// Env gives a step access to the host. The agent creates it, in tests steptest.World.
type Env struct {
	// Root is prepended to every path; "" on a real host, a directory in tests.
	Root string
	// Log sends details to the operator, as events.
	Log *slog.Logger
	// HTTP answers the requests of Wait; nil means the network.
	HTTP http.RoundTripper
	// Run runs a program, never through a shell. Equal calls of the checks of a request
	// may be one: they change nothing.
	Run Runner
	// Secret returns the value of a reference.
	Secret func(ref SecretRef) ([]byte, error)
	// Hide replaces secrets in text that is about to be shortened; later they may no
	// longer be recognized. nil hides nothing.
	Hide func(text string) string
	// Fetch opens an artifact of the verified bundle by the digest of its plain
	// content. The reader fails at the end if the bytes do not match. Fetch refuses a
	// digest that is not in the signed Lock before any request.
	Fetch func(ctx context.Context, plain digest.Digest) (io.ReadCloser, error)
	// FetchImage opens a part of an image of the verified bundle by its digest. It refuses
	// an image that is not in the signed Lock before any request. The caller verifies
	// the content.
	FetchImage func(ctx context.Context, image, part digest.Digest) (io.ReadCloser, error)
	// Stamp and SetStamp keep small values between runs, such as the digest of the
	// configuration that etcd was started with.
	Stamp    func(key string) string
	SetStamp func(key, value string) error
	// Digests are those of large files, nil if every use reads the file again.
	Digests *Digests
	// Prior is what the journal has for this step, see Result.Prior; nil if nothing.
	Prior json.RawMessage
	// Kept are the steps that are wanted: for Check and Apply those of the request, for
	// Undo those that stay while others go. What they want must not be taken from the
	// host. It is nil during a reset.
	Kept []Step
	// Back are the steps of the generation before, see Needs.
	Back []Step
	// Left records what a step has made and Undo leaves for the sake of Kept, as another
	// step with a prior.
	Left func(s Step, prior json.RawMessage)
	// Owned reports that the step has been applied before and the journal has its prior
	// state: Apply replaces only what offk8s wrote, and need not save it.
	Owned bool
	// Awaited are the hosts that the step waits for, and how long. It is zero if the operator
	// has seen to it that they are ready.
	Awaited Awaited
	// After runs argv once after all steps are undone, to restart a daemon with its
	// restored configuration. It is nil except during Undo.
	After func(argv []string)
}

// Observer is implemented by kinds that may change nothing. The journal leaves out
// such steps.
type Observer interface {
	// Observes reports whether this step changes nothing on the host.
	Observes() bool
}

// Retainer is implemented by kinds whose Undo retains something on purpose.
type Retainer interface {
	// Retained names the things that the step, with this prior, added and Undo retains, and
	// those that it removed and Undo does not bring back.
	Retained(prior json.RawMessage) (stays, gone []string)
}

// Merger is implemented by kinds whose later runs may change more than the first. For
// other kinds the first prior alone is the state before offk8s.
type Merger interface {
	// MergePrior returns the prior that covers both runs.
	MergePrior(first, later json.RawMessage) (json.RawMessage, error)
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

// Runner runs programs. Tests replace it.
type Runner interface {
	// Run runs a program and returns its output, even with an error. A non-zero exit
	// is an *ExitError with a part of stderr in its message; a missing program is a
	// *NotFoundError.
	Run(ctx context.Context, cmd Cmd) (Output, error)
}

// Cmd is a program call.
type Cmd struct {
	Argv  []string
	Stdin []byte
	// Input, if set, is read to its end instead of Stdin.
	Input io.Reader
	Env   []string // added to a minimal environment (PATH, LANG=C, HOME); no proxies
	Dir   string
	// Timeout is the time limit; 0 means DefaultTimeout.
	Timeout time.Duration
	// Finish is for programs that must not be interrupted, such as the transaction of a
	// package manager: when ctx ends, they go on for that long, and the loss of the agent
	// does not end them either.
	Finish time.Duration
}

// Output is the output of a program.
type Output struct {
	Stdout, Stderr []byte
}

// Item is a step in a plan: the step with its identity and reason.
type Item struct {
	// ID is unique on the host within the plan and stable between runs,
	// "etcd/unit"; the journal is keyed by it.
	ID string `json:"id"`
	// Why is the reason for the step, "kubelet refuses to start with swap on".
	Why string `json:"why,omitempty"`
	// Unless is a file that makes the step unnecessary: no bootstrap kubeconfig is
	// written once the node has joined. If it exists, the step is Skipped.
	Unless string `json:"unless,omitempty"`
	// Awaits names other hosts whose part of the work the step waits for. It counts if each
	// host works alone (Env.Awaited), and is not part of the JSON.
	Awaits []string `json:"-"`
	Step   Step     `json:"-"`
}
