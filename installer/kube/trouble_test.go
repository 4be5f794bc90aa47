package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// A rollout that fails shows the log of the container that failed before anything else,
// without secrets, and says why if the API has no log.
func TestRolloutShowsTheLog(t *testing.T) {
	pod := func(name, node, containers string) string {
		return fmt.Sprintf(`{"kind":"Pod","metadata":{"name":%q,"namespace":"n"},"spec":{"nodeName":%q},
			"status":{"phase":"Running","conditions":[{"type":"Ready","status":"False"}],%s}}`, name, node, containers)
	}
	const crashed = `"containerStatuses":[{"name":"agent","restartCount":4,
		"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 1m20s"}},"lastState":{"terminated":{"reason":"Error","exitCode":1}}}]`
	tests := []struct {
		name, pods string
		log        string
		logErr     error
		want       []string // in this order
		not        string
	}{
		{
			"crash loop", pod("s-1", "node-2", crashed), strings.Repeat("line\n", 50) + "network is unreachable hunter2\n", nil,
			[]string{"0 of 2 pods ready", "pod s-1 on node-2, container agent, CrashLoopBackOff: back-off 1m20s; its log ends:\nline", "network is unreachable ***", `"items"`},
			"hunter2",
		},
		{
			"no kubelet certificate", pod("s-1", "node-2", crashed), "", errors.New("remote error: tls: internal error"),
			[]string{"pod s-1 on node-2, container agent, CrashLoopBackOff: back-off 1m20s; the API cannot give its log: kubectl logs: remote error: tls: internal error"},
			"its log ends",
		},
		{
			"never started", pod("s-1", "node-2", `"initContainerStatuses":[{"name":"copy","state":{"waiting":{"reason":"ErrImagePull","message":"not found"}}}],
			"containerStatuses":[{"name":"agent","state":{"waiting":{"reason":"PodInitializing"}}}]`), "", nil,
			[]string{"pod s-1 on node-2, container copy, ErrImagePull: not found\n", "container agent, PodInitializing\n"},
			"log",
		},
		{
			"runs and is not ready", pod("s-1", "node-2", `"containerStatuses":[{"name":"agent","state":{"running":{}}}]`), "waiting for the API", nil,
			[]string{"pod s-1 on node-2, container agent; its log ends:\nwaiting for the API"},
			"--previous",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, w := newCluster(t)
			f.put(`{"kind":"DaemonSet","metadata":{"name":"s","namespace":"n"},"spec":{"selector":{"matchLabels":{"app":"s","a":"b"}}},"status":{"desiredNumberScheduled":2}}`)
			f.put(tt.pods)
			var calls []string
			f.on = func(args []string) { calls = append(calls, strings.Join(args, " ")) }
			w.Programs = func(ctx context.Context, c step.Cmd) (step.Output, error) {
				out, err := f.run(ctx, c)
				if c.Argv[3] == "logs" {
					return step.Output{Stdout: []byte(tt.log)}, tt.logErr
				}
				return out, err
			}
			env := w.Env()
			env.Hide = func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
			r := Rollout{Workloads: []ObjectKey{{"DaemonSet", "n", "s"}}, Timeout: step.Duration(time.Nanosecond)}
			_, err := r.Apply(t.Context(), env)
			if err == nil {
				t.Fatal("no error")
			}
			rest := err.Error()
			for _, want := range tt.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Errorf("no %q, in this order, in:\n%v", want, err)
					continue
				}
				rest = after
			}
			if all := err.Error() + strings.Join(calls, "\n"); strings.Contains(all, tt.not) {
				t.Errorf("%q in:\n%s", tt.not, all)
			}
			if n := strings.Count(err.Error(), "\n"); n > 2+2*step.LogLines {
				t.Errorf("%d lines", n)
			}
			if !slices.Contains(calls, "get /api/v1/namespaces/n/pods a=b,app=s") {
				t.Errorf("other pods than those of the workload: %q", calls)
			}
			if tt.name == "crash loop" && !slices.Contains(calls, "logs -n n s-1 -c agent --tail=15 --previous") {
				t.Errorf("the log is not that of the attempt that failed: %q", calls)
			}
		})
	}
}
