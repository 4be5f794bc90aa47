package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/test/testenv"
)

// elsewhere has the commands of the pages that need hosts, root or another site, by their
// first words. What runs them instead is in the file that contains the text.
var elsewhere = []struct{ words, file, text string }{
	{"offk8s install --local", "test/e2e/install_test.go", `"install", "--local", "--ticket"`},
	{"offk8s install", "test/e2e/RESULTS.md", "1.36.3-six, docs/production.md word for word"},
	{"offk8s drill", "test/e2e/RESULTS.md", "1.36.3-six, install of six bare hosts with its drill"},
	{"offk8s rotate", "installer/stage/rotate_test.go", "func TestRotateKeyKilledAnywhere"},
	{"offk8s doctor", "cmd/offk8s/doctor_test.go", "func TestDiagnosis"},
	{"offk8s reset --local", "cmd/offk8s/testdata/script/reset_local.txtar", "alone NODE 0 reset --local"},
	{"offk8s reset", "test/e2e/install_test.go", `"reset", "-f"`},
	{"offk8s state import --from", "test/e2e/install_test.go", `"--from", cps[`},
	{"offk8s serve --install-unit", "cmd/offk8s/serve_test.go", "installUnit("},
	{"kubectl", "test/e2e/RESULTS.md", "1.36.3-six"},
	{"install -", "cmd/offk8s/serve_test.go", "installUnit("},
	{"make build", "test/e2e/run", "go build"},
	{"make demo", ".ci/run", "make demo"},
	{"make test", ".ci/run", "make test"},
	// The address is that of upstream's mirror; the same command runs without it.
	{"offk8s pack --version 1.16 --os centos-7 --rewrite https://vault", "docs/kubernetes-1.16.md", "offk8s pack --version 1.16 --os centos-7\n"},
	// Programs of others, on a host of a cluster.
	{"kube-bench", "installer/stage/cis_test.go", "func TestT45CIS"},
	{"ETCDCTL_API=3 etcdctl", "docs/keys.md", "has no command for snapshots"},
}

// programs are those that run here.
var programs = []string{"offk8s", "curl", "export", "openssl", "tar"}

// expects has what a page expects to be there, by its name without the language's directory:
// "bundle" is kubernetes-1.36.tar, "mirror" a serve of it, "cluster" a cluster.yaml,
// "state" what install leaves, "hsm" a key that a program signs with, "release" what make
// dist leaves.
var expects = map[string][]string{
	"keys.md":    {"cluster", "state", "hsm"},
	"serve.md":   {"bundle"},
	"tickets.md": {"bundle", "mirror", "cluster"},

	"upgrade-offk8s.md": {"bundle", "mirror", "cluster", "state", "release"},
}

// TestPagesRun runs the commands of each page in the order of the page, in a directory of
// its own, with the stand-in for the internet that `make demo` uses, and compares the
// outputs that the page shows. "…" in them is any text, and alone on a line any lines. What
// a page asks people to do between its commands is in (*pageRun).byHand.
func TestPagesRun(t *testing.T) {
	shared := newSharedWorld(t)
	used, runs := map[int]bool{}, 0
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			if b.lang != "" && !regexp.MustCompile(`^(yaml|toml|text|sh)$`).MatchString(b.lang) {
				t.Errorf("%s:%d: a block of %q: want yaml, toml, text, sh or, for commands, none", p.name, b.line, b.lang)
			}
			for _, c := range b.commands() {
				i := isElsewhere(c.text)
				if used[i] = true; i < 0 {
					runs++
				}
			}
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			runPage(t, shared, p)
		})
	}
	for i, e := range elsewhere {
		b, err := os.ReadFile(filepath.Join(repository, e.file))
		if err != nil || !bytes.Contains(b, []byte(e.text)) {
			t.Errorf("%s is not run by %s, which has no %q: %v", e.words, e.file, e.text, err)
		}
		if !used[i] {
			t.Errorf("no page has %s", e.words)
		}
	}
	if runs < 50 {
		t.Errorf("only %d commands run", runs)
	}
}

