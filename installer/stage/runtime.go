package stage

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Locations that the container runtimes share.
const (
	cniBin  = "/opt/cni/bin"
	cniConf = "/etc/cni/net.d"
)

// containerRuntime is what differs between container runtimes on a host: programs,
// files and units, what the kubelet needs, and how images get to the host and into
// objects. All of them run containers with runc.
type containerRuntime interface {
	// socket is the one of the runtime interface (CRI), for kubelet and crictl.
	socket() string
	// unit is the service that the kubelet starts after, without ".service".
	unit() string
	// dataDir has the images and the file systems of containers.
	dataDir() string
	// programs are those that get a link in step.BinDir, and the component of the release
	// whose files they are, "" if the names alone identify them.
	programs(in Input) (component string, names []string)
	// flags changes those that the kubelet has for the release.
	flags(in Input, f flags)
	// image is the step that puts an image of the bundle on the host.
	image(in Input, h manifests.Host, a manifests.Artifact) step.Step
	// ref names an image in objects.
	ref(a manifests.Artifact) string
	// directories adds the steps for directories whose content the runtime makes.
	directories(l *list, in Input)
	// service adds the steps for configuration and units.
	service(l *list, in Input, h manifests.Host)
	// cleanup adds to what reset ends and removes.
	cleanup(c *step.Cleanup)
}

// runtime returns the container runtime of the cluster.
func (in Input) runtime() containerRuntime {
	if in.runtimeName() == manifests.RuntimeDocker {
		return docker{}
	}
	return containerd{}
}

// runtimeName returns the runtime that cluster.yaml names, or else the one of the bundle.
func (in Input) runtimeName() string { return cmp.Or(in.Cluster.Runtime.Name, in.Lock.Runtime) }

// runtimeSteps returns the steps that install the container runtime and the CNI
// plugins on every node.
func runtimeSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "runtime"}
	if !h.IsNode() {
		return l.done()
	}
	rt := in.runtime()
	component, names := rt.programs(in)
	for _, n := range names {
		l.componentProgram(in, h, component, n)
	}
	if in.hasFile(h, "crictl") {
		l.programs(in, h, "crictl")
		l.add("crictl.yaml", &step.File{Path: "/etc/crictl.yaml", Content: crictlConf(rt.socket())})
	}
	l.add("cni-bin", &step.Directory{Path: cniBin, Purge: true})
	l.install(in, h, cniBin, cniPlugins(in, h)...)
	l.add("cni-conf", &step.Directory{Path: cniConf, Purge: true})
	if !in.skips("selinux") {
		var labels []step.Label
		for _, n := range names {
			if a, err := in.componentFile(h, component, n); err == nil && runsContainers(n) { // else an error already
				labels = append(labels, step.Label{Path: programPath(a, n), Type: "container_runtime_exec_t"})
			}
		}
		l.add("selinux", &step.SELinux{Labels: labels}).Why = "from these types SELinux derives the domain of containers"
	}
	rt.directories(l, in)
	// Before the controller manager creates a directory in it: reset empties only
	// directories that were empty at first.
	l.add("kubelet-data", &step.Directory{Path: kubeletDir, Mode: 0o750, Purge: true})
	for _, d := range []string{"pods", "containers"} {
		l.add("log-"+d, &step.Directory{Path: "/var/log/" + d, Purge: true})
	}
	labelDirectories(l, in, h, rt)
	rt.service(l, in, h)
	pods := cleanup(in)
	l.add("cleanup", &pods)
	return l.done()
}

// labelDirectories adds the step that gives directories the types of the policy that came
// with the packages.
func labelDirectories(l *list, in Input, h manifests.Host, rt containerRuntime) {
	if mode := in.Facts[h.Name].SELinux; in.skips("selinux") || mode == "" || mode == "disabled" {
		return
	}
	l.add("selinux-directories", &step.SELinux{
		Restore: []string{cniBin, cniConf, kubeletDir, rt.dataDir(), "/etc/kubernetes", "/var/log/pods", "/var/log/containers"},
	}).Why = "directories that are made have the types of those above them"
}

// runsContainers reports whether a program of a runtime runs containers; the others
// are clients.
func runsContainers(program string) bool {
	return program == "runc" || program == "dockerd" || strings.HasPrefix(program, "containerd")
}

// cleanup lists the leftovers of pods and their network on a host.
func cleanup(in Input) step.Cleanup {
	cni := in.Lock.CNIRelease
	out := step.Cleanup{
		Interfaces: cni.Interfaces, Files: cniFiles(in), Chains: cni.Chains, RuleComments: cni.RuleComments, IPSets: cni.IPSets,
		PodCIDR: in.Cluster.PodCIDR(),
	}
	if in.usesIPVS() {
		out.ServiceCIDR, out.NodePorts = in.Cluster.ServiceCIDR(), in.Cluster.NodePorts()
	}
	for _, a := range in.Lock.Addons {
		out.Interfaces = append(slices.Clone(out.Interfaces), a.Release.Interfaces...)
		out.RuleComments = append(slices.Clone(out.RuleComments), a.Release.RuleComments...)
	}
	in.runtime().cleanup(&out)
	return out
}

func crictlConf(socket string) string {
	return "runtime-endpoint: " + socket + "\nimage-endpoint: " + socket + "\ntimeout: 10\n"
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
