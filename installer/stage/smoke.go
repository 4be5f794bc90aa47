package stage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// smokeSteps returns the step that tests whether the cluster runs pods. A passed test
// is not repeated until the bundle or the Cluster changes.
func smokeSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "smoke"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	image, err := in.smokeImage()
	l.fail(err)
	described, err := json.Marshal(in.Cluster)
	l.fail(err)
	sum := sha256.Sum256(append(described, in.Root.String()...))
	l.add("test", &kube.Smoke{
		Image: image.Name, Digest: image.Blob.Digest, Nodes: in.nodeNames(), Domain: in.Cluster.DNSDomain(),
		Isolated: in.isolated(), ByTag: in.runtimeName() == manifests.RuntimeDocker,
		Fingerprint: hex.EncodeToString(sum[:16]),
	})
	return l.done()
}
