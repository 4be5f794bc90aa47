package stage

import (
	"strings"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

const (
	etcdData       = "/var/lib/etcd"
	etcdClientPort = "2379"
	etcdPeerPort   = "2380"
)

// etcdSteps returns the steps that start the member. They do not wait for it, because
// members become ready together; the next stage waits.
func etcdSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "etcd"}
	if !h.HasRole(manifests.RoleEtcd) {
		return l.done()
	}
	l.install(in, h, step.BinDir, "etcd", "etcdctl")
	if in.hasFile(h, "etcdutl") {
		l.install(in, h, step.BinDir, "etcdutl")
	}
	l.add("data-folder", &step.Directory{Path: etcdData, Mode: 0o700, Purge: true})
	l.add("data", etcdMember(in, h)).Why = "a member with data is never bootstrapped again"
	d := daemon{
		name: "etcd", about: "etcd, the store of Kubernetes", kind: "notify",
		flags: mergeFlags(in, "etcd", etcdFlags(in, h), in.Cluster.Etcd.Args),
		// A member is ready only when there is a quorum, which can take any time.
		service: append([]string{"TimeoutStartSec=0", "LimitNOFILE=65536"}, confined...),
	}
	if in.arch(h) == "arm64" {
		// etcd 3.3 does not start on arm64 without it; newer versions ignore it.
		d.service = append(d.service, "Environment=ETCD_UNSUPPORTED_ARCH=arm64")
	}
	u := d.step(etcdPKI+"/ca.crt", etcdPKI+"/server.crt", etcdPKI+"/server.key", etcdPKI+"/peer.crt", etcdPKI+"/peer.key")
	u.NoBlock = true
	l.add("unit", u)
	return l.done()
}

func etcdMember(in Input, h manifests.Host) *step.EtcdData {
	e := &step.EtcdData{
		Dir: etcdData, Name: h.Name, Token: etcdToken(in), PeerURL: etcdURL(h, etcdPeerPort),
		EtcdClient: etcdClient(),
	}
	for _, x := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		if x.Name != h.Name {
			e.Peers = append(e.Peers, etcdURL(x, etcdClientPort))
		}
	}
	return e
}

// etcdToken returns the cluster token, which keeps members of different clusters
// apart if an address is wrong.
func etcdToken(in Input) string { return "offk8s-" + in.Cluster.Name }

func etcdFlags(in Input, h manifests.Host) flags {
	var initial []string
	for _, m := range in.Cluster.HostsWith(manifests.RoleEtcd) {
		initial = append(initial, m.Name+"="+etcdURL(m, etcdPeerPort))
	}
	return flags{
		"name": h.Name, "data-dir": etcdData,
		"listen-peer-urls":            etcdURL(h, etcdPeerPort),
		"initial-advertise-peer-urls": etcdURL(h, etcdPeerPort),
		"listen-client-urls":          etcdURL(h, etcdClientPort) + ",https://127.0.0.1:2379",
		"advertise-client-urls":       etcdURL(h, etcdClientPort),
		"initial-cluster":             strings.Join(initial, ","),
		"initial-cluster-token":       etcdToken(in),
		"initial-cluster-state":       "new", // ignored by a member that has data
		"trusted-ca-file":             etcdPKI + "/ca.crt",
		"cert-file":                   etcdPKI + "/server.crt",
		"key-file":                    etcdPKI + "/server.key",
		"client-cert-auth":            "true",
		"peer-trusted-ca-file":        etcdPKI + "/ca.crt",
		"peer-cert-file":              etcdPKI + "/peer.crt",
		"peer-key-file":               etcdPKI + "/peer.key",
		"peer-client-cert-auth":       "true",
	}
}

// quorumSteps returns the steps that wait until the member answers with a quorum.
func quorumSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "quorum"}
	if !h.HasRole(manifests.RoleEtcd) {
		return l.done()
	}
	l.add("healthy", memberHealthy(h)).Why = "the API server needs it"
	data := etcdMember(in, h)
	data.Started = true
	l.add("data", data).Why = "it has data from now on"
	return l.done()
}

// memberHealthy waits until the member on h serves requests, with a quorum.
func memberHealthy(h manifests.Host) *step.Wait {
	return &step.Wait{
		// etcdctl before 3.4 uses version 2 by default.
		Argv: []string{
			"env", "ETCDCTL_API=3", step.Etcdctl, "--endpoints=" + etcdURL(h, etcdClientPort), "--cacert=" + etcdPKI + "/ca.crt",
			"--cert=" + etcdPKI + "/client.crt", "--key=" + etcdPKI + "/client.key", "endpoint", "health",
		},
		Timeout: step.Duration(3 * time.Minute), Text: "etcd member " + h.Name + " is healthy",
	}
}

// etcdClient returns the files with which a member's host is a client of etcd.
func etcdClient() step.EtcdClient {
	return step.EtcdClient{CAFile: etcdPKI + "/ca.crt", Cert: etcdPKI + "/client.crt", Key: etcdPKI + "/client.key"}
}
