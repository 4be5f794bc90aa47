package stage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Every host gets the programs of its own architecture, and a bundle that lacks one of
// them is found out before any host is touched.
func TestMixedArchitectures(t *testing.T) {
	mixed := func() Input {
		in := testInput(t, "1.36")
		bothArches(in.Lock)
		f := in.Facts["node-2"]
		f.Arch = "arm64"
		in.Facts["node-2"] = f
		return in
	}
	in := mixed()
	if bad := Failed(completeness(in)); len(bad) > 0 {
		t.Fatalf("complete bundle: %v", bad)
	}
	for host, arch := range map[string]string{"cp-1": "amd64", "node-1": "amd64", "node-2": "arm64"} {
		a := steps(t, in, "node", host)["program-kubelet"].Step.(*step.Artifact)
		i := slices.IndexFunc(in.Lock.Artifacts, func(x manifests.Artifact) bool { return x.Name == "kubelet" && x.Platform == "linux/"+arch })
		if a.Digest != plain(in.Lock.Artifacts[i]) {
			t.Errorf("%s gets a kubelet of another architecture", host)
		}
	}
	in = mixed()
	in.Lock.Artifacts = slices.DeleteFunc(in.Lock.Artifacts, func(a manifests.Artifact) bool {
		return a.Name == "kubelet" && a.Platform == "linux/arm64"
	})
	if bad := fmt.Sprint(Failed(completeness(in))); !strings.Contains(bad, `"kubelet" (linux/arm64)`) {
		t.Errorf("without the kubelet for arm64: %s", bad)
	}
}
