package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/drill"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
)

// closing informs the administrator after a successful install.
type closing struct {
	access
	Kubernetes string `json:"kubernetes,omitempty"`
	Nodes      int    `json:"nodes,omitempty"`
	NodesReady int    `json:"nodesReady,omitempty"`
	// FirstCertificate is the one that ends first, of those that offk8s renews.
	FirstCertificate    string    `json:"firstCertificate,omitempty"`
	FirstCertificateEnd time.Time `json:"firstCertificateEnd,omitzero"`
	// Host is the host that has installed itself; empty if all hosts were installed.
	Host string `json:"host,omitempty"`
	// BackUp is the directory to back up.
	BackUp string `json:"backUp,omitempty"`
	// Drills are those after a first installation.
	Drills []drill.Result `json:"drills,omitempty"`
}

// lastWords writes the administrator's kubeconfig and returns the closing of a run
// that succeeded.
func lastWords(in stage.Input, r *installer.Report, credentials *pki.Credentials, dir string) (closing, error) {
	reach, err := writeKubeconfig(in.Cluster, credentials, dir)
	if err != nil {
		return closing{}, err
	}
	out := closing{access: reach, Kubernetes: in.Lock.Kubernetes, BackUp: dir}
	out.FirstCertificate, out.FirstCertificateEnd, err = credentials.FirstEnd()
	if err != nil {
		return closing{}, err
	}
	failed := map[string]bool{}
	for _, h := range r.Hosts {
		failed[h.Host] = h.Error != ""
	}
	for _, n := range in.Cluster.Nodes() { // a run that succeeds has seen all others ready
		out.Nodes++
		if !failed[n.Name] {
			out.NodesReady++
		}
	}
	return out, nil
}

func (c closing) writeText(w io.Writer, cluster string) {
	if c.Endpoint == "" {
		return
	}
	if c.Host != "" {
		fmt.Fprintf(w, "%s is done with its part of the cluster %q, Kubernetes %s\nendpoint: %s\n", c.Host, cluster, c.Kubernetes, c.Endpoint)
		if c.Kubeconfig != "" {
			fmt.Fprintf(w, "kubeconfig: %s\n", c.Kubeconfig)
		}
		return
	}
	fmt.Fprintf(w, "cluster %q runs Kubernetes %s, %d of %d nodes are ready\n", cluster, c.Kubernetes, c.NodesReady, c.Nodes)
	fmt.Fprintf(w, "endpoint: %s\nkubeconfig: %s\n", c.Endpoint, c.Kubeconfig)
	fmt.Fprintf(w, "  offk8s kubeconfig prints it; kubectl --kubeconfig %s get nodes uses it\n", c.Kubeconfig)
	if c.FirstCertificate != "" {
		fmt.Fprintf(w, "certificates: the first one ends on %s (%s); install renews each in its last 30 days\n",
			c.FirstCertificateEnd.Format(time.DateOnly), c.FirstCertificate)
	}
	if len(c.Drills) > 0 {
		_ = writeDrills(w, c.Drills) // as above
	}
	fmt.Fprintf(w, "back up the directory %s: without it nobody can change this cluster\n", c.BackUp)
}

// runOutput is the result of install and reset.
type runOutput struct {
	Changed int `json:"changed"` // how many steps
	Pending int `json:"pending"` // steps that a dry run would apply
	Failed  int `json:"failed"`  // how many hosts
	closing
	Slowest slowStep `json:"slowest,omitzero"`
	Log     string   `json:"log,omitempty"` // file
	*installer.Report
}

// runResult prints the report of a run, with the totals that scripts read and, if the
// cluster runs, the closing words.
func (a *app) runResult(r *installer.Report, run *clusterRun, end closing) error {
	v := runOutput{r.Changed(), r.Pending(), len(r.Hosts) - len(r.Unaffected()), end, run.slowest.step, run.logFile, r}
	return a.result(v, func(w io.Writer) error {
		var b strings.Builder
		if err := r.WriteText(&b); err != nil {
			return err
		}
		if a.verbose > 0 || v.Failed > 0 {
			if err := r.WriteCounts(&b); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "changed: %d, would change: %d, hosts failed: %d\n", v.Changed, v.Pending, v.Failed)
		if r.Mode == agent.ModeUndo && v.Changed+v.Failed == 0 {
			fmt.Fprintf(&b, "there was nothing of offk8s to undo\n")
		}
		end.writeText(&b, r.Cluster)
		if r.Mode != agent.ModeCheck {
			writeTimes(&b, r, v.Slowest)
		}
		if v.Log != "" {
			fmt.Fprintf(&b, "log of this run: %s\n", v.Log)
		}
		_, err := io.WriteString(w, b.String())
		return err
	})
}

// writeTimes writes how long the run, its stages and the slowest step took. It leaves
// out stages of less than half a second.
func writeTimes(w io.Writer, r *installer.Report, slowest slowStep) {
	var stages []string
	for _, s := range r.Stages {
		if s.Took >= time.Second/2 {
			stages = append(stages, s.Name+" "+seconds(s.Took))
		}
	}
	fmt.Fprintf(w, "took %s%s\n", seconds(r.Took), reason(strings.Join(stages, ", ")))
	if slowest.Seconds >= 1 {
		fmt.Fprintf(w, "slowest step: %s on %s, %s\n", slowest.ID, slowest.Host, seconds(time.Duration(slowest.Seconds*float64(time.Second))))
	}
}
