package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/step"
)

// The two namespaces of the smoke test.
const (
	smokeA = "offk8s-smoke-a"
	smokeB = "offk8s-smoke-b"
)

// Smoke proves that the cluster runs pods: a Deployment that is scaled behind a Service
// with a stable address, names in DNS, Jobs, a DaemonSet on every node that all nodes
// can reach, selection by label, and two namespaces with the same names that do not
// mix. It deletes everything afterwards.
type Smoke struct {
	Image  string        `json:"image"`  // name of the smoke image
	Digest digest.Digest `json:"digest"` // of its manifest
	// ByTag names the image by its tag in pods, for docker, instead of by Digest.
	ByTag  bool     `json:"byTag,omitempty"`
	Nodes  []string `json:"nodes"`  // with a pod of the DaemonSet each
	Domain string   `json:"domain"` // of the cluster, "cluster.local"
	// Isolated requires that pods of a namespace do not reach those of another.
	Isolated bool `json:"isolated,omitempty"`
	// Fingerprint identifies the installation; a smoke test that passed for it is not
	// repeated.
	Fingerprint string        `json:"fingerprint"`
	Timeout     step.Duration `json:"timeout,omitempty"` // of each part, default 3 minutes
}

func (*Smoke) Kind() string { return "kube-smoke" }

func (*Smoke) Describe() string {
	return "smoke test: Deployment, Service, DNS, Job, DaemonSet, labels, namespaces"
}

func (s *Smoke) Validate() error {
	errs := []error{(&step.Image{Name: s.Image, Digest: s.Digest}).Validate(), step.CheckName("domain", s.Domain)}
	for _, n := range s.Nodes {
		errs = append(errs, step.CheckName("node", n))
	}
	if len(s.Nodes) == 0 || s.Fingerprint == "" {
		errs = append(errs, errors.New("nodes and fingerprint: want both"))
	}
	return errors.Join(errs...)
}

// ref names the image in pods.
func (s *Smoke) ref() string {
	if s.ByTag {
		return s.Image
	}
	return step.ImageRef(s.Image, s.Digest)
}

const smokeStamp = "kube-smoke"

func (s *Smoke) Check(_ context.Context, env *step.Env) (step.Result, error) {
	if env.Stamp(smokeStamp) == s.Fingerprint {
		return step.Result{State: step.OK, Reason: "passed before"}, nil
	}
	return step.Result{State: step.Differs, Reason: "not passed yet"}, nil
}

// Apply runs the groups of parts in order and stops at the first part that fails, with
// the logs and events of its pods. It deletes the namespaces in either case.
func (s *Smoke) Apply(ctx context.Context, env *step.Env) (step.Result, error) {
	r := &smokeRun{Smoke: s, env: env}
	if err := r.clean(ctx); err != nil {
		return step.Result{}, fmt.Errorf("smoke: before: %w", err)
	}
	start, passed := time.Now(), 0
	for _, group := range r.groups() {
		err := r.group(ctx, group)
		if err == nil {
			passed += len(group)
			continue
		}
		err = errors.Join(err, podTrouble(ctx, env, smokeA, ""), podTrouble(ctx, env, smokeB, ""))
		// After a cancelled run too; the next run deletes the rest first.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		_, _ = kubectl(cleanup, env, nil, "delete", "namespace", smokeA, smokeB, "--ignore-not-found", "--wait=false")
		return step.Result{}, err
	}
	if err := r.clean(ctx); err != nil {
		return step.Result{}, fmt.Errorf("smoke: remove its namespaces: %w", err)
	}
	if err := env.SetStamp(smokeStamp, s.Fingerprint); err != nil {
		return step.Result{}, err
	}
	return step.Result{
		State:  step.Verified,
		Reason: fmt.Sprintf("%d parts passed in %s", passed, time.Since(start).Round(time.Second)),
	}, nil
}

func (s *Smoke) Undo(_ context.Context, env *step.Env, _ json.RawMessage) error {
	return env.SetStamp(smokeStamp, "")
}