func runPage(t *testing.T, shared sharedWorld, p page) {
	r := newPageRun(t, shared)
	for _, what := range expects[filepath.Base(p.name)] {
		r.begin(what)
	}
	for _, b := range p.blocks {
		for _, c := range b.commands() {
			r.where = fmt.Sprintf("%s:%d: %s", p.name, c.line, c.text)
			if isElsewhere(c.text) < 0 {
				r.run(c)
			}
			r.byHand(c.text)
		}
	}
}

// isElsewhere returns the index in elsewhere of a command line, and -1 for one that runs here.
func isElsewhere(line string) int {
	for i, e := range elsewhere {
		if strings.HasPrefix(line, e.words) {
			return i
		}
	}
	return -1
}

// pageRun runs the commands of one page.
type pageRun struct {
	*testing.T
	dir, where          string
	env                 []string
	pack                string // the pack.yaml that leads to the stand-in
	registry            string
	serving             *exec.Cmd
	mirror, fingerprint string
}

func newPageRun(t *testing.T, shared sharedWorld) *pageRun {
	r := &pageRun{T: t, dir: t.TempDir()}
	home := filepath.Join(r.dir, "home")
	for _, dir := range []string{"home", "media/stick", "media/usb"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.write("home/passphrase", "a passphrase of the page\n")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OFFK8S_") && !strings.HasPrefix(v, "XDG_") {
			r.env = append(r.env, v)
		}
	}
	r.env = append(r.env, shared.env...)
	r.env = append(r.env, "HOME="+home, "SOURCE_DATE_EPOCH=1735689600", "OFFK8S_ARCH=amd64", "OFFK8S_PASSPHRASE_FILE="+home+"/passphrase")
	r.pack = shared.get("PACK")
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	r.registry = strings.TrimPrefix(srv.URL, "http://")
	t.Cleanup(r.stop)
	return r
}

