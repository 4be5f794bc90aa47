package kube

import (
	"context"
	"errors"
	"fmt"
)

type object = map[string]any

func smokeNamespace(name string) object {
	return object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": name}}
}

func smokeService(ns, name string, selector map[string]string) object {
	return object{
		"apiVersion": "v1", "kind": "Service", "metadata": object{"name": name, "namespace": ns},
		"spec": object{
			"selector": selector,
			"ports":    []any{object{"name": "http", "port": 80, "targetPort": 8080}},
		},
	}
}

// podSpec returns a pod of the smoke image with minimal privileges.
func (r *smokeRun) podSpec(args ...string) object {
	field := func(name, path string) object {
		return object{"name": name, "valueFrom": object{"fieldRef": object{"fieldPath": path}}}
	}
	return object{
		"automountServiceAccountToken":  false,
		"terminationGracePeriodSeconds": 1,
		"securityContext":               object{"runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534},
		"containers": []any{object{
			"name": "smoke", "image": r.ref(), "imagePullPolicy": "IfNotPresent",
			"command": []string{"/offk8s", "smoke-server"}, "args": args,
			"env": []any{
				field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
				field("NODE_NAME", "spec.nodeName"),
			},
			"securityContext": object{
				"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
				"capabilities": object{"drop": []string{"ALL"}},
			},
		}},
	}
}

func (r *smokeRun) server() object {
	spec := r.podSpec("serve", "--listen", ":8080")
	c := spec["containers"].([]any)[0].(object)
	c["ports"] = []any{object{"containerPort": 8080}}
	c["readinessProbe"] = object{
		"httpGet": object{"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 30,
	}
	return spec
}

func workloadObject(kind, ns, name string, spec object) object {
	labels := object{"app": name}
	template := object{"metadata": object{"labels": labels}, "spec": spec}
	return object{
		"apiVersion": "apps/v1", "kind": kind, "metadata": object{"name": name, "namespace": ns},
		"spec": object{"selector": object{"matchLabels": labels}, "template": template},
	}
}

func (r *smokeRun) deployment(ns string, replicas int) object {
	d := workloadObject("Deployment", ns, "web", r.server())
	d["spec"].(object)["replicas"] = replicas
	return d
}

func (r *smokeRun) everywhere() object {
	spec := r.server()
	spec["tolerations"] = []any{object{"operator": "Exists"}}
	return workloadObject("DaemonSet", smokeA, "everywhere", spec)
}

// job starts a client pod in the first namespace that requests every URL and requires
// expect in each response.
func (r *smokeRun) job(ctx context.Context, expect string, urls ...string) (smokeEnd, error) {
	name, job := r.newJob("", expect, urls...)
	return r.begin(ctx, name, job)
}

// begin starts a Job.
func (r *smokeRun) begin(ctx context.Context, name string, job object) (smokeEnd, error) {
	return func(ctx context.Context) error { return r.finish(ctx, name) }, r.apply(ctx, job)
}

// newJob returns a Job whose pod expects text from the URLs, on any node if node is empty.
func (r *smokeRun) newJob(node, expect string, urls ...string) (name string, job object) {
	return r.clientJob(node, append([]string{"get", "--expect", expect, "--timeout", "60s"}, urls...)...)
}

// clientJob returns a Job whose pod runs the client with args, on any node if node is
// empty.
func (r *smokeRun) clientJob(node string, args ...string) (name string, job object) {
	r.jobs++
	name = fmt.Sprintf("client-%d", r.jobs)
	spec := r.podSpec(args...)
	spec["restartPolicy"] = "Never"
	if node != "" {
		spec["nodeSelector"] = object{"kubernetes.io/hostname": node}
		spec["tolerations"] = []any{object{"operator": "Exists"}}
	}
	return name, object{
		"apiVersion": "batch/v1", "kind": "Job", "metadata": object{"name": name, "namespace": smokeA},
		"spec": object{"backoffLimit": 0, "template": object{"metadata": object{"labels": object{"job": name}}, "spec": spec}},
	}
}

// finish waits until a Job has ended, and returns an error if it failed.
func (r *smokeRun) finish(ctx context.Context, name string) error {
	err := r.wait(ctx, "Job "+name, func(ctx context.Context) (string, error) {
		var j struct {
			Status struct{ Active, Succeeded, Failed int } `json:"status"`
		}
		if err := get(ctx, r.env, &j, apiPath("batch/v1", smokeA, "jobs", name)); err != nil {
			return "", err
		}
		if j.Status.Failed > 0 || j.Status.Succeeded > 0 {
			return "", nil
		}
		return fmt.Sprintf("Job %s has %d pods that run", name, j.Status.Active), nil
	})
	if err != nil {
		return err
	}
	return r.outcome(ctx, name)
}

// outcome returns an error with the last log lines if the Job failed.
func (r *smokeRun) outcome(ctx context.Context, name string) error {
	var j struct {
		Status struct{ Succeeded int } `json:"status"`
	}
	if err := get(ctx, r.env, &j, apiPath("batch/v1", smokeA, "jobs", name)); err != nil {
		return err
	}
	if j.Status.Succeeded > 0 {
		return nil
	}
	said, _ := kubectl(ctx, r.env, nil, "logs", "-n", smokeA, "-l", "job="+name, "--tail=5")
	if len(said) == 0 {
		return errors.New("the client pod failed without output")
	}
	return fmt.Errorf("the client pod failed: %s", r.env.LastLines(string(said), 5))
}
