package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/installer/host/hosttest"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/manifests"
)

// scriptCommands are the commands that scripts have beside testscript's own.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exit":       scriptExit,
	"alone":      scriptAlone,
	"upstream":   scriptUpstream,
	"sign-image": scriptSignImage,
	"swap":       scriptSwap,
	"gone":       scriptGone,
	"kill-at":    scriptKillAt,
	"serve":      scriptServe,
	"unserve":    scriptUnserve,
	"hangup":     scriptHangup,
	"registry":   scriptRegistry,
	"await":      scriptAwait,
	"get":        scriptGet,
	"expand":     scriptExpand,
	"flip":       scriptFlip,
	"cut":        scriptCut,
	"mode":       scriptMode,
	"jsonlines":  scriptJSONLines,
	"sshkey":     scriptSSHKey,
	"sshd":       scriptSSHD,
	"host":       scriptHost,
	"hold":       scriptHold,
	"state":      scriptState,
	"api":        scriptAPI,
	"installed":  scriptInstalled,
	"pretend":    scriptPretend,
	"at-a-time":  scriptAtATime,
	"rate":       scriptRate,

	"fingerprint": scriptFingerprint,
}

func of(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// scriptExit: exit CODE ARGS… runs offk8s and demands its exit code.
func scriptExit(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "exit CODE ARGS…")
	demand(ts, args[0], ts.Exec("offk8s", args[1:]...), strings.Join(args[1:], " "))
}

// demand fails the script unless offk8s, with these arguments, ended with the exit code want.
func demand(ts *testscript.TestScript, want string, err error, args string) {
	if got := exitCode(err); strconv.Itoa(got) != want {
		ts.Fatalf("offk8s %s: exit status %d, want %s", args, got, want)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		return -2
	}
}

// scriptUpstream: upstream starts one for this script alone and sets $PACK and OFFK8S_CATALOG.
func scriptUpstream(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 0, "upstream")
	up, err := upstreamtest.Start(nil)
	ts.Check(err)
	ts.Defer(up.Close)
	dir := ts.MkAbs("upstream")
	ts.Check(os.Mkdir(dir, 0o755))
	ts.Check(writeUpstream(up, dir))
	s := of(ts)
	s.upstream = up
	content := func(r *http.Request) bool { return r.URL.Path != "/" && r.URL.Path != "/v2/" } // not whether a host is there
	downloads := s.gauge.handler(http.HandlerFunc(up.Serve), content)
	up.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		downloads.ServeHTTP(w, r)
		return true
	})
	for name, value := range map[string]string{"PACK": dir + "/pack.yaml", "OFFK8S_CATALOG": dir + "/catalog"} {
		ts.Setenv(name, value)
		s.env = append(s.env, name+"="+value)
	}
}

// scriptSwap: swap PART replaces every file of the upstream whose address has PART.
func scriptSwap(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "swap PART")
	of(ts).upstream.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, args[0]) {
			return false
		}
		fmt.Fprint(w, "something else")
		return true
	})
}

// scriptGone: gone makes the upstream answer 404 to everything. (One that
// answers nothing at all is asked again for a minute and a half.)
func scriptGone(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 0, "gone")
	of(ts).upstream.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		http.NotFound(w, r)
		return true
	})
}

// scriptKillAt: kill-at SIGNAL PART CODE ARGS… runs offk8s, sends it the signal
// when it asks the upstream for an address with PART, and demands the exit code
// (-1 for one that the signal ended).
func scriptKillAt(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 3, "kill-at INT|TERM|KILL PART CODE ARGS…")
	signal := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}[args[0]]
	s := of(ts)
	asked, killed := make(chan struct{}, 1), make(chan struct{})
	s.upstream.Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, args[1]) {
			return false
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		<-killed
		return false
	})
	defer s.upstream.Hook(nil)
	cmd := exec.Command("offk8s", args[3:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), s.env, ts.Stdout(), ts.Stderr()
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-asked:
		ts.Check(cmd.Process.Signal(signal))
	case err := <-ended:
		close(killed)
		ts.Fatalf("ended before it asked for %s: %v", args[1], err)
	}
	err := <-ended
	close(killed)
	if got := strconv.Itoa(exitCode(err)); got != args[2] {
		ts.Fatalf("exit status %s after %s, want %s", got, args[0], args[2])
	}
}

