package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// maxLogs is the number of containers whose logs podTrouble quotes.
const maxLogs = 3

// podTrouble describes why pods are not ready, as an error to join: the last
// log lines of their containers, which usually name the cause, then the states of the
// pods and the warnings of their namespace. An empty selector selects all pods.
func podTrouble(ctx context.Context, env *step.Env, namespace, selector string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	args := []string{"pods", "-n", namespace}
	if selector != "" {
		args = append(args, "-l", selector)
	}
	var notes []string
	var pods struct{ Items []podStatus }
	if get(ctx, env, &pods, podsPath(namespace, selector)) == nil {
		notes = podNotes(ctx, env, namespace, pods.Items)
	}
	for _, args := range [][]string{
		append([]string{"get", "-o", "wide"}, args...),
		{"get", "events", "-n", namespace, "--field-selector", "type=Warning", "--sort-by", ".lastTimestamp"},
	} {
		if out, err := kubectl(ctx, env, nil, args...); err == nil && len(out) > 0 {
			notes = append(notes, env.LastLines(string(out), step.LogLines))
		}
	}
	if len(notes) == 0 {
		return nil
	}
	return errors.New(strings.Join(notes, "\n"))
}

// podNotes describes the containers that are not ready, those that have ended first.
func podNotes(ctx context.Context, env *step.Env, namespace string, pods []podStatus) []string {
	type failing struct {
		pod podStatus
		container
	}
	var list []failing
	for _, p := range pods {
		if p.ready() || p.Status.Phase == "Succeeded" {
			continue
		}
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if !c.Ready {
				list = append(list, failing{p, c})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b failing) int { return cmp.Compare(b.RestartCount, a.RestartCount) })
	var notes []string
	for _, f := range list[:min(len(list), maxLogs)] {
		where := fmt.Sprintf("pod %s on %s, container %s", f.pod.Metadata.Name, cmp.Or(f.pod.Spec.NodeName, "no node"), f.Name)
		if why := f.why(); why != "" {
			where += ", " + env.LastLines(why, 1)
		}
		if !f.started() {
			notes = append(notes, where)
			continue
		}
		args := []string{"logs", "-n", namespace, f.pod.Metadata.Name, "-c", f.Name, fmt.Sprintf("--tail=%d", step.LogLines)}
		if f.LastState.Terminated != nil { // of the attempt that has failed
			args = append(args, "--previous")
		}
		out, err := kubectl(ctx, env, nil, args...)
		if err != nil {
			notes = append(notes, where+"; the API cannot give its log: "+env.LastLines(err.Error(), 1))
			continue
		}
		notes = append(notes, where+"; its log ends:\n"+env.LastLines(string(out), step.LogLines))
	}
	return notes
}

// container is the status of a container.
type container struct {
	Name         string         `json:"name"`
	Ready        bool           `json:"ready"`
	RestartCount int            `json:"restartCount"`
	State        containerState `json:"state"`
	LastState    containerState `json:"lastState"`
}

type containerState struct {
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Running    *struct{} `json:"running"`
	Terminated *struct {
		Reason   string `json:"reason"`
		ExitCode int    `json:"exitCode"`
	} `json:"terminated"`
}

// started reports whether the container has a log.
func (c container) started() bool {
	return c.State.Running != nil || c.State.Terminated != nil || c.LastState.Terminated != nil
}

// why returns the state of a container that is not running, "CrashLoopBackOff: …".
func (c container) why() string {
	switch s := c.State; {
	case s.Waiting != nil:
		return strings.TrimSuffix(s.Waiting.Reason+": "+s.Waiting.Message, ": ")
	case s.Terminated != nil:
		return fmt.Sprintf("%s, exit code %d", s.Terminated.Reason, s.Terminated.ExitCode)
	}
	return ""
}
