package installer_test

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// simulated is a host whose agent finds everything as it should be.
func simulated(t testing.TB, name string) host.Host {
	h := newFakeHost(t, name)
	h.Say("sh -c uname -m", "x86_64\nnone\n") // an upload follows
	h.On(installer.AgentPath+" agent", func(_ context.Context, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
		enc := json.NewEncoder(stdout)
		// All requests of the run arrive here.
		for dec := json.NewDecoder(stdin); ; {
			var req agent.Request
			if err := dec.Decode(&req); err != nil {
				return nil
			}
			for i := range req.Items {
				if err := enc.Encode(agent.Event{Type: agent.EventStep, ID: fmt.Sprint(i), State: step.OK}); err != nil {
					return err
				}
			}
			if err := enc.Encode(agent.Event{Type: agent.EventEnd}); err != nil {
				return err
			}
		}
	})
	return h
}

func runSimulated(t testing.TB, program string, hosts int) *installer.Report {
	t.Helper()
	c := &manifests.Cluster{Name: "big"}
	for i := range hosts {
		c.Hosts = append(c.Hosts, manifests.Host{Name: fmt.Sprintf("node-%04d", i)})
	}
	f, err := installer.Connect(t.Context(), c, installer.ConnectOptions{
		Dial:     func(_ context.Context, h manifests.Host) (host.Host, error) { return simulated(t, h.Name), nil },
		Binary:   func(string) (string, error) { return program, nil },
		Parallel: 64,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stages []stage.Stage
	for i := range 10 {
		stages = append(stages, files(fmt.Sprintf("stage-%d", i)))
	}
	plan, err := installer.NewPlan(stage.Input{Cluster: c, Lock: &manifests.Lock{}}, stage.Operation{Name: "test", Stages: stages})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := installer.Run(t.Context(), plan, f, installer.RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestThousandHosts(t *testing.T) {
	rep := runSimulated(t, elfFile(t, elf.EM_X86_64), 1000)
	for _, h := range rep.Hosts {
		if h.OK != 20 {
			t.Fatalf("%+v, want 20 steps ok", h)
		}
	}
	t.Logf("1000 hosts, 10 stages: %s", rep.Took)
}

// BenchmarkHosts shows that the operator's cost per host is flat.
func BenchmarkHosts(b *testing.B) {
	program := elfFile(b, elf.EM_X86_64)
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				runSimulated(b, program, n)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/host")
		})
	}
}
