package stage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
)

// The plan of a three-host cluster: every step in words, and every file that it
// writes, unit files included.
func TestPlanGolden(t *testing.T) {
	for _, minor := range []string{"1.16", "1.36"} {
		t.Run(minor, func(t *testing.T) {
			in := testInput(t, minor)
			var words, files strings.Builder
			kinds := step.All().With(kube.Kinds())
			ids := map[string]bool{}
			for it := range plan(t, in) {
				key := it.host.Name + " " + it.ID
				if ids[key] {
					t.Errorf("step %q twice", key)
				}
				ids[key] = true
				fmt.Fprintf(&words, "%-7s %-40s %s\n", it.host.Name, it.ID, it.Step.Describe())
				travels(t, kinds, it.Item)
				writeFile(&files, it.host.Name, it.Step)
			}
			golden(t, "plan-"+minor+".txt", words.String())
			golden(t, "files-"+minor+".txt", files.String())
		})
	}
}

func writeFile(b *strings.Builder, host string, s step.Step) {
	path, content := "", ""
	switch s := s.(type) {
	case *step.File:
		path, content = s.Path, s.Content
		if s.Secret != "" {
			content = "(" + string(s.Secret) + ")\n"
		}
	case *step.Unit:
		path, content = "/etc/systemd/system/"+s.Name, s.Content
	case *step.Block:
		path, content = s.Path, strings.Join(s.Lines, "\n")+"\n"
	}
	if content != "" {
		fmt.Fprintf(b, "-- %s%s --\n%s", host, path, content)
	}
}

// travels sends an item through JSON and the agent's decoder.
func travels(t *testing.T, kinds step.Kinds, it step.Item) {
	t.Helper()
	b, err := json.Marshal(it)
	if err != nil {
		t.Fatal(err)
	}
	back, err := kinds.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(b), string(again)); diff != "" {
		t.Errorf("%s changed on its way:\n%s", it.ID, diff)
	}
}

// Planning twice gives the same bytes: nothing comes from maps' order or a clock.
func TestPlanIsPure(t *testing.T) {
	render := func() string {
		in := testInput(t, "1.36")
		var b strings.Builder
		for it := range plan(t, in) {
			j, err := json.Marshal(it.Item)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(j)
		}
		return b.String()
	}
	if first := render(); first != render() {
		t.Error("two plans of one input differ")
	}
}

// Time comes before anything with a date on it, and that before its users.
func TestT48Order(t *testing.T) {
	var names []string
	for _, p := range Install().Stages {
		names = append(names, p.Name)
	}
	order := []string{"preflight", "mirror", "host", "time", "pki", "etcd", "quorum", "controlplane", "node", "join", "network", "nodenetwork", "ready", "dns", "smoke"}
	last := -1
	for _, n := range order {
		i := slices.Index(names, n)
		if i <= last {
			t.Errorf("stage %q is not after the ones before it in %v", n, order)
		}
		last = i
	}
	for _, host := range []string{"cp-1", "node-1"} {
		if _, ok := steps(t, testInput(t, "1.36"), "time", host)["synchronized"]; !ok {
			t.Errorf("%s does not wait for its clock", host)
		}
	}
}

// What the hosts are told to wait for is what chronyc prints.
func TestTimeWait(t *testing.T) {
	in := testInput(t, "1.36")
	sources := "MS Name/IP address         Stratum Poll Reach LastRx Last sample\n" +
		"===============================================================================\n" +
		"^* 10.0.0.11                     8   6    17     2   +1ns[ +2ns] +/-   10ms\n"
	w := steps(t, in, "time", "node-1")["synchronized"].Step.(*step.Wait)
	if !strings.Contains(sources, w.Expect) {
		t.Errorf("expects %q", w.Expect)
	}
	if strings.Contains(strings.Replace(sources, "^*", "^?", 1), w.Expect) {
		t.Errorf("%q is in the output of a host that follows nobody", w.Expect)
	}
	own := steps(t, in, "time", "cp-1")["synchronized"].Step.(*step.Wait)
	if !strings.Contains("Reference ID    : 7F7F0101 ()\nStratum         : 8\nRef time (UTC)  : x\n", own.Expect) {
		t.Errorf("expects %q", own.Expect)
	}
}

// A bundle that lacks something is found out before any host is touched.
func TestCompleteness(t *testing.T) {
	in := testInput(t, "1.36")
	if bad := Failed(completeness(in)); len(bad) > 0 {
		t.Fatalf("complete bundle: %v", bad)
	}
	for _, missing := range []string{"kubelet", "portmap", "registry.k8s.io/pause:3.10.2", "offk8s.dev/smoke:test"} {
		in := testInput(t, "1.36")
		for i, a := range in.Lock.Artifacts {
			if a.Name == missing {
				in.Lock.Artifacts = slices.Delete(in.Lock.Artifacts, i, i+1)
				break
			}
		}
		bad := Failed(completeness(in))
		if len(bad) == 0 || !strings.Contains(fmt.Sprint(bad), strings.TrimSuffix(missing, "test")) {
			t.Errorf("without %q: %v", missing, bad)
		}
	}
}

func TestPaths(t *testing.T) {
	in := testInput(t, "1.36")
	paths, err := Paths(in)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := in.image(in.Lock.Release.Images["coredns"].Ref)
	for _, want := range []string{
		"/files/kubernetes/kubelet",
		"/v2/coredns/coredns/manifests/" + a.Blob.Digest.String() + "?ns=registry.k8s.io",
	} {
		if !slices.Contains(paths, want) {
			t.Errorf("no %q in %v", want, paths)
		}
	}
}
