package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
)

// Rollout waits until all pods of workloads are ready, and changes nothing.
type Rollout struct {
	step.NoUndo
	// Workloads are Deployments and DaemonSets.
	Workloads []ObjectKey `json:"workloads"`
	// Nodes, if given, are the nodes that count: pods of a DaemonSet on others, which
	// may be down, need not be ready.
	Nodes   []string      `json:"nodes,omitempty"`
	Timeout step.Duration `json:"timeout,omitempty"` // default 5 minutes
}

// Workloads returns the Deployments and DaemonSets among objects.
func Workloads(objects []json.RawMessage) ([]ObjectKey, error) {
	var out []ObjectKey
	for _, o := range objects {
		k, err := keyOf(o)
		if err != nil {
			return nil, err
		}
		if k.Kind == "Deployment" || k.Kind == "DaemonSet" {
			out = append(out, k)
		}
	}
	return out, nil
}

func (*Rollout) Kind() string { return "kube-rollout" }

func (r *Rollout) Describe() string {
	var names []string
	for _, w := range r.Workloads {
		names = append(names, w.String())
	}
	return "wait: pods of " + strings.Join(names, ", ") + " are ready"
}

func (r *Rollout) Validate() error {
	if len(r.Workloads) == 0 {
		return errors.New("workloads: none")
	}
	var errs []error
	for _, w := range r.Workloads {
		if w.Kind != "Deployment" && w.Kind != "DaemonSet" {
			errs = append(errs, fmt.Errorf("workload %q: want a Deployment or a DaemonSet", w))
		}
		errs = append(errs, step.CheckName("name", w.Name), step.CheckName("namespace", w.Namespace))
	}
	return errors.Join(errs...)
}

func (r *Rollout) Check(ctx context.Context, env *step.Env) (step.Result, error) {
	for _, w := range r.Workloads {
		if reason, err := workloadReady(ctx, env, w, r.Nodes); err != nil || reason != "" {
			return step.CheckResult(ctx, reason, err)
		}
	}
	return step.Result{State: step.OK}, nil
}

func (r *Rollout) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	for _, w := range r.Workloads {
		err := step.Poll(ctx, env, timeout(r.Timeout, 5*time.Minute), interval, "pods of "+w.String(),
			func(ctx context.Context) (string, error) { return workloadReady(ctx, env, w, r.Nodes) })
		if err != nil {
			return step.Result{}, errors.Join(err, podTrouble(ctx, env, w.Namespace, selectorOf(ctx, env, w)))
		}
	}
	return step.Result{State: step.Verified, Reason: "all pods are ready"}, nil
}

// workload has the fields of Deployments and DaemonSets that determine readiness.
type workload struct {
	Metadata struct {
		Generation int64 `json:"generation"`
	} `json:"metadata"`
	Spec struct {
		Replicas *int64 `json:"replicas"`
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration     int64 `json:"observedGeneration"`
		Replicas               int64 `json:"replicas"`
		UpdatedReplicas        int64 `json:"updatedReplicas"`
		AvailableReplicas      int64 `json:"availableReplicas"`
		DesiredNumberScheduled int64 `json:"desiredNumberScheduled"`
		UpdatedNumberScheduled int64 `json:"updatedNumberScheduled"`
		NumberAvailable        int64 `json:"numberAvailable"`
	} `json:"status"`
}

// selectorOf returns the labels of a workload's pods, "" if it cannot be read.
func selectorOf(ctx context.Context, env *step.Env, k ObjectKey) string {
	var w workload
	_ = get(ctx, env, &w, workloadPath(k))
	return w.selector()
}

// workloadPath returns the path of a Deployment or a DaemonSet.
func workloadPath(k ObjectKey) string {
	return apiPath("apps/v1", k.Namespace, strings.ToLower(k.Kind)+"s", k.Name)
}

// podsPath returns the path of the pods of a namespace with these labels, or of all if
// there are none.
func podsPath(namespace, labels string) string {
	p := apiPath("v1", namespace, "pods", "")
	if labels == "" {
		return p
	}
	return selected(p, labels)
}

// selector returns the labels of the pods, "k8s-app=flannel".
func (w workload) selector() string {
	var out []string
	for _, l := range slices.Sorted(maps.Keys(w.Spec.Selector.MatchLabels)) {
		out = append(out, l+"="+w.Spec.Selector.MatchLabels[l])
	}
	return strings.Join(out, ",")
}

// workloadReady returns why the pods of a workload are not ready, "" if they are. If
// nodes are given, those of a DaemonSet on other nodes do not count.
func workloadReady(ctx context.Context, env *step.Env, k ObjectKey, nodes []string) (reason string, err error) {
	var w workload
	if err := get(ctx, env, &w, workloadPath(k)); err != nil {
		return "", err
	}
	s := w.Status
	want, updated, ready := s.DesiredNumberScheduled, s.UpdatedNumberScheduled, s.NumberAvailable
	if k.Kind == "Deployment" {
		want, updated, ready = 1, s.UpdatedReplicas, s.AvailableReplicas
		if w.Spec.Replicas != nil {
			want = *w.Spec.Replicas
		}
	} else if want > 0 && ready < want && len(nodes) > 0 {
		var pods struct{ Items []podStatus }
		if err := get(ctx, env, &pods, podsPath(k.Namespace, w.selector())); err != nil {
			return "", err
		}
		for _, p := range pods.Items {
			if !p.ready() && !slices.Contains(nodes, p.Spec.NodeName) {
				want--
			}
		}
	}
	switch {
	case s.ObservedGeneration < w.Metadata.Generation:
		return k.String() + " is not seen by its controller yet", nil
	case k.Kind == "DaemonSet" && s.DesiredNumberScheduled == 0:
		return k.String() + " has no node yet", nil
	case updated < want || ready < want:
		return fmt.Sprintf("%s has %d of %d pods ready", k, ready, want), nil
	}
	return "", nil
}

type podStatus struct {
	Metadata struct {
		Name              string            `json:"name"`
		Labels            map[string]string `json:"labels"`
		DeletionTimestamp string            `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase      string `json:"phase"`
		PodIP      string `json:"podIP"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
		InitContainerStatuses []container `json:"initContainerStatuses"`
		ContainerStatuses     []container `json:"containerStatuses"`
	} `json:"status"`
}

func (p podStatus) ready() bool {
	if p.Metadata.DeletionTimestamp != "" {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}