type smokeRun struct {
	*Smoke
	env  *step.Env
	jobs int
	// address is the Service's, which must not change with its pods.
	address string
}

// smokePart is a part of the test. start begins it and returns how it ends.
type smokePart struct {
	name  string
	start func(context.Context) (smokeEnd, error)
}

// smokeEnd waits for the end of a part and returns an error if it failed.
type smokeEnd func(context.Context) error

// groups returns the parts. Those of a group start one after the other and then run at the
// same time: most of the time goes by while pods start.
func (r *smokeRun) groups() [][]smokePart {
	return [][]smokePart{{
		{"Deployments behind Services in two namespaces", r.deploy},
		{"DaemonSet on every node", r.daemonSet},
	}, {
		{"Service by name and by address, from a pod", r.reach},
		{"namespaces do not mix", r.isolation},
		{"pods of all nodes reach each other and the Service", r.mesh},
	}, {
		{"pods go and come, the Service's address stays", r.comeAndGo},
		{"selection by label", r.labels},
	}}
}

// group runs parts at the same time.
func (r *smokeRun) group(ctx context.Context, parts []smokePart) error {
	ends := make([]smokeEnd, len(parts))
	for i, p := range parts {
		r.env.Log.Info("smoke", "part", p.name)
		var err error
		if ends[i], err = p.start(ctx); err != nil {
			return fmt.Errorf("smoke: %s: %w", p.name, err)
		}
	}
	for i, p := range parts {
		if err := ends[i](ctx); err != nil {
			return fmt.Errorf("smoke: %s: %w", p.name, err)
		}
	}
	return nil
}

func (r *smokeRun) clean(ctx context.Context) error {
	_, err := kubectl(ctx, r.env, nil, "delete", "namespace", smokeA, smokeB, "--ignore-not-found", "--wait=false")
	if err != nil {
		return err
	}
	return r.wait(ctx, "namespaces are gone", func(ctx context.Context) (string, error) {
		out, err := kubectl(ctx, r.env, nil, "get", "namespace", smokeA, smokeB, "--ignore-not-found", "-o", "name")
		left := strings.Fields(string(out))
		if err != nil || len(left) == 0 {
			return "", err
		}
		for _, ns := range []string{smokeA, smokeB} {
			if err := r.removeLost(ctx, ns); err != nil {
				return "", err
			}
		}
		return strings.Join(left, ", ") + " still there", nil
	})
}

// removeLost removes the pods of nodes that are away: no kubelet reports their end, and
// their namespace would stay for as long.
func (r *smokeRun) removeLost(ctx context.Context, ns string) error {
	pods, err := r.pods(ctx, ns, "")
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.Spec.NodeName == "" || slices.Contains(r.Nodes, p.Spec.NodeName) {
			continue
		}
		_, err := kubectl(ctx, r.env, nil, "delete", "pod", p.Metadata.Name, "-n", ns, "--force", "--grace-period=0", "--ignore-not-found", "--wait=false")
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *smokeRun) wait(ctx context.Context, what string, done func(context.Context) (string, error)) error {
	return step.Poll(ctx, r.env, timeout(r.Timeout, 3*time.Minute), interval, what, done)
}

func (r *smokeRun) apply(ctx context.Context, objects ...any) error {
	b, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
	if err != nil {
		return err
	}
	_, err = kubectl(ctx, r.env, b, "apply", "-f", "-")
	return err
}

func (r *smokeRun) ready(ctx context.Context, k ObjectKey) error {
	return r.wait(ctx, k.String(), func(ctx context.Context) (string, error) {
		return workloadReady(ctx, r.env, k, r.Nodes)
	})
}

func (r *smokeRun) deploy(ctx context.Context) (smokeEnd, error) {
	if err := r.apply(ctx, smokeNamespace(smokeA), smokeNamespace(smokeB)); err != nil {
		return nil, err
	}
	for _, ns := range []string{smokeA, smokeB} {
		if err := r.apply(ctx, r.deployment(ns, 2), smokeService(ns, "web", map[string]string{"app": "web"})); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) (err error) {
		for _, ns := range []string{smokeA, smokeB} {
			if err := r.ready(ctx, ObjectKey{"Deployment", ns, "web"}); err != nil {
				return err
			}
		}
		r.address, err = r.clusterIP(ctx, "web")
		return err
	}, nil
}

