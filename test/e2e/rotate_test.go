//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// rotate replaces the key that encrypts Secrets: meanwhile, each API server reads the Secrets
// that the others write; a Secret from before can be read, etcd has it under the new key, and
// install has nothing to do afterwards.
func (r *road) rotate(t *testing.T) {
	const word = "said before the rotation"
	r.kubectl(t, "create", "secret", "generic", "old", "--from-literal=word="+word)
	if key := r.keyOf(t, "old"); key != "key1" {
		t.Fatalf("etcd has the Secret under %q, want key1", key)
	}
	stop, sharers := r.etcdWriter(t), r.startSharers(t)
	out := r.operator(t, installLimit, "rotate", "-f", r.clusterFile(), "--key", r.pub(), "--state", r.state(), "--progress", "plain")
	t.Logf("etcd's longest gap %s", stop())
	for _, name := range sharers.end(t) {
		if key := r.keyOf(t, name); key != "key2" {
			t.Errorf("etcd has the Secret %s under %q, want key2", name, key)
		}
	}
	if !strings.Contains(out, "encrypted with key2 alone") {
		t.Errorf("rotate printed\n%s", out)
	}
	if key := r.keyOf(t, "old"); key != "key2" {
		t.Errorf("etcd has the Secret under %q, want key2", key)
	}
	if got := r.kubectl(t, "get", "secret", "old", "-o", "go-template={{.data.word | base64decode}}"); !strings.HasPrefix(got, word) {
		t.Errorf("the Secret is %q, want %q", got, word)
	}
	for _, h := range r.with(controlPlane) {
		keys := run(t, time.Minute, r.ssh(h.addr, "grep -c name: /etc/kubernetes/encryption-config.yaml")...)
		if strings.TrimSpace(keys) != "1" {
			t.Errorf("%s has %s keys, want the new one alone", h.name, keys)
		}
	}
	if o := r.wants(t, 0); o.report.Changed != 0 {
		t.Errorf("install changed %d hosts after the rotation, want none\n%s", o.report.Changed, o.output)
	}
}

// keyOf returns the name of the key under which etcd has a Secret of the namespace default.
func (r *road) keyOf(t *testing.T, name string) string {
	t.Helper()
	at := r.with(member)[0]
	out := run(t, time.Minute, r.ssh(at.addr, etcdctl+clientURL(at)+" get /registry/secrets/default/"+name+" --print-value-only | head -c 60 | tr -cd '[:print:]'")...)
	_, rest, ok := strings.Cut(out, "k8s:enc:secretbox:v1:")
	if !ok {
		t.Fatalf("etcd has the Secret as %q", out)
	}
	key, _, _ := strings.Cut(rest, ":")
	return key
}

// sharers write Secrets through one API server after the other, and read each through the
// others at once.
type sharers struct {
	servers []string // URLs of Secrets
	client  *http.Client

	created    []string
	read, away int
	wrong      []string
	stop       chan struct{}
	done       sync.WaitGroup
}

func (r *road) startSharers(t *testing.T) *sharers {
	t.Helper()
	_, conf := r.access(t)
	tr := &http.Transport{DialContext: dialFrom("operator"), TLSClientConfig: conf, TLSHandshakeTimeout: time.Second}
	s := &sharers{client: &http.Client{Timeout: 5 * time.Second, Transport: tr}, stop: make(chan struct{})}
	for _, h := range r.with(controlPlane) {
		s.servers = append(s.servers, "https://"+h.addr+":6443/api/v1/namespaces/default/secrets")
	}
	s.done.Go(func() {
		defer tr.CloseIdleConnections()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.share(n)
			}
		}
	})
	return s
}

// share creates a Secret through one of the servers and reads it through all. A server that
// restarts answers later; one that answers has to know the key.
func (s *sharers) share(n int) {
	name := fmt.Sprintf("shared-%d", n)
	at := n % len(s.servers)
	body := fmt.Sprintf(`{"metadata":{"name":%q},"stringData":{"n":"%d"}}`, name, n)
	if code, text := s.ask(http.MethodPost, s.servers[at], body); code != http.StatusCreated {
		s.judge("create", s.servers[at], name, text)
		return
	}
	s.created = append(s.created, name)
	for _, server := range s.servers {
		if code, text := s.ask(http.MethodGet, server+"/"+name, ""); code != http.StatusOK {
			s.judge("read", server, name, text)
			continue
		}
		s.read++
	}
}

// judge records an answer that is no Secret: wrong if the server lacks the key ("no matching
// key was found"), or else that of a server that restarts.
func (s *sharers) judge(what, server, name, text string) {
	if strings.Contains(text, "no matching") {
		s.wrong = append(s.wrong, fmt.Sprintf("%s %s at %s: %s", what, name, server, text))
		return
	}
	s.away++
}

// ask returns the status and the answer, or the error with status 0.
func (s *sharers) ask(method, url, body string) (int, string) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// end stops it and returns the first and the last Secret that were created. Every server has
// all of them.
func (s *sharers) end(t *testing.T) []string {
	t.Helper()
	close(s.stop)
	s.done.Wait()
	t.Logf("%d Secrets created and read %d times meanwhile; %d requests to servers that restarted", len(s.created), s.read, s.away)
	if len(s.wrong) > 0 {
		t.Errorf("API servers without the key of others:\n%s", strings.Join(s.wrong, "\n"))
	}
	if len(s.created) < 10 || s.read < 10 {
		t.Fatalf("%d Secrets created and read %d times, want more", len(s.created), s.read)
	}
	for _, name := range s.created {
		for _, server := range s.servers {
			if code, text := s.ask(http.MethodGet, server+"/"+name, ""); code != http.StatusOK {
				t.Errorf("after the rotation %s has no %s: %s", server, name, text)
			}
		}
	}
	return []string{s.created[0], s.created[len(s.created)-1]}
}
