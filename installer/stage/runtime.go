package stage

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Locations of the container runtime.
const (
	cniBin        = "/opt/cni/bin"
	cniConf       = "/etc/cni/net.d"
	containerdDir = "/etc/containerd"
	containerdCfg = containerdDir + "/config.toml"
	criSocket     = "unix:///run/containerd/containerd.sock"
)

// runtimeSteps returns the steps that install containerd, runc and the CNI plugins on
// every node.
func runtimeSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "runtime"}
	if !h.IsNode() {
		return l.done()
	}
	l.programs(in, h, "containerd", "containerd-shim-runc-v2", "ctr", "runc")
	if in.hasFile(h, "crictl") {
		l.programs(in, h, "crictl")
		l.add("crictl.yaml", &step.File{Path: "/etc/crictl.yaml", Content: crictlConf})
	}
	l.add("cni-bin", &step.Directory{Path: cniBin, Purge: true})
	l.install(in, h, cniBin, cniPlugins(in, h)...)
	l.add("cni-conf", &step.Directory{Path: cniConf, Purge: true})
	if !in.skips("selinux") {
		var labels []step.Label
		for _, n := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
			if a, err := in.file(h, n); err == nil { // else an error already
				labels = append(labels, step.Label{Path: programPath(a, n), Type: "container_runtime_exec_t"})
			}
		}
		l.add("selinux", &step.SELinux{Labels: labels}).Why = "from these types SELinux derives the domain of containers"
	}
	l.add("run", &step.Directory{Path: "/run/containerd", Mode: 0o711, Purge: true})
	l.add("data", &step.Directory{Path: "/var/lib/containerd", Mode: 0o700, Purge: true})
	if in.Lock.Release.Features.ContainerdConfig >= 3 {
		l.add("run-nri", &step.Directory{Path: "/run/nri", Mode: 0o700, Purge: true})
	}
	// Before the controller manager creates a directory in it: reset empties only
	// directories that were empty at first.
	l.add("kubelet-data", &step.Directory{Path: kubeletDir, Mode: 0o750, Purge: true})
	for _, d := range []string{"pods", "containers"} {
		l.add("log-"+d, &step.Directory{Path: "/var/log/" + d, Purge: true})
	}
	l.add("folder", &step.Directory{Path: containerdDir, Purge: true})
	for _, reg := range registries(in) {
		l.add("registry-"+reg, &step.File{
			Path: step.CertsDir + "/" + reg + "/hosts.toml", Content: in.clientConf().HostsTOML(),
		}).Why = "its images come from the mirror"
	}
	conf, err := containerdConfig(in)
	l.fail(err)
	l.add("config", &step.File{Path: containerdCfg, Content: conf})
	l.add("unit", containerdDaemon().step(containerdCfg, step.BinDir+"/containerd-shim-runc-v2", step.BinDir+"/runc"))
	pods := cleanup(in)
	l.add("cleanup", &pods)
	return l.done()
}

// cleanup lists the leftovers of pods and their network on a host.
func cleanup(in Input) step.Cleanup {
	return step.Cleanup{
		Interfaces: in.Lock.CNIRelease.Interfaces, Files: cniFiles(in), Chains: in.Lock.CNIRelease.Chains,
		RuleComments: in.Lock.CNIRelease.RuleComments, PodCIDR: in.Cluster.PodCIDR(),
	}
}

const crictlConf = "runtime-endpoint: " + criSocket + "\nimage-endpoint: " + criSocket + "\ntimeout: 10\n"

func containerdDaemon() daemon {
	return daemon{
		name: "containerd", about: "containerd, the container runtime", kind: "notify",
		flags: flags{"config": containerdCfg},
		service: []string{
			// Containers keep running when containerd restarts.
			"KillMode=process", "Delegate=yes",
			"LimitNOFILE=1048576", "LimitNPROC=infinity", "LimitCORE=infinity", "TasksMax=infinity",
		},
	}
}

// cniPlugins returns the names of the CNI plugins in the bundle.
func cniPlugins(in Input, h manifests.Host) []string {
	var out []string
	for _, c := range in.Lock.Release.Components {
		if c.Name != "cni-plugins" {
			continue
		}
		for _, m := range c.Members {
			out = append(out, path.Base(strings.ReplaceAll(m, "{arch}", in.arch(h))))
		}
	}
	return out
}

// cniFiles returns the files of the pod network outside the directories that reset
// empties anyway.
func cniFiles(in Input) []string {
	var out []string
	for _, f := range in.Lock.CNIRelease.Files {
		if !strings.HasPrefix(f, cniBin+"/") && !strings.HasPrefix(f, cniConf+"/") {
			out = append(out, f)
		}
	}
	return out
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