func (r *smokeRun) clusterIP(ctx context.Context, service string) (string, error) {
	var s struct {
		Spec struct {
			ClusterIP string `json:"clusterIP"`
		} `json:"spec"`
	}
	if err := get(ctx, r.env, &s, apiPath("v1", smokeA, "services", service)); err != nil {
		return "", err
	}
	if net.ParseIP(s.Spec.ClusterIP) == nil {
		return "", fmt.Errorf("service %q has no address but %q", service, s.Spec.ClusterIP)
	}
	return s.Spec.ClusterIP, nil
}

func (r *smokeRun) reach(ctx context.Context) (smokeEnd, error) {
	return r.job(ctx, "namespace="+smokeA, "http://web/", r.url("web", smokeA), "http://"+net.JoinHostPort(r.address, "80")+"/")
}

func (r *smokeRun) url(service, ns string) string {
	return "http://" + service + "." + ns + ".svc." + r.Domain + "/"
}

func (r *smokeRun) isolation(ctx context.Context) (smokeEnd, error) {
	a, err := r.pods(ctx, smokeA, "app=web")
	if err != nil {
		return nil, err
	}
	b, err := r.pods(ctx, smokeB, "app=web")
	if err != nil {
		return nil, err
	}
	if len(a) != 2 || len(b) != 2 {
		return nil, fmt.Errorf("found %d and %d pods, want 2 and 2", len(a), len(b))
	}
	return r.foreign(ctx, b)
}

// foreign connects from a pod of the first namespace to the second one, which answers
// with its own pods, or not at all if namespaces are isolated.
func (r *smokeRun) foreign(ctx context.Context, pods []podStatus) (smokeEnd, error) {
	if !r.Isolated {
		return r.job(ctx, "namespace="+smokeB, r.url("web", smokeB))
	}
	for _, ns := range []string{smokeA, smokeB} {
		err := r.wait(ctx, "isolation of namespace "+ns, func(ctx context.Context) (string, error) {
			var p struct{}
			err := get(ctx, r.env, &p, apiPath("networking.k8s.io/v1", ns, "networkpolicies", IsolationPolicy))
			if notFound(err) {
				return "it has no policy yet", nil
			}
			return "", err
		})
		if err != nil {
			return nil, err
		}
	}
	// Addresses, since a name that does not resolve would look like isolation.
	args := []string{"refuse", "--own", r.url("web", smokeA), "--expect", "namespace=" + smokeA, "--timeout", "90s"}
	for _, p := range pods {
		args = append(args, "http://"+net.JoinHostPort(p.Status.PodIP, "8080")+"/")
	}
	name, job := r.clientJob("", args...)
	return r.begin(ctx, name, job)
}

// comeAndGo scales the Deployment to zero and to three.
func (r *smokeRun) comeAndGo(ctx context.Context) (smokeEnd, error) {
	before, err := r.pods(ctx, smokeA, "app=web")
	if err != nil {
		return nil, err
	}
	if err := r.scale(ctx, 0); err != nil {
		return nil, err
	}
	if err := r.scale(ctx, 3); err != nil {
		return nil, err
	}
	if err := r.ready(ctx, ObjectKey{"Deployment", smokeA, "web"}); err != nil {
		return nil, err
	}
	after, err := r.pods(ctx, smokeA, "app=web")
	if err != nil {
		return nil, err
	}
	for _, p := range after {
		if slices.ContainsFunc(before, func(o podStatus) bool { return o.Metadata.Name == p.Metadata.Name }) {
			return nil, fmt.Errorf("pod %q is an old one", p.Metadata.Name)
		}
	}
	now, err := r.clusterIP(ctx, "web")
	if err != nil {
		return nil, err
	}
	if now != r.address {
		return nil, fmt.Errorf("the Service's address was %s and is %s", r.address, now)
	}
	return r.job(ctx, "namespace="+smokeA, r.url("web", smokeA), "http://"+net.JoinHostPort(r.address, "80")+"/")
}

