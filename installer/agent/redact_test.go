package agent_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// TestNoPartOfASecretIsLeft: what a program prints is shortened in the middle of a
// secret, wherever the cut falls, and in whatever form it prints the secret.
func TestNoPartOfASecretIsLeft(t *testing.T) {
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes.Repeat([]byte("a k3y!"), 113)})
	secrets := map[string]string{
		"long token":     strings.Repeat("0123456789abcdef", 75),
		"short token":    "abcdef.0123456789abcdef",
		"words":          "correct horse 1 battery staple of more than one word",
		"PEM":            string(block),
		"PEM, short end": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes.Repeat([]byte("k3y"), 19)})),
	}
	forms := map[string]func(string) string{
		"plain":  func(s string) string { return s },
		"quoted": func(s string) string { return fmt.Sprintf("%q", s) },
		"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"indent": func(s string) string { return strings.ReplaceAll(s, "\n", "\n    ") },
		"CRLF":   func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
	}
	w := newWorld(t, 1)
	for name, secret := range secrets {
		for form, show := range forms {
			t.Run(name+" "+form, func(t *testing.T) {
				shown := show(secret)
				for _, cut := range []int{10, len(shown) / 2, len(shown) - 7} {
					for _, limit := range []int{300, 800, 1500} {
						said := "bad secret " + shown + strings.Repeat(" .", max(limit-cut, 0)/2)
						leaksNothing(t, w, secret, shown, said)
					}
				}
			})
		}
	}
}

// armor is no secret.
var armor = regexp.MustCompile(`-----(BEGIN|END) [A-Z ]+-----`)

// leaksNothing has a command, a unit and a wait fail, each of which prints said.
func leaksNothing(t *testing.T, w *world, secret, shown, said string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, said, http.StatusInternalServerError)
	}))
	defer srv.Close()
	for _, s := range []step.Step{
		&step.Command{Argv: []string{"use"}, Once: true, StdinSecret: "x"},
		&step.Unit{Name: "a.service", Running: true},
		&step.Wait{URL: srv.URL, Timeout: 1, Interval: 1},
		&step.Wait{Argv: []string{"print"}, Expect: "nothing of it", Timeout: 1, Interval: 1},
	} {
		w.output.Reset()
		w.Secrets["x"] = secret
		w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
			switch {
			case c.Argv[0] == "print" || c.Argv[0] == "journalctl":
				return steptest.Say(said)
			case c.Argv[0] == "systemctl" && c.Argv[1] == "show":
				return steptest.Say("LoadState=loaded\nActiveState=inactive\nUnitFileState=enabled\n")
			}
			return steptest.Exit(c.Argv, 1, said)
		}
		req := w.request(agent.ModeApply, item("x", s))
		req.Bundle = agent.Bundle{}
		if _, err := w.do(req); err == nil {
			t.Fatalf("%s: no error", s.Kind())
		}
		out := w.output.String()
		for _, text := range []string{secret, shown} {
			text = armor.ReplaceAllString(text, "")
			for i := 0; i+6 <= len(text); i++ {
				if part := text[i : i+6]; !strings.ContainsAny(part, " \n\r\\-") && strings.Contains(out, part) {
					t.Fatalf("%s: the output has %q of the secret:\n%s", s.Kind(), part, out)
				}
			}
		}
	}
}
