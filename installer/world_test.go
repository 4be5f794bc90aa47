package installer_test

import (
	"bytes"
	"context"
	"crypto/hpke"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/probe"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// lab is a cluster of hosts in directories, each with a real agent in this process.
type lab struct {
	t       *testing.T
	cluster *manifests.Cluster
	hosts   map[string]*labHost
	key     hpke.PrivateKey // of all agents
}

type labHost struct {
	*fakeHost
	world *steptest.World
	// ahead is added to the clock in the host's facts.
	ahead time.Duration
	// cutAfter, when positive, loses the connection after so many events.
	cutAfter int
	// addresses, if set, replace those in the host's facts, and stations answer every probe.
	addresses []facts.Address
	stations  []probe.Station
	key       hpke.PrivateKey
	http      http.RoundTripper // answers step.Wait
	mu        sync.Mutex
	agents    int // that were started
	sockets   int // that are open
	lists     int // of hosts in the requests
	requests  []agent.Request
	output    bytes.Buffer
}

func newLab(t *testing.T, names ...string) *lab {
	t.Helper()
	key, err := agent.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, key: key, cluster: &manifests.Cluster{Name: "lab"}, hosts: map[string]*labHost{}}
	for i, n := range names {
		l.cluster.Hosts = append(l.cluster.Hosts, manifests.Host{
			Name: n, Address: fmt.Sprintf("10.0.0.%d", i+1), Roles: []manifests.Role{manifests.RoleWorker},
		})
		h := &labHost{fakeHost: newFakeHost(t, n), world: steptest.New(t), key: key}
		h.world.Write(t, "proc/sys/kernel/osrelease", "6.1\n", 0o644)
		h.world.Write(t, "proc/sys/kernel/hostname", n+"\n", 0o644)
		h.world.Write(t, "proc/meminfo", "MemTotal: 4194304 kB\n", 0o644)
		h.world.Write(t, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n", 0o644)
		h.Say("sh -c uname -m", "x86_64\nnone\n") // an upload follows
		h.Say("sh -c rm -f ", "")
		h.Say("rmdir ", "")
		h.On(installer.AgentPath+" agent", h.agent)
		l.hosts[n] = h
	}
	return l
}

// errCut is the error of a writer when the connection is gone.
var errCut = errors.New("connection lost")

// agent answers as the program on the host would.
func (h *labHost) agent(ctx context.Context, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
	h.mu.Lock()
	h.agents++
	out := &wire{h: h, w: stdout, left: h.cutAfter}
	h.mu.Unlock()
	// What a login shell may print first is no event.
	if _, err := io.WriteString(stdout, "Welcome!\n"); err != nil {
		return err
	}
	err := agent.Serve(ctx, &tap{h: h, r: stdin}, out, agent.Options{
		Root: h.world.Root, Run: h.world.Env().Run, Key: h.key, HTTP: h.http,
		Probe: func(_ context.Context, asked []probe.Probe) (out []probe.Answer) {
			for _, p := range asked {
				out = append(out, probe.Answer{Probe: p, Stations: h.stations})
			}
			return out
		},
		Listen: h.listen,
	})
	if out.left < 0 {
		return errCut
	}
	if err != nil {
		return &host.ExitError{Program: "offk8s", Code: 1}
	}
	return nil
}

// listen notes how many sockets the agent has open.
func (h *labHost) listen(asked []probe.Probe) (io.Closer, []probe.Answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets += len(asked)
	var out []probe.Answer
	for _, p := range asked {
		out = append(out, probe.Answer{Probe: p})
	}
	return closer(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sockets -= len(asked)
	}), out
}

type closer func()

func (c closer) Close() error { c(); return nil }

// tap notes the requests that it carries.
type tap struct {
	h     *labHost
	r     io.Reader
	line  []byte
	hosts []facts.Member // of the last request that had some
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	for _, c := range b[:n] {
		if t.line = append(t.line, c); c != '\n' {
			continue
		}
		var req agent.Request
		if json.Unmarshal(t.line, &req) == nil {
			t.h.mu.Lock()
			if req.Hosts != nil {
				t.hosts = req.Hosts
				t.h.lists++
			}
			req.Hosts = t.hosts
			t.h.requests = append(t.h.requests, req)
			t.h.mu.Unlock()
		}
		t.line = nil
	}
	return n, err
}

// wire carries events, shifts the clock in facts and loses the connection.
type wire struct {
	h    *labHost
	w    io.Writer
	left int
}

// Write implements io.Writer.
func (w *wire) Write(b []byte) (int, error) {
	if w.left < 0 {
		return 0, errCut
	}
	var e agent.Event
	if err := json.Unmarshal(b, &e); err != nil {
		return 0, err
	}
	line := b
	if e.Facts != nil {
		e.Facts.Time = e.Facts.Time.Add(w.h.ahead)
		if w.h.addresses != nil {
			e.Facts.Addresses = w.h.addresses
		}
		var err error
		if line, err = json.Marshal(e); err != nil {
			return 0, err
		}
		line = append(line, '\n')
	}
	w.h.mu.Lock()
	w.h.output.Write(line)
	w.h.mu.Unlock()
	if _, err := w.w.Write(line); err != nil {
		return 0, err
	}
	if w.left > 0 {
		if w.left--; w.left == 0 {
			w.left = -1
		}
	}
	return len(b), nil
}

func (l *lab) connect() *installer.Fleet {
	l.t.Helper()
	f, err := installer.Connect(l.t.Context(), l.cluster, installer.ConnectOptions{
		Dial:   func(_ context.Context, h manifests.Host) (host.Host, error) { return l.hosts[h.Name], nil },
		Binary: l.binary(),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = f.Close() })
	return f
}

// binary returns a program that fits the hosts.
func (l *lab) binary() func(string) (string, error) {
	return func(string) (string, error) { return elfFile(l.t, elf.EM_X86_64), nil }
}

func (l *lab) plan(stages ...stage.Stage) *installer.Plan {
	l.t.Helper()
	p, err := installer.NewPlan(stage.Input{Cluster: l.cluster, Lock: &manifests.Lock{Name: "b", Kubernetes: "1.36.3"}}, stage.Operation{Name: "test", Stages: stages})
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// each is a stage that gives every host the steps of fn.
func each(name string, fn func(h manifests.Host) []step.Item) stage.Stage {
	return stage.Stage{Name: name, Title: "the " + name, Steps: func(_ stage.Input, h manifests.Host) ([]step.Item, error) {
		return fn(h), nil
	}}
}

// file is a stage with one file per host, and a second one.
func files(name string) stage.Stage {
	return each(name, func(h manifests.Host) []step.Item {
		return []step.Item{
			{ID: name + "/a", Why: "because", Step: &step.File{Path: "/etc/" + name + "/a", Content: h.Name}},
			{ID: name + "/b", Step: &step.File{Path: "/etc/" + name + "/b", Content: "b"}},
		}
	})
}

// elfFile is the shortest program of a machine: a header and nothing else.
func elfFile(t testing.TB, m elf.Machine) string {
	t.Helper()
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(m), Version: uint32(elf.EV_CURRENT), Ehsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "offk8s")
	if err := os.WriteFile(name, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}
