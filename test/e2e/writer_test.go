//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/installer/kube"
)

// apiWriter writes a number into a ConfigMap every 50 ms and reads it back, as a client
// with one connection that gives up after a second. It keeps the longest time without
// an acknowledged write, and everything that it read and should not have read.
type apiWriter struct {
	client *http.Client
	url    string // of the collection

	// Of the goroutine that writes.
	version string       // the object's; "" after an error
	written int          // the last number that must be there
	maybe   map[int]bool // numbers whose writes failed, and that may be there

	mu     sync.Mutex
	acked  int
	last   time.Time     // of the last acknowledged write
	gap    time.Duration // the longest between two, since the last call of longest
	wrong  []string
	failed map[string]int

	stop, done chan struct{}
}

const writerObject = "offk8s-e2e-writer"

// startWriter starts a writer with the operator's credentials. It goes the way that users
// go, or, if every node has a proxy, that of the last node.
func (r *road) startWriter(t *testing.T) *apiWriter {
	t.Helper()
	server, conf := r.access(t)
	from := "operator"
	if r.vip == "" && len(r.with(controlPlane)) > 1 {
		nodes := r.nodes()
		from, server = nodes[len(nodes)-1].name, "https://127.0.0.1:6444"
	}
	w := &apiWriter{
		url: server + "/api/v1/namespaces/default/configmaps", maybe: map[int]bool{}, failed: map[string]int{},
		client: &http.Client{Timeout: time.Second, Transport: &http.Transport{
			DialContext: dialFrom(from), TLSClientConfig: conf, TLSHandshakeTimeout: time.Second,
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1: a request that times out ends its connection
		}},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	var version configMap
	eventually(t, time.Minute, "the first write", func() error {
		_, err := r.tryKubectl(t, "delete", "configmap", "-n", "default", "--ignore-not-found", writerObject)
		if err == nil {
			version, err = w.send(http.MethodPost, "", "", 0)
		}
		return err
	})
	w.version, w.last = version.Metadata.ResourceVersion, time.Now()
	go w.run()
	return w
}

// access returns the server of the operator's kubeconfig and how to connect to it.
func (r *road) access(t *testing.T) (string, *tls.Config) {
	t.Helper()
	text, err := os.ReadFile(r.kubeconfig())
	must(t, err)
	server, conf, _, err := kube.ParseKubeconfig(text)
	must(t, err)
	return server, conf
}

// init keeps the first thread of the process for the first goroutine: a goroutine of dialFrom
// on it would leave it in the namespace of a host, and lab.sh ends the processes there.
func init() { runtime.LockOSThread() }

// dialFrom returns a dialer for addresses in the network of a namespace.
func dialFrom(namespace string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		// The thread ends with the goroutine, because it stays locked, so that no
		// other goroutine runs in the namespace. The socket stays there.
		type result struct {
			conn net.Conn
			err  error
		}
		dialled := make(chan result, 1)
		go func() {
			runtime.LockOSThread()
			f, err := os.Open("/run/netns/" + namespace)
			if err == nil {
				err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
				f.Close()
			}
			var conn net.Conn
			if err == nil {
				conn, err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
			}
			dialled <- result{conn, err}
		}()
		d := <-dialled
		return d.conn, d.err
	}
}

func (w *apiWriter) run() {
	defer close(w.done)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.write(n)
		}
	}
}

// write writes n if the object's version is known, and otherwise finds out what is there.
// A write that failed can still arrive later, but not after another one: the version
// would be an old one.
func (w *apiWriter) write(n int) {
	if w.version == "" && !w.read(0) {
		return
	}
	o, err := w.send(http.MethodPut, "/"+writerObject, w.version, n)
	if err != nil {
		w.fail(err)
		if !strings.HasPrefix(err.Error(), "409") {
			w.maybe[n] = true
		}
		return
	}
	w.version, w.written = o.Metadata.ResourceVersion, n
	clear(w.maybe)
	now := time.Now()
	w.mu.Lock()
	w.gap, w.last = max(w.gap, now.Sub(w.last)), now
	w.acked++
	w.mu.Unlock()
	w.read(n)
}

