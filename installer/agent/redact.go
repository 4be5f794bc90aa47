package agent

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/strict"
)

// redactor replaces secrets in text that leaves the host. The zero value knows no
// secrets. Safe for concurrent use.
type redactor struct {
	mu    sync.RWMutex
	words []string // the longest first, since a word may be part of another
	r     *strings.Replacer
}

// hidden is the replacement of a secret.
const hidden = "***"

// opaque matches keys and tokens inside larger secrets, such as lines of PEM or fields
// of a kubeconfig.
var opaque = strict.NewPattern(`[A-Za-z0-9+/=_.-]{16,}`)

// add hides the values of secrets too. Certificates are public. It hides every opaque word
// of a value, since programs quote single lines.
func (r *redactor) add(secrets map[string][]byte) {
	var words []string
	for ref, v := range secrets {
		text := strings.TrimSpace(string(v))
		if strings.HasSuffix(ref, ".crt") || len(text) < 6 {
			continue
		}
		quoted := strconv.Quote(text) // as %q prints it, PEM on one line
		words = append(words, text, quoted[1:len(quoted)-1], base64.StdEncoding.EncodeToString(v))
		for _, w := range opaque.Regexp().FindAllString(text, -1) {
			if strings.ContainsAny(w, "0123456789") {
				words = append(words, w)
			}
		}
		words = append(words, pemLines(v)...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	words = append(words, r.words...)
	slices.SortFunc(words, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	r.words = slices.Compact(words)
	var pairs []string
	for _, w := range r.words {
		pairs = append(pairs, w, hidden)
	}
	r.r = strings.NewReplacer(pairs...)
}

// pemLines returns the lines of base64 of PEM blocks, also the last one, which may be
// short.
func pemLines(v []byte) []string {
	var out []string
	for {
		b, rest := pem.Decode(v)
		if b == nil {
			return out
		}
		v = rest
		for line := range strings.Lines(string(pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes}))) {
			if line = strings.TrimSpace(line); len(line) >= 6 && !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
	}
}

// discreet is a Runner that removes secrets from the output in errors, before a step
// shortens it.
type discreet struct {
	step.Runner
	hide *redactor
}

func (d discreet) Run(ctx context.Context, c step.Cmd) (step.Output, error) {
	out, err := d.Runner.Run(ctx, c)
	if exit, ok := errors.AsType[*step.ExitError](err); ok {
		exit.Stderr = d.hide.text(exit.Stderr)
	}
	if late, ok := errors.AsType[*step.TimeoutError](err); ok {
		late.Output = d.hide.text(late.Output)
	}
	return out, err
}

// text returns s without secrets.
func (r *redactor) text(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.r == nil {
		return s
	}
	return r.r.Replace(s)
}

// event returns e with the secrets removed from its texts.
func (r *redactor) event(e Event) Event {
	e.Reason, e.Text, e.Error = r.text(e.Reason), r.text(e.Text), r.text(e.Error)
	return e
}