// get returns a variable of the environment.
func (w sharedWorld) get(name string) string {
	for _, v := range w.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

func (r *pageRun) write(name, text string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

// begin makes what the page expects to be there.
func (r *pageRun) begin(what string) {
	r.where = "before the page: " + what
	switch what {
	case "bundle":
		r.runHand("offk8s pack --version 1.36")
	case "mirror":
		r.runHand("offk8s serve --key offk8s.pub kubernetes-1.36.tar")
	case "cluster":
		r.runHand("offk8s init cluster")
	case "state":
		r.byHand("offk8s install")
	case "release":
		make := exec.Command("bash", "-ec", `
			cp "$(command -v offk8s)" offk8s && cp offk8s offk8s-linux-amd64 && tar -czf offk8s-linux-amd64.tar.gz ./offk8s && rm offk8s
			offk8s release sums . --key home/.config/offk8s/offk8s.key && cp offk8s.pub release.pub`)
		make.Dir, make.Env = r.dir, r.env
		if out, err := make.CombinedOutput(); err != nil {
			r.Fatalf("make a release: %v\n%s", err, out)
		}
	case "hsm":
		r.run(command{text: "openssl ecparam -name prime256v1 -genkey -noout -out token.pem && openssl ec -in token.pem -pubout -out token.pub"})
		r.write("hsm-sign", "#!/bin/sh\nexec openssl dgst -sha256 -sign token.pem\n")
		if err := os.Chmod(filepath.Join(r.dir, "hsm-sign"), 0o755); err != nil {
			r.Fatal(err)
		}
	}
}

func (r *pageRun) runHand(line string) {
	r.run(command{text: line})
	r.byHand(line)
}

// run runs one command of the page with a shell.
func (r *pageRun) run(c command) {
	program, _, _ := strings.Cut(c.text, " ")
	if !slices.Contains(programs, program) {
		r.Fatalf("%s: %q is none of %q: give the block a language if it has no commands", r.where, program, programs)
	}
	if program != "export" {
		testenv.NeedTool(r, program)
	}
	script := strings.NewReplacer(
		"https://MIRROR:8443", r.mirror, "/media/", r.dir+"/media/", "harbor.example", r.registry, " …", "",
		"--split 700MiB", "--split 100K", // the stand-in is small
	).Replace(c.text)
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir, cmd.Env = r.dir, r.env
	if strings.HasPrefix(c.text, "offk8s pack ") || strings.HasPrefix(c.text, "offk8s lock ") {
		cmd.Env = append(cmd.Env, "OFFK8S_FILE="+r.pack)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if strings.HasPrefix(c.text, "offk8s serve ") && !strings.HasPrefix(c.text, "offk8s serve init") {
		r.serve(cmd, c)
	} else if out, err := cmd.Output(); err != nil {
		r.Fatalf("%s: %v\n%s%s", r.where, err, out, &stderr)
	} else {
		r.compare(c, string(out))
	}
}

// serve starts a mirror, which runs until the next one starts or the page ends.
func (r *pageRun) serve(cmd *exec.Cmd, c command) {
	r.stop()
	cmd.Env = append(cmd.Env, "OFFK8S_LISTEN=127.0.0.1:0")
	cmd.Args[2] = "exec " + cmd.Args[2]
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.Fatalf("%s: %v", r.where, err)
	}
	r.serving = cmd
	var printed strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fmt.Fprintln(&printed, lines.Text())
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch value = strings.TrimSpace(value); name {
		case "mirror":
			r.mirror = value
		case "fingerprint":
			r.fingerprint = value
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			r.compare(c, printed.String())
			return
		}
	}
	r.stop()
	r.Fatalf("%s: ended before it printed its fingerprint\n%s%s", r.where, &printed, cmd.Stderr)
}

func (r *pageRun) stop() {
	if r.serving != nil {
		_ = r.serving.Process.Signal(syscall.SIGTERM)
		_ = r.serving.Wait()
		r.serving = nil
	}
}

// byHand does what the pages ask for after a command: carry the public key, copy the
// fingerprint into cluster.yaml. Where install does not run, the state that it leaves is made.
func (r *pageRun) byHand(line string) {
	switch {
	case strings.HasPrefix(line, "offk8s pack "), strings.HasPrefix(line, "offk8s keys generate"):
		if b, err := os.ReadFile(filepath.Join(r.dir, "home/.config/offk8s/offk8s.pub")); err == nil {
			r.write("offk8s.pub", string(b))
		}
	case strings.HasPrefix(line, "offk8s init cluster"):
		b, err := os.ReadFile(filepath.Join(r.dir, "cluster.yaml"))
		if err != nil {
			r.Fatal(err)
		}
		text := regexp.MustCompile(`(?m)^  url: .*$`).ReplaceAllString(string(b), "  url: "+r.mirror)
		r.write("cluster.yaml", regexp.MustCompile(`(?m)^  caFingerprint: .*$`).ReplaceAllString(text, "  caFingerprint: "+r.fingerprint))
	case strings.HasPrefix(line, "offk8s install") && !strings.Contains(line, "--dry-run") && !strings.Contains(line, "--local"):
		r.establish()
	case strings.HasPrefix(line, "offk8s serve"):
		if b, err := os.ReadFile(filepath.Join(r.dir, "home/.local/state/offk8s/mirror/mirror-ca.crt")); err == nil {
			r.write("ca.crt", string(b))
		}
	}
}

// establish makes the state of the cluster in cluster.yaml.
func (r *pageRun) establish() {
	b, err := os.ReadFile(filepath.Join(r.dir, "cluster.yaml"))
	if err != nil {
		return // the page has none of its own
	}
	c, err := manifests.LoadCluster("cluster.yaml", b)
	if err != nil {
		r.Fatal(err)
	}
	s, err := pki.Open(pki.Options{Dir: filepath.Join(r.dir, "home/.local/state/offk8s/clusters", c.Name), Cluster: c})
	if err == nil {
		_, err = s.Establish()
	}
	if err == nil {
		_, err = s.Ensure()
	}
	if err != nil {
		r.Fatal(err)
	}
}

// compare compares what a command printed with what the page shows, if it shows anything.
func (r *pageRun) compare(c command, out string) {
	if len(c.output) == 0 {
		return
	}
	var want strings.Builder
	for _, line := range c.output {
		if line == "…" {
			want.WriteString("(?:.*\n)*")
			continue
		}
		parts := strings.Split(line, "…")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		want.WriteString(strings.Join(parts, ".*") + "\n")
	}
	if !regexp.MustCompile("^" + want.String() + "$").MatchString(out) {
		r.Errorf("%s: the page shows\n%s\nand it prints\n%s", r.where, strings.Join(c.output, "\n"), out)
	}
}
