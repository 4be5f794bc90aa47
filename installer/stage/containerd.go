package stage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Locations of containerd.
const (
	containerdDir  = "/etc/containerd"
	containerdCfg  = containerdDir + "/config.toml"
	containerdData = "/var/lib/containerd"
	containerdSock = "unix:///run/containerd/containerd.sock"
)

// containerd pulls images from the mirror by digest, so that a tag that moves changes
// no pod.
type containerd struct{}

func (containerd) socket() string  { return containerdSock }
func (containerd) unit() string    { return "containerd" }
func (containerd) dataDir() string { return containerdData }

func (containerd) programs(Input) (string, []string) {
	return "", []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"}
}

func (containerd) image(in Input, _ manifests.Host, a manifests.Artifact) step.Step {
	return &step.Image{Name: a.Name, Digest: a.Blob.Digest, PullArgs: in.Lock.Release.Features.CtrPullArgs}
}

func (containerd) ref(a manifests.Artifact) string { return step.ImageRef(a.Name, a.Blob.Digest) }

func (containerd) flags(Input, flags) {}

func (containerd) cleanup(*step.Cleanup) {}

func (containerd) directories(l *list, in Input) {
	l.add("run", &step.Directory{Path: "/run/containerd", Mode: 0o711, Purge: true})
	l.add("data", &step.Directory{Path: containerdData, Mode: 0o700, Purge: true})
	if in.Lock.Release.Features.ContainerdConfig >= 3 {
		l.add("run-nri", &step.Directory{Path: "/run/nri", Mode: 0o700, Purge: true})
	}
}

func (containerd) service(l *list, in Input, h manifests.Host) {
	l.add("folder", &step.Directory{Path: containerdDir, Purge: true})
	mirrors := in.clientConf()
	mirrors.Peer = in.peer(h)
	for _, reg := range registries(in) {
		l.add("registry-"+reg, &step.File{
			Path: step.CertsDir + "/" + reg + "/hosts.toml", Content: mirrors.HostsTOML(),
		}).Why = "its images come from the mirror"
	}
	conf, err := containerdConfig(in)
	l.fail(err)
	l.add("config", &step.File{Path: containerdCfg, Content: conf})
	l.add("unit", containerdDaemon().step(containerdCfg, step.BinDir+"/containerd-shim-runc-v2", step.BinDir+"/runc"))
}

func containerdDaemon() daemon {
	return daemon{
		name: "containerd", about: "containerd, the container runtime", kind: "notify",
		flags: flags{"config": containerdCfg},
		service: []string{
			// Containers keep running when containerd restarts.
			"KillMode=process", "Delegate=yes", lastToDie,
			"LimitNOFILE=1048576", "LimitNPROC=infinity", "LimitCORE=infinity", "TasksMax=infinity",
		},
	}
}

// registries returns the registries of all images in the bundle.
func registries(in Input) []string {
	var out []string
	for _, a := range in.Lock.Artifacts {
		if a.Kind == manifests.KindImage {
			host, _, _ := strings.Cut(a.Name, "/")
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// containerdConfig returns config.toml in the version that the release needs, with
// runtime.config of cluster.yaml merged over it.
func containerdConfig(in Input) (string, error) {
	pause, ok := in.Lock.Release.Images["pause"]
	if !ok {
		return "", fmt.Errorf("release %s names no pause image", in.Lock.Minor)
	}
	sandbox, err := in.imageRef(pause.Ref)
	if err != nil {
		return "", err
	}
	var base map[string]any
	switch v := in.Lock.Release.Features.ContainerdConfig; v {
	case 2:
		base = containerdV2(in, sandbox)
	case 3:
		base = containerdV3(in, sandbox)
	default:
		return "", fmt.Errorf("containerd configuration version %d: want 2 or 3", v)
	}
	b, err := toml.Marshal(merge(base, in.Cluster.Runtime.Config))
	if err != nil {
		return "", fmt.Errorf("cluster.yaml: runtime.config: %w", err)
	}
	return string(b), nil
}

type table = map[string]any

func runcRuntime(in Input) table {
	return table{
		"runtime_type": "io.containerd.runc.v2",
		"options": table{
			"BinaryName": step.BinDir + "/runc", "SystemdCgroup": in.Cluster.CgroupDriver() == "systemd",
		},
	}
}

func containerdV2(in Input, sandbox string) table {
	return table{
		"version": 2,
		"plugins": table{"io.containerd.grpc.v1.cri": table{
			"sandbox_image": sandbox,
			"containerd":    table{"default_runtime_name": "runc", "runtimes": table{"runc": runcRuntime(in)}},
			"registry":      table{"config_path": step.CertsDir},
		}},
	}
}

func containerdV3(in Input, sandbox string) table {
	return table{
		"version": 3,
		"plugins": table{
			"io.containerd.cri.v1.images": table{
				"pinned_images": table{"sandbox": sandbox},
				"registry":      table{"config_path": step.CertsDir},
			},
			"io.containerd.cri.v1.runtime": table{
				"containerd": table{"default_runtime_name": "runc", "runtimes": table{"runc": runcRuntime(in)}},
			},
		},
	}
}
