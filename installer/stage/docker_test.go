package stage

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
)

// dockerInput is testInput with a bundle that has docker, which it uses.
func dockerInput(t *testing.T) Input {
	t.Helper()
	in := testInput(t, "1.16")
	r := &in.Lock.Release
	r.Components = slices.DeleteFunc(slices.Clone(r.Components), func(d catalog.Download) bool { return d.Name == "docker" })
	d := catalog.Download{Name: "docker", Version: "18.09.9", Members: []string{
		"docker/docker", "docker/dockerd", "docker/docker-init", "docker/docker-proxy", "docker/containerd",
		"docker/containerd-shim", "docker/ctr", "docker/runc",
	}}
	r.Components = append(r.Components, d)
	in.Lock.Runtime = "docker"
	for _, m := range d.Members {
		// Before the other containerd and runc, as a sorted Lock has them.
		in.Lock.Artifacts = slices.Insert(in.Lock.Artifacts, 0, manifests.Artifact{
			Kind: manifests.KindFile, Name: path.Base(m), Version: d.Version, Platform: "linux/amd64", Group: "files",
			Path: "docker/18.09.9/linux/amd64/" + path.Base(m), Mode: 0o755,
			Plain: manifests.Descriptor{Digest: digest.FromString(m)},
		})
	}
	return in
}

func TestDockerPlan(t *testing.T) {
	in := dockerInput(t)
	var b strings.Builder
	for it := range plan(t, in) {
		if it.host.Name != "node-1" || it.stage != "runtime" && it.stage != "images" {
			continue
		}
		b.WriteString(it.ID + ": " + it.Step.Describe() + "\n")
		switch s := it.Step.(type) {
		case *step.File:
			b.WriteString(s.Content)
		case *step.Unit:
			b.WriteString(s.Content)
		}
	}
	b.WriteString(steps(t, in, "node", "node-1")["kubelet-unit"].Step.(*step.Unit).Content)
	golden(t, "docker.txt", b.String())
}

// No object names an image by digest, and the programs are docker's.
func TestDockerNamesImagesByTag(t *testing.T) {
	in := dockerInput(t)
	for stage, id := range map[string]string{"network": "flannel", "dns": "coredns"} {
		apply := steps(t, in, stage, "cp-1")[id].Step.(*kube.Apply)
		all, err := json.Marshal(apply.Objects)
		if err != nil || strings.Contains(string(all), "@sha256") || strings.Contains(string(all), "imagePullPolicy\":\"Always") {
			t.Errorf("%s: %v: %s", stage, err, all)
		}
	}
	if s := steps(t, in, "smoke", "cp-1")["test"].Step.(*kube.Smoke); !s.ByTag {
		t.Error("the smoke test names its image by digest")
	}
	for _, it := range steps(t, in, "images", "cp-1") {
		if _, ok := it.Step.(*step.DockerImage); !ok {
			t.Errorf("%s: %s", it.ID, it.Step.Kind())
		}
	}
	got := steps(t, in, "runtime", "cp-1")["program-containerd"].Step.(*step.Artifact).Digest
	if want := digest.FromString("docker/containerd"); got != want {
		t.Errorf("containerd %s, want docker's", got)
	}
	in.Cluster.Runtime.Name = "containerd"
	got = steps(t, in, "runtime", "cp-1")["program-containerd"].Step.(*step.Artifact).Digest
	if got == digest.FromString("docker/containerd") {
		t.Error("containerd uses the programs of docker")
	}
}

// Images that the user added are loaded too, except those without a tag.
func TestDockerLoadsAllImages(t *testing.T) {
	in := dockerInput(t)
	for _, name := range []string{"r.example/app:1", "r.example/app@" + digest.FromString("x").String()} {
		in.Lock.Artifacts = append(in.Lock.Artifacts, manifests.Artifact{
			Kind: manifests.KindImage, Name: name, Blob: manifests.Descriptor{Digest: digest.FromString(name)},
		})
	}
	ids := slices.Collect(maps.Keys(steps(t, in, "images", "node-2")))
	if !slices.Contains(ids, "r.example/app:1") || slices.ContainsFunc(ids, func(s string) bool { return strings.Contains(s, "@") }) {
		t.Errorf("images %q", ids)
	}
}

func TestDockerPreflight(t *testing.T) {
	tests := map[string]struct {
		change func(*Input)
		check  string // that fails; "" if none
		found  string
	}{
		"docker": {func(*Input) {}, "", ""},
		"minor without docker": {func(in *Input) {
			*in = testInput(t, "1.36")
			in.Cluster.Runtime.Name = "docker"
		}, "runtime", "no docker in the bundle for Kubernetes 1.36"},
		"bundle without docker": {func(in *Input) {
			*in = testInput(t, "1.16")
			in.Lock.Release.Components = slices.DeleteFunc(in.Lock.Release.Components, func(d catalog.Download) bool { return d.Name == "docker" })
			in.Cluster.Runtime.Name = "docker"
		}, "runtime", "no docker in the bundle"},
		"docker of somebody else": {func(in *Input) { withState(in, nil, "/run/docker.sock") }, "foreign-state", "/run/docker.sock"},
		"docker that is stopped":  {func(in *Input) { withState(in, nil, "/var/lib/docker/image") }, "foreign-state", "/var/lib/docker/image"},
		"stopped docker beside containerd": {func(in *Input) {
			in.Cluster.Runtime.Name = "containerd"
			withState(in, nil, "/var/lib/docker/image", "/etc/docker/daemon.json")
		}, "", ""},
		"installed": {func(in *Input) {
			withState(in, &facts.Installed{Cluster: "test"}, "/etc/docker/daemon.json", "/run/docker.sock", "/var/lib/containerd")
		}, "", ""},
		"had containerd": {func(in *Input) { withState(in, &facts.Installed{Cluster: "test"}, "/var/lib/containerd") }, "same-runtime", "containerd"},
		"had docker": {func(in *Input) {
			in.Cluster.Runtime.Name = "containerd"
			withState(in, &facts.Installed{Cluster: "test"}, "/etc/docker/daemon.json", "/var/lib/containerd")
		}, "same-runtime", "docker"},
		"first install was interrupted": {func(in *Input) { withState(in, &facts.Installed{Cluster: "test"}) }, "", ""},
		"cgroup v2 for an old docker": {func(in *Input) {
			in.Lock.Release.Features.CgroupV2 = true
			f := in.Facts["node-1"]
			f.Cgroups = []int{2}
			in.Facts["node-1"] = f
		}, "cgroups", "2"},
	}
	for name, tt := range tests {
		in := dockerInput(t)
		// No setting turns the refusals of another runtime into warnings.
		in.Cluster.HostPrep.IgnorePreflight = []string{"runtime", "same-runtime"}
		tt.change(&in)
		var failed []Check
		for _, c := range preflight(in) {
			if c.Verdict == Fail && (c.Name == "runtime" || c.Name == "same-runtime" || c.Name == "foreign-state" || c.Name == "cgroups") {
				failed = append(failed, c)
			}
		}
		switch {
		case tt.check == "" && len(failed) > 0:
			t.Errorf("%s: %+v", name, failed)
		case tt.check != "" && (len(failed) != 1 || failed[0].Name != tt.check || !strings.Contains(failed[0].Found, tt.found) || failed[0].Hint == ""):
			t.Errorf("%s: %+v, want %s, found %q", name, failed, tt.check, tt.found)
		}
	}
}

func withState(in *Input, installed *facts.Installed, paths ...string) {
	f := in.Facts["node-1"]
	f.State, f.Installed = paths, installed
	in.Facts["node-1"] = f
}
