package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Block is a block of lines in a file of the system, such as /etc/hosts. The rest of
// the file stays as it is.
type Block struct {
	Path string `json:"path"`
	// Marker names the block in its first and last line; default "offk8s".
	Marker string   `json:"marker,omitempty"`
	Lines  []string `json:"lines"`
	// Comment starts a comment line in the file; default "#".
	Comment string `json:"comment,omitempty"`
}

func (b *Block) Kind() string { return "block" }

func (b *Block) Target() Target { return Target{Path: b.Path} }

func (b *Block) Describe() string { return fmt.Sprintf("%d lines in %s", len(b.Lines), b.Path) }

// Validate also refuses lines that would end the block.
func (b *Block) Validate() error {
	errs := []error{
		checkPath("path", b.Path), checkLine("marker", b.Marker), checkLine("comment", b.Comment),
	}
	for _, l := range b.Lines {
		errs = append(errs, checkLine("line", l))
		if l == b.begin() || l == b.end() {
			errs = append(errs, fmt.Errorf("line %q: is the marker", l))
		}
	}
	return errors.Join(errs...)
}

func (b *Block) begin() string { return b.comment() + " BEGIN " + b.marker() }
func (b *Block) end() string   { return b.comment() + " END " + b.marker() }

func (b *Block) marker() string {
	if b.Marker == "" {
		return "offk8s"
	}
	return b.Marker
}

func (b *Block) comment() string {
	if b.Comment == "" {
		return "#"
	}
	return b.Comment
}

// blockPrior reports whether the file existed before.
type blockPrior struct {
	Existed bool `json:"existed"`
}

func (b *Block) Check(_ context.Context, env *Env) (Result, error) {
	text, now, err := b.read(env)
	if err != nil {
		return Result{}, err
	}
	want, err := b.edit(text, b.Lines)
	if err != nil {
		return Result{}, err
	}
	if now.exists && want == text {
		return Result{State: OK}, nil
	}
	reason := "lines differ"
	if !strings.Contains(text, b.begin()) {
		reason = "lines are missing"
	}
	return Result{State: Differs, Reason: reason, Prior: priorJSON(blockPrior{now.exists})}, nil
}

func (b *Block) Apply(_ context.Context, env *Env) (Result, error) {
	now, err := b.write(env, b.Lines)
	if err != nil {
		return Result{}, err
	}
	return Result{State: Changed, Reason: "written", Prior: priorJSON(blockPrior{now.exists})}, nil
}

// Undo removes the block and leaves the rest of the file as it is by then.
func (b *Block) Undo(_ context.Context, env *Env, raw json.RawMessage) error {
	var prior blockPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("file %q: prior state: %w", b.Path, err)
	}
	text, now, err := b.read(env)
	if err != nil || !now.exists {
		return err
	}
	rest, err := b.edit(text, nil)
	if err != nil {
		return err
	}
	if rest == "" && !prior.Existed {
		return os.Remove(env.Path(b.Path))
	}
	_, err = b.write(env, nil)
	return err
}

func (b *Block) read(env *Env) (string, found, error) {
	now, err := env.stat(b.Path)
	if err != nil || !now.exists {
		return "", now, err
	}
	text, err := env.ReadFile(b.Path)
	return string(text), now, err
}

// write replaces the block and returns the state of the file before.
func (b *Block) write(env *Env, lines []string) (found, error) {
	text, now, err := b.read(env)
	if err != nil {
		return now, err
	}
	text, err = b.edit(text, lines)
	if err != nil {
		return now, err
	}
	return now, env.edit(b.Path, now, text)
}

// edit returns text with the lines of the block replaced; nil removes the block. It
// refuses a block that begins and does not end, since its end would be a guess.
func (b *Block) edit(text string, lines []string) (string, error) {
	block := ""
	if lines != nil {
		block = strings.Join(append(append([]string{b.begin()}, lines...), b.end()), "\n") + "\n"
	}
	var out strings.Builder
	inside, done := false, false
	for line := range strings.Lines(text) {
		switch bare := strings.TrimRight(line, "\r\n"); {
		case inside && bare == b.end():
			inside = false
		case inside:
		case bare == b.begin():
			inside = true
			if !done {
				out.WriteString(block)
				done = true
			}
		default:
			out.WriteString(line)
		}
	}
	if inside {
		return "", fmt.Errorf("file %q: line %q without %q, repair it by hand", b.Path, b.begin(), b.end())
	}
	if !done && block != "" {
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
			out.WriteByte('\n')
		}
		out.WriteString(block)
	}
	return out.String(), nil
}