// scriptServe: serve ARGS… starts offk8s serve on a free loopback port, with its
// state in ./state, and sets $MIRROR and $FINGERPRINT, which is in ./fingerprint too.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	need(ts, !neg && s.mirror == nil, "serve ARGS…, one at a time")
	cmd := exec.Command("offk8s", append([]string{"serve", "--listen", "127.0.0.1:0", "--state", "state"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stderr = ts.MkAbs("."), s.env, os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s.mirror = cmd
	ts.Defer(func() { s.stop() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		value = strings.Trim(value, ` ",`)
		switch strings.Trim(name, `":`) { // of text, or of a line of JSON
		case "mirror":
			ts.Setenv("MIRROR", value)
		case "fingerprint":
			ts.Setenv("FINGERPRINT", value)
			ts.Check(os.WriteFile(ts.MkAbs("fingerprint"), []byte(value), 0o644))
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	ts.Fatalf("serve ended before it printed its fingerprint: %v", lines.Err())
}

func (s *script) stop() (code int) {
	if s.mirror == nil {
		return 0
	}
	_ = s.mirror.Process.Signal(syscall.SIGTERM)
	code = exitCode(s.mirror.Wait())
	s.mirror = nil
	return code
}

// scriptUnserve: unserve ends the mirror with SIGTERM and demands status 0.
func scriptUnserve(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 0, "unserve")
	if code := of(ts).stop(); code != 0 {
		ts.Fatalf("serve: exit status %d after SIGTERM, want 0", code)
	}
}

// scriptRegistry: registry [CA] starts an empty registry on loopback and sets $REGISTRY. With
// a file for its authority it has TLS.
func scriptRegistry(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) < 2, "registry [CA]")
	uploads := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/uploads") }
	srv := httptest.NewUnstartedServer(of(ts).gauge.handler(registry.New(registry.Logger(log.New(io.Discard, "", 0))), uploads))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.Defer(srv.Close)
	if len(args) == 0 {
		srv.Start()
	} else {
		srv.StartTLS()
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), ca, 0o644))
	}
	ts.Setenv("REGISTRY", srv.Listener.Addr().String())
}

// scriptHangup: hangup sends SIGHUP to the mirror.
func scriptHangup(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	need(ts, !neg && len(args) == 0 && s.mirror != nil, "hangup, after serve")
	ts.Check(s.mirror.Process.Signal(syscall.SIGHUP))
}

// scriptAwait: await PATH TEXT fetches from the mirror until the body has TEXT.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "await PATH TEXT")
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		status, body := fromMirror(ts, args[0])
		switch {
		case strings.Contains(body, args[1]):
			return
		case time.Now().After(end):
			ts.Fatalf("GET %s: status %d, no %q in a minute:\n%s", args[0], status, args[1], body)
		}
	}
}

// scriptGet: get STATUS PATH fetches from the mirror, trusting only the CA in
// ./state; the body goes to stdout.
func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "get STATUS PATH")
	status, body := fromMirror(ts, args[1])
	_, err := io.WriteString(ts.Stdout(), body)
	ts.Check(err)
	if got := strconv.Itoa(status); got != args[0] {
		ts.Fatalf("GET %s: status %s, want %s", args[1], got, args[0])
	}
}

func fromMirror(ts *testscript.TestScript, at string) (status int, body string) {
	user, path, ok := strings.Cut(at, "@")
	if !ok {
		user, path = "", at
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ts.ReadFile("state/mirror-ca.crt")))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.Getenv("MIRROR")+path, nil)
	ts.Check(err)
	if name, password, ok := strings.Cut(user, ":"); ok {
		req.SetBasicAuth(name, password)
	}
	res, err := (&http.Client{Transport: tr}).Do(req)
	ts.Check(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	ts.Check(err)
	return res.StatusCode, string(b)
}