// read reads the object, and reports whether it did. What is there has to be want; if
// that is 0, the last acknowledged number or one whose write failed.
func (w *apiWriter) read(want int) bool {
	o, err := w.send(http.MethodGet, "/"+writerObject, "", 0)
	if err != nil {
		w.fail(err)
		return false
	}
	got, err := strconv.Atoi(o.Data["n"])
	if bad := err != nil || want > 0 && got != want || want == 0 && got != w.written && !w.maybe[got]; bad {
		w.mu.Lock()
		w.wrong = append(w.wrong, fmt.Sprintf("read %q after %d was written (failed since: %v)", o.Data["n"], w.written, slices.Sorted(maps.Keys(w.maybe))))
		w.mu.Unlock()
	}
	w.version, w.written = o.Metadata.ResourceVersion, got
	delete(w.maybe, got)
	return true
}

func (w *apiWriter) fail(err error) {
	w.version = ""
	w.mu.Lock()
	defer w.mu.Unlock()
	text := err.Error()
	w.failed[text[max(0, len(text)-60):]]++
}

type configMap struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion,omitempty"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
}

// send sends one request with the number n in the object, and returns the object that
// the API answers.
func (w *apiWriter) send(method, path, version string, n int) (o configMap, err error) {
	var body io.Reader
	if method != http.MethodGet {
		o.Metadata.Name, o.Metadata.ResourceVersion, o.Data = writerObject, version, map[string]string{"n": strconv.Itoa(n)}
		b, err := json.Marshal(o)
		if err != nil {
			return o, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, w.url+path, body)
	if err != nil {
		return o, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return o, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %.200s", resp.Status, method, b)
	}
	if err == nil {
		o = configMap{}
		err = json.Unmarshal(b, &o)
	}
	return o, err
}

// longest does something, waits until writes have succeeded for three seconds, and
// returns the longest time without an acknowledged write.
func (w *apiWriter) longest(t *testing.T, what string, do func()) time.Duration {
	t.Helper()
	w.mu.Lock()
	w.gap = 0
	w.mu.Unlock()
	do()
	since := time.Now()
	eventually(t, 3*time.Minute, "writes after "+what, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if quiet := time.Since(w.last); quiet > time.Second {
			since = time.Now()
			return fmt.Errorf("none for %s", quiet.Round(time.Millisecond))
		}
		if time.Since(since) < 3*time.Second {
			return fmt.Errorf("not for long enough")
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%s: longest time without a write %s", what, w.gap.Round(time.Millisecond))
	return w.gap
}

// end stops the writer. No acknowledged write may be lost.
func (w *apiWriter) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	<-w.done
	t.Logf("%d writes; failures: %v", w.acked, w.failed)
	if len(w.wrong) > 0 {
		t.Errorf("read what was not written last:\n%s", strings.Join(w.wrong, "\n"))
	}
	if w.acked < 50 {
		t.Errorf("only %d writes succeeded", w.acked)
	}
}

// etcdWriter writes to etcd all the time, from the host of the first member. The function
// that it returns ends it and returns the longest time between two writes that succeeded.
func (r *road) etcdWriter(t *testing.T) func() time.Duration {
	t.Helper()
	var urls []string
	for _, h := range r.with(member) {
		urls = append(urls, clientURL(h))
	}
	loop := `
until [ -e /run/offk8s-e2e-stop ]; do
  ` + etcdctl + strings.Join(urls, ",") + ` --dial-timeout=1s --command-timeout=2s put offk8s-e2e x >/dev/null 2>&1 && date +%s.%N
done
rm -f /run/offk8s-e2e-stop`
	at := r.with(member)[0].addr
	argv := r.ssh(at, "bash", "-s")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(loop)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	must(t, cmd.Start())
	return func() time.Duration {
		run(t, time.Minute, r.ssh(at, "touch", "/run/offk8s-e2e-stop")...)
		_ = cmd.Wait()
		var last, gap float64
		n := 0
		for l := range strings.Lines(out.String()) {
			at, err := strconv.ParseFloat(strings.TrimSpace(l), 64)
			must(t, err)
			if last > 0 {
				gap = max(gap, at-last)
			}
			last = at
			n++
		}
		t.Logf("%d writes, longest gap %.1f s", n, gap)
		if n < 10 {
			t.Errorf("only %d writes succeeded", n)
		}
		return time.Duration(gap * float64(time.Second))
	}
}
