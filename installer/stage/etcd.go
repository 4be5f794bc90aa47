package stage

import (
	"slices"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

const (
	etcdData       = "/var/lib/etcd"
	etcdUser       = "etcd"
	etcdEnv        = etcdDir + "/first-start.env"
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
	l.programs(in, h, "etcd", "etcdctl")
	if in.hasFile(h, "etcdutl") {
		l.programs(in, h, "etcdutl")
	}
	l.add("data-folder", &step.Directory{Path: etcdData, Mode: 0o700, Owner: etcdUser, Group: etcdUser, Purge: true})
	l.add("data", etcdMember(in, h)).Why = "a member with data is never bootstrapped again"
	d := daemon{
		name: "etcd", about: "etcd, the store of Kubernetes", kind: "notify",
		flags: mergeFlags(in, "etcd", etcdFlags(h), in.Cluster.Etcd.Args),
		// A member is ready only when there is a quorum, which can take any time.
		service: append([]string{"EnvironmentFile=-" + etcdEnv, "TimeoutStartSec=0", "LimitNOFILE=65536", lastToDie}, confined...),
	}
	// Root starts the first command alone: a member that ran as root has files of root.
	d.service = append(d.service, "User="+etcdUser, "Group="+etcdUser, "PermissionsStartOnly=yes",
		"ExecStartPre=/bin/chown -R "+etcdUser+":"+etcdUser+" "+etcdData)
	if in.arch(h) == "arm64" {
		// etcd 3.3 does not start on arm64 without it; newer versions ignore it.
		d.service = append(d.service, "Environment=ETCD_UNSUPPORTED_ARCH=arm64")
	}
	u := d.step(etcdPKI+"/ca.crt", etcdPKI+"/server.crt", etcdPKI+"/server.key", etcdPKI+"/peer.crt", etcdPKI+"/peer.key")
	u.NoBlock = true
	l.add("unit", u)
	m := etcdMember(in, h)
	if in.Lock.Release.Features.EtcdLearner && len(m.Peers) > 0 && (in.etcdMembers() != nil || in.Alone.Host != "") {
		it := l.add("vote", &step.EtcdPromote{EtcdClient: step.LocalEtcd(), Name: h.Name, PeerURL: m.PeerURL, Peers: m.Peers})
		it.Why, it.Awaits = "a member that joins a running etcd catches up first", others(in.Cluster.HostsWith(manifests.RoleEtcd), h)
	}
	return l.done()
}

// etcdMembers returns the members of the etcd that runs, nil if none answers.
func (in Input) etcdMembers() []step.EtcdMember {
	var out []step.EtcdMember
	for _, h := range in.etcdNow() {
		if f := in.Facts[h.Name]; len(f.Etcd) > len(out) {
			out = f.Etcd
		}
	}
	return out
}

// etcdMember returns the step before the first start of a member. If etcd has had a
// quorum on another host, the member has to join it.
func etcdMember(in Input, h manifests.Host) *step.EtcdData {
	e := &step.EtcdData{
		Dir: etcdData, Name: h.Name, Token: etcdToken(in), PeerURL: etcdURL(h, etcdPeerPort),
		EnvFile: etcdEnv, Learner: in.Lock.Release.Features.EtcdLearner, EtcdClient: step.LocalEtcd(),
	}
	members := in.Cluster.HostsWith(manifests.RoleEtcd)
	for _, x := range members {
		e.Initial = append(e.Initial, x.Name+"="+etcdURL(x, etcdPeerPort))
	}
	for _, x := range slices.Concat(members, in.etcdLeavers()) {
		if x.Name != h.Name {
			e.Peers = append(e.Peers, etcdURL(x, etcdClientPort))
			e.Join = e.Join || in.Facts[x.Name].EtcdData && !in.Facts[h.Name].EtcdData
		}
	}
	return e
}

// etcdToken returns the cluster token, which keeps members of different clusters
// apart if an address is wrong.
func etcdToken(in Input) string { return "offk8s-" + in.Cluster.Name }

// etcdFlags returns the flags of a member. The members of the first start are not among
// them, since a changed list would restart every member: see etcdMember.
func etcdFlags(h manifests.Host) flags {
	return flags{
		"name": h.Name, "data-dir": etcdData,
		"listen-peer-urls":            etcdURL(h, etcdPeerPort),
		"initial-advertise-peer-urls": etcdURL(h, etcdPeerPort),
		"listen-client-urls":          etcdURL(h, etcdClientPort) + ",https://127.0.0.1:2379",
		"advertise-client-urls":       etcdURL(h, etcdClientPort),
		"trusted-ca-file":             etcdPKI + "/ca.crt",
		"cert-file":                   etcdPKI + "/server.crt",
		"key-file":                    etcdPKI + "/server.key",
		"client-cert-auth":            "true",
		"peer-trusted-ca-file":        etcdPKI + "/ca.crt",
		"peer-cert-file":              etcdPKI + "/peer.crt",
		"peer-key-file":               etcdPKI + "/peer.key",
		"peer-client-cert-auth":       "true",
		// At 2 GiB, the default, etcd refuses writes until somebody compacts it.
		"quota-backend-bytes": "8589934592",
	}
}

// quorumSteps returns the steps that wait until the member answers with a quorum.
func quorumSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "quorum"}
	if !h.HasRole(manifests.RoleEtcd) {
		return l.done()
	}
	it := l.add("healthy", memberHealthy(h))
	it.Why, it.Awaits = "the API server needs it", others(in.Cluster.HostsWith(manifests.RoleEtcd), h)
	data := etcdMember(in, h)
	data.Started, data.Initial, data.EnvFile, data.Join, data.Learner = true, nil, "", false, false
	l.add("data", data).Why = "it has data from now on"
	return l.done()
}

// memberHealthy waits until the member on h serves requests, with a quorum. It asks as
// etcdctl does (endpoint health), without the time to start it.
func memberHealthy(h manifests.Host) *step.Wait {
	return &step.Wait{
		URL: etcdURL(h, etcdClientPort) + "/health", Expect: `"health":"true"`,
		CAFile: etcdPKI + "/ca.crt", CertFile: etcdPKI + "/client.crt", KeyFile: etcdPKI + "/client.key",
		Timeout: step.Duration(3 * time.Minute), Text: "etcd member " + h.Name + " is healthy",
	}
}
