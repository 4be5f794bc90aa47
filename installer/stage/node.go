package stage

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

const (
	kubeletDir  = "/var/lib/kubelet"
	kubeletCfg  = kubeDir + "/kubelet.json"
	kubeletConf = kubeletDir + "/kubeconfig" // written by the kubelet
	kubeletPKI  = kubeletDir + "/pki"        // the default of the kubelet
	kubeletCert = kubeletPKI + "/" + step.KubeletCert
	bootstrap   = kubeDir + "/bootstrap-kubelet.conf"
	// resolvConf is the default of kubelet and containerd.
	resolvConf = "/etc/resolv.conf"
)

// metadataRoute leads nowhere: closed networks drop packets to the metadata service of
// clouds.
var metadataRoute = &step.Route{Destination: "169.254.169.254"}

// nodeSteps returns the steps that start kubelet and kube-proxy, on control planes
// too. The kubelet requests its client certificate with the bootstrap token and
// renews it.
func nodeSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "node"}
	if !h.IsNode() {
		return l.done()
	}
	l.apiProxy(in, h)
	l.endpoint(in)
	l.programs(in, h, "kubelet")
	if in.Lock.Release.Features.MetadataRoute {
		l.add("metadata-route", metadataRoute).Why = "a kubelet of this version connects to it and hangs for 20 s if the network drops packets"
	}
	if r := in.serviceRoute(h); r != nil {
		l.add("service-route", r).Why = "without a default route, programs of the host cannot connect to services"
	}
	if f, ok := in.Facts[h.Name]; ok && f.ResolvConf == "" {
		it := l.add("resolv-conf", &step.Block{
			Path: resolvConf, Lines: []string{"# The host has no name servers; container runtimes want the file all the same."},
		})
		it.Why, it.Unless = "a host without name servers may lack the file, and then no pod starts", resolvConf
	}
	cfg, err := kubeletConfig(in, h)
	l.fail(err)
	l.add("kubelet-config", &step.File{Path: kubeletCfg, Content: cfg, Mode: 0o600})
	l.add("kubelet-join", &step.KubeletJoin{
		Node: h.Name, Kubeconfig: kubeletConf, CertDir: kubeletPKI, CAFile: kubeCA,
		Server: "https://" + in.Cluster.NodeEndpoint(), Pods: cleanup(in),
	}).Why = "a kubelet whose certificate expired or whose node was deleted does not come back by itself"
	it := l.add("bootstrap", &step.File{
		Path: bootstrap, Secret: pki.RefBootstrapKubeconfig, Mode: 0o600,
	})
	it.Why, it.Unless = "the kubelet requests its certificate with it", kubeletCert
	if in.Alone.Host != "" {
		it := l.add("joinable", &kube.Healthy{Kubeconfig: bootstrap})
		it.Why, it.Unless, it.Awaits = "the kubelet joins with its token", kubeletCert, in.firstOthers(h)
	}
	l.add("kubelet-unit", kubelet(in, h).step(kubeletCfg, kubeCA))
	l.add("kubelet-certificate", &step.Wait{
		// It writes its kubeconfig before it has the certificate.
		Argv: []string{"test", "-s", kubeletCert}, Timeout: step.Duration(5 * time.Minute),
		Text: "the kubelet has its client certificate",
	})
	l.add("no-bootstrap", &step.Absent{Path: bootstrap}).Why = "its token is not needed any more"
	l.add("kubelet-healthy", &step.Wait{URL: "http://127.0.0.1:10248/healthz", Text: "the kubelet is healthy"})
	l.kubeProxy(in, h)
	return l.done()
}

func kubelet(in Input, h manifests.Host) daemon {
	rt := in.runtime()
	common := flags{
		"config": kubeletCfg, "kubeconfig": kubeletConf, "bootstrap-kubeconfig": bootstrap,
		"hostname-override": h.Name, "node-ip": strings.Join(allAddressesOf([]manifests.Host{h}), ","),
		"container-runtime-endpoint": rt.socket(),
		"volume-plugin-dir":          volumePlugins,
	}
	if t := nodeTaints(in, h); len(t) > 0 {
		// From the start, so that no pod is scheduled before the taint.
		common["register-with-taints"] = strings.Join(t, ",")
	}
	service := []string{"CPUAccounting=yes", "MemoryAccounting=yes", "KillMode=process"}
	if in.Lock.Release.Features.MetadataRoute {
		service = append(service, atStart(metadataRoute))
	}
	if r := in.serviceRoute(h); r != nil {
		service = append(service, atStart(r))
	}
	args := mergeFlags(in, "kubelet", common, nil)
	rt.flags(in, args)
	maps.Copy(args, in.Cluster.Kubelet.Args)
	return daemon{
		name: "kubelet", about: "kubelet, the node agent of Kubernetes", after: []string{rt.unit() + ".service"},
		flags: args, service: service,
	}
}

// nodeTaints returns the taints of cluster.yaml as "key=value:Effect", and for a
// control plane that is not a worker those that keep other pods away.
func nodeTaints(in Input, h manifests.Host) []string {
	var out []string
	for _, t := range h.Taints {
		key, effect, _ := strings.Cut(t, ":")
		if !strings.Contains(key, "=") {
			key += "=" // the form that kubelets of all minors accept
		}
		out = append(out, key+":"+effect)
	}
	if h.HasRole(manifests.RoleControlPlane) && !h.HasRole(manifests.RoleWorker) {
		for _, k := range in.Lock.Release.Features.ControlPlaneTaints {
			out = append(out, k+"=:NoSchedule")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// kubeletConfig returns the KubeletConfiguration: the common fields, which all minors
// support, with those of the release and then those of cluster.yaml over them.
func kubeletConfig(in Input, h manifests.Host) (string, error) {
	dns, err := in.Cluster.ServiceIP(10)
	if err != nil {
		return "", err
	}
	common := table{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": table{
			"anonymous": table{"enabled": false},
			"webhook":   table{"enabled": true},
			"x509":      table{"clientCAFile": kubeCA},
		},
		"authorization":      table{"mode": "Webhook"},
		"readOnlyPort":       0,
		"rotateCertificates": true, "serverTLSBootstrap": true,
		"tlsMinVersion": "VersionTLS12", "tlsCipherSuites": tlsCiphers,
		"cgroupDriver": in.Cluster.CgroupDriver(),
		"clusterDNS":   []string{in.podDNS(dns)}, "clusterDomain": in.Cluster.DNSDomain(),
		"healthzBindAddress": "127.0.0.1", "healthzPort": 10248,
		"containerLogMaxSize": "10Mi", "containerLogMaxFiles": 5,
		"protectKernelDefaults": in.protectsKernel(),
	}
	if conf := in.Facts[h.Name].ResolvConf; conf != "" && conf != resolvConf {
		common["resolvConf"] = conf
	}
	maps.Copy(common, reserved(in, h))
	cfg := merge(merge(common, in.Lock.Release.KubeletConfig), in.Cluster.Kubelet.Config)
	return jsonConfig(cfg)
}