func (r *smokeRun) scale(ctx context.Context, n int) error {
	if _, err := kubectl(ctx, r.env, nil, "scale", "deployment", "web", "-n", smokeA, fmt.Sprintf("--replicas=%d", n)); err != nil {
		return err
	}
	return r.wait(ctx, fmt.Sprintf("%d pods", n), func(ctx context.Context) (string, error) {
		p, err := r.pods(ctx, smokeA, "app=web")
		if err != nil || len(p) == n {
			return "", err
		}
		return fmt.Sprintf("Deployment web has %d pods, want %d", len(p), n), nil
	})
}

func (r *smokeRun) pods(ctx context.Context, ns, selector string) ([]podStatus, error) {
	var list struct{ Items []podStatus }
	err := get(ctx, r.env, &list, podsPath(ns, selector))
	return list.Items, err
}

func (r *smokeRun) daemonSet(ctx context.Context) (smokeEnd, error) {
	return r.onEveryNode, r.apply(ctx, r.everywhere())
}

func (r *smokeRun) onEveryNode(ctx context.Context) error {
	if err := r.ready(ctx, ObjectKey{"DaemonSet", smokeA, "everywhere"}); err != nil {
		return err
	}
	pods, err := r.pods(ctx, smokeA, "app=everywhere")
	if err != nil {
		return err
	}
	var missing []string
	for _, n := range r.Nodes {
		if !slices.ContainsFunc(pods, func(p podStatus) bool { return p.Spec.NodeName == n && p.ready() }) {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("no ready pod on %s", strings.Join(missing, ", "))
	}
	return nil
}

// mesh connects from a pod on every node to a pod on every node, and to the Service by
// name and by address.
func (r *smokeRun) mesh(ctx context.Context) (smokeEnd, error) {
	pods, err := r.pods(ctx, smokeA, "app=everywhere")
	if err != nil {
		return nil, err
	}
	urls := append([]string{r.url("web", smokeA), "http://" + net.JoinHostPort(r.address, "80") + "/"}, r.targets(pods)...)
	var names []string
	var jobs []any
	for _, n := range r.Nodes {
		name, job := r.newJob(n, "namespace="+smokeA, urls...)
		names, jobs = append(names, name), append(jobs, job)
	}
	return func(ctx context.Context) error {
		for i, n := range r.Nodes {
			if err := r.finish(ctx, names[i]); err != nil {
				return fmt.Errorf("from node %q: %w", n, err)
			}
		}
		return nil
	}, r.apply(ctx, jobs...)
}

// targets returns the URLs of the pods on the nodes of the test. A pod of a node that is
// away has no address.
func (r *smokeRun) targets(pods []podStatus) []string {
	var urls []string
	for _, p := range pods {
		if slices.Contains(r.Nodes, p.Spec.NodeName) {
			urls = append(urls, "http://"+net.JoinHostPort(p.Status.PodIP, "8080")+"/")
		}
	}
	return urls
}

// labels labels one pod and expects that a Service that selects the label reaches only
// this pod.
func (r *smokeRun) labels(ctx context.Context) (smokeEnd, error) {
	pods, err := r.pods(ctx, smokeA, "app=web")
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		return nil, errors.New("no pod to mark")
	}
	one := pods[0].Metadata.Name
	if _, err := kubectl(ctx, r.env, nil, "label", "pod", one, "-n", smokeA, "picked=yes"); err != nil {
		return nil, err
	}
	if err := r.apply(ctx, smokeService(smokeA, "picked", map[string]string{"app": "web", "picked": "yes"})); err != nil {
		return nil, err
	}
	return r.job(ctx, "hostname="+one, slices.Repeat([]string{r.url("picked", smokeA)}, 5)...)
}
