package stage

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Locations of docker. The kubelet itself serves the runtime interface at dockerShim.
const (
	dockerDir  = "/etc/docker"
	dockerCfg  = dockerDir + "/daemon.json"
	dockerData = "/var/lib/docker"
	dockerShim = "unix:///run/dockershim.sock"
)

// docker is the runtime of kubelets with dockershim. Its images are loaded from the
// bundle, and objects name them by tag: docker knows the digest only of what it pulled, and
// pulls through a mirror from Docker Hub alone.
type docker struct{}

func (docker) socket() string  { return dockerShim }
func (docker) unit() string    { return "docker" }
func (docker) dataDir() string { return dockerData }

func (docker) programs(in Input) (string, []string) {
	var names []string
	for _, c := range in.Lock.Release.Components {
		if c.Name == manifests.RuntimeDocker {
			names = c.Programs()
		}
	}
	return manifests.RuntimeDocker, names
}

func (docker) image(in Input, h manifests.Host, a manifests.Artifact) step.Step {
	return &step.DockerImage{Name: a.Name, Digest: a.Blob.Digest, Arch: in.arch(h)}
}

func (docker) ref(a manifests.Artifact) string { return a.Name }

func (docker) flags(in Input, f flags) {
	maps.Copy(f, flags{
		"container-runtime": "docker", "docker-endpoint": "unix:///run/docker.sock",
		"network-plugin": "cni", "cni-conf-dir": cniConf, "cni-bin-dir": cniBin,
		"image-pull-progress-deadline": "10m", "pod-infra-container-image": in.Lock.Release.Images["pause"].Ref,
	})
}

// cleanup covers what docker makes if cluster.yaml gives it back its network.
func (docker) cleanup(c *step.Cleanup) {
	c.Docker = true
	c.Interfaces = append(slices.Clone(c.Interfaces), "docker0")
	c.Chains = append(slices.Clone(c.Chains), "DOCKER")
	c.Files = append(slices.Clone(c.Files), strings.TrimPrefix(dockerShim, "unix://"))
}

func (docker) directories(l *list, in Input) {
	// The first file of docker on a host: a node with it has docker, see installedRuntime.
	l.add("folder", &step.Directory{Path: dockerDir, Purge: true})
	conf, err := dockerConfig(in)
	l.fail(err)
	l.add("config", &step.File{Path: dockerCfg, Content: conf})
	l.add("run", &step.Directory{Path: "/run/containerd", Mode: 0o711, Purge: true})
	l.add("run-docker", &step.Directory{Path: "/run/docker", Mode: 0o700, Purge: true})
	l.add("data-containerd", &step.Directory{Path: containerdData, Mode: 0o700, Purge: true})
	// As the daemon sets it: it is closed to others since 20.10.9.
	mode := step.Mode(0o711)
	if in.Lock.Release.DockerMajor() >= 20 {
		mode = 0o710
	}
	l.add("data", &step.Directory{Path: dockerData, Mode: mode, Purge: true})
	l.add("data-shim", &step.Directory{Path: "/var/lib/dockershim", Purge: true})
}

func (docker) service(l *list, in Input, _ manifests.Host) {
	l.add("containerd-folder", &step.Directory{Path: containerdDir, Purge: true})
	// No kubelet connects to it. Every version of containerd in docker reads this form.
	l.add("containerd-config", &step.File{Path: containerdCfg, Content: "disabled_plugins = [\"cri\"]\n"})
	for i, raw := range in.Cluster.Mirror.Addresses() {
		id := "mirror-ca"
		if i > 0 {
			id += "-" + strconv.Itoa(i+1)
		}
		if u, err := url.Parse(raw); err == nil && in.caFile() != "" {
			l.add(id, &step.File{
				Path: dockerDir + "/certs.d/" + u.Host + "/ca.crt", Content: string(in.MirrorCA),
			}).Why = "images of Docker Hub that the bundle adds come from the mirror"
		}
	}
	runtimes := []string{step.BinDir + "/runc"}
	_, names := docker{}.programs(in)
	for _, n := range names {
		if strings.HasPrefix(n, "containerd-shim") {
			runtimes = append(runtimes, step.BinDir+"/"+n)
		}
	}
	backend := containerdDaemon()
	backend.about, backend.kind = "containerd of docker", "" // containerd 1.2 does not report that it is ready
	l.add("containerd-unit", backend.step(append(runtimes, containerdCfg)...))
	l.add("unit", dockerDaemon().step(dockerCfg))
}

func dockerDaemon() daemon {
	return daemon{
		name: "docker", program: "dockerd", about: "docker, the container runtime", kind: "notify",
		after:   []string{"containerd.service"},
		flags:   flags{"config-file": dockerCfg, "containerd": strings.TrimPrefix(containerdSock, "unix://")},
		service: append([]string{"TimeoutStartSec=5min"}, containerdDaemon().service...),
	}
}

// dockerConfig returns daemon.json with runtime.config of cluster.yaml merged over it. The
// pod network connects pods, so that docker needs no bridge and no rules.
func dockerConfig(in Input) (string, error) {
	conf := table{}
	if err := json.Unmarshal([]byte(in.clientConf().DockerDaemon()), &conf); err != nil {
		return "", fmt.Errorf("mirror of docker: %w", err)
	}
	maps.Copy(conf, table{
		"exec-opts":      []string{"native.cgroupdriver=" + in.Cluster.CgroupDriver()},
		"storage-driver": "overlay2", "live-restore": true,
		"log-driver": "json-file", "log-opts": table{"max-size": "10m", "max-file": "5"},
		"bridge": "none", "iptables": false, "ip-masq": false,
	})
	return jsonConfig(merge(conf, in.Cluster.Runtime.Config))
}