// scriptExpand: expand FILE… replaces $NAME in them by the environment.
func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "expand FILE…")
	for _, f := range args {
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(os.Expand(ts.ReadFile(f), ts.Getenv)), 0o644))
	}
}

// scriptFlip: flip FILE changes one bit in the middle.
func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "flip FILE")
	b := []byte(ts.ReadFile(args[0]))
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

// scriptCut: cut FILE N takes N bytes off its end; a negative N adds zeroes.
func scriptCut(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "cut FILE N")
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	path := ts.MkAbs(args[0])
	st, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, st.Size()-n))
}

// scriptMode: mode OCTAL FILE… demands permissions; patterns are allowed.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "mode OCTAL FILE…")
	for _, pattern := range args[1:] {
		files, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		need(ts, len(files) > 0, "mode: no file matches "+pattern)
		for _, f := range files {
			st, err := os.Stat(f)
			ts.Check(err)
			if got := fmt.Sprintf("%04o", st.Mode().Perm()); got != args[0] {
				ts.Fatalf("%s has mode %s, want %s", f, got, args[0])
			}
		}
	}
}

// scriptSSHKey: sshkey FILE makes a key that no host knows.
func scriptSSHKey(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "sshkey FILE")
	_, private, err := hosttest.NewKey()
	ts.Check(err)
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	ts.Check(os.WriteFile(path, private, 0o600))
}

// scriptSSHD: sshd NAME starts a machine with a host key that nobody knows, which refuses
// every login, and sets $NAME to its port.
func scriptSSHD(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "sshd NAME")
	listenSSH(ts, args[0], errors.New("nobody"), func(c net.Conn, conf *ssh.ServerConfig) {
		_, _, _, _ = ssh.NewServerConn(c, conf) // always refused
		_ = c.Close()
	})
}

// listenSSH starts a new machine, whose host key nobody knows, and sets $NAME to its port. It runs
// serve for each connection; conf refuses every login with refusal, or accepts it if that is nil. It returns
// the host key.
func listenSSH(ts *testscript.TestScript, name string, refusal error, serve func(net.Conn, *ssh.ServerConfig)) ssh.PublicKey {
	conf := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, refusal }}
	key, _, err := hosttest.NewKey()
	ts.Check(err)
	conf.AddHostKey(key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	go hosttest.Accept(l, func(c net.Conn) { serve(c, conf) })
	ts.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	return key.PublicKey()
}

// scriptJSONLines: jsonlines FILE FIELD… demands that each line is an object and
// that each field is in one of them.
func scriptJSONLines(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "jsonlines FILE FIELD…")
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			ts.Fatalf("%q is no JSON object: %v", line, err)
		}
		for k := range v {
			seen[k] = true
		}
	}
	for _, field := range args[1:] {
		if !seen[field] {
			ts.Fatalf("no line has the field %q", field)
		}
	}
}

// scriptState: state DIR FILE makes the state of the cluster in FILE, as install does.
func scriptState(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "state DIR FILE")
	c, err := manifests.LoadCluster(args[1], []byte(ts.ReadFile(args[1])))
	ts.Check(err)
	s, err := pki.Open(pki.Options{Dir: ts.MkAbs(args[0]), Cluster: c})
	ts.Check(err)
	_, err = s.Establish()
	ts.Check(err)
	_, err = s.Ensure()
	ts.Check(err)
	of(ts).cluster.Store(&storyCluster{c, s})
}

// scriptFingerprint: fingerprint NAME FILE sets $NAME to the fingerprint of a public key.
func scriptFingerprint(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "fingerprint NAME FILE")
	keys, err := trust.ParsePublicKeys([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Setenv(args[0], keys[0].Fingerprint())
}
