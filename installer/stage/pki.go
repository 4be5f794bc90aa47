package stage

import (
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
)

// Directories and files of credentials.
const (
	kubeDir = "/etc/kubernetes"
	kubePKI = kubeDir + "/pki"
	kubeCA  = kubePKI + "/ca.crt"
	etcdDir = "/etc/etcd"
	etcdPKI = step.EtcdPKI

	proxyConf     = kubeDir + "/kube-proxy.conf"
	managerConf   = kubeDir + "/controller-manager.conf"
	schedulerConf = kubeDir + "/scheduler.conf"
	approverConf  = kubeDir + "/offk8s-approver.conf"
	encryption    = kubeDir + "/encryption-config.yaml"

	// StateCopy is the sealed copy of the operator's state directory.
	StateCopy   = kubeDir + "/offk8s-state.sealed"
	StateCopyID = "pki" + StateCopy // of its step
)

// pkiSteps returns the steps that write the credentials of the host's daemons, and
// none of other hosts. Only root can read them, the certificates too, and etcd its own.
func pkiSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "pki"}
	if h.HasRole(manifests.RoleEtcd) {
		etcdCredentials(l, h)
	}
	if !h.IsNode() {
		return l.done()
	}
	l.add("etc/kubernetes", &step.Directory{Path: kubeDir})
	l.add("etc/kubernetes/pki", &step.Directory{Path: kubePKI, Mode: 0o700})
	l.secret(kubeCA, pki.CARef(pki.Kubernetes))
	l.secret(proxyConf, pki.KubeconfigRef(pki.Name("kube-proxy", h)))
	if h.HasRole(manifests.RoleControlPlane) {
		controlPlanePKI(l, h)
		if in.StateCopies {
			l.secret(StateCopy, pki.RefCopy)
		}
	}
	return l.done()
}

// etcdCredentials adds the steps for the user of etcd, and for the credentials that it
// reads. With the client's certificate, root asks etcd.
func etcdCredentials(l *list, h manifests.Host) {
	l.add("etcd-user", &step.User{Name: etcdUser, Home: etcdData}).Why = "etcd needs no rights of root"
	l.add("etc/etcd", &step.Directory{Path: etcdDir, Mode: 0o750, Group: etcdUser})
	l.add("etc/etcd/pki", &step.Directory{Path: etcdPKI, Mode: 0o750, Group: etcdUser})
	files := []*step.File{l.secret(etcdPKI+"/ca.crt", pki.CARef(pki.Etcd))}
	for _, kind := range []string{"server", "peer"} {
		base, name := etcdPKI+"/"+kind, pki.Name("etcd-"+kind, h)
		files = append(files, l.secret(base+".crt", pki.CertRef(name)), l.secret(base+".key", pki.KeyRef(name)))
	}
	for _, f := range files {
		f.Owner, f.Group = etcdUser, etcdUser
	}
	l.credential(etcdPKI+"/client", pki.Name("etcd-client", h))
}

func controlPlanePKI(l *list, h manifests.Host) {
	// The controller manager signs the certificates of kubelets with it.
	l.secret(kubePKI+"/ca.key", pki.CAKeyRef(pki.Kubernetes))
	l.secret(kubePKI+"/front-proxy-ca.crt", pki.CARef(pki.FrontProxy))
	l.secret(kubePKI+"/etcd-ca.crt", pki.CARef(pki.Etcd))
	for _, name := range []string{"apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-client"} {
		l.credential(kubePKI+"/"+name, pki.Name(name, h))
	}
	l.secret(kubePKI+"/service-account.key", pki.RefServiceAccountKey)
	l.secret(kubePKI+"/service-account.pub", pki.RefServiceAccountPub)
	l.add("encryption-keys", &kube.KnownKey{Path: encryption, Ref: pki.RefEncryption}).Why = "without their key, Secrets are lost"
	l.secret(encryption, pki.RefEncryption)
	l.secret(managerConf, pki.KubeconfigRef(pki.Name("controller-manager", h)))
	l.secret(schedulerConf, pki.KubeconfigRef(pki.Name("scheduler", h)))
	l.secret(approverConf, pki.KubeconfigRef(pki.Name("approver", h)))
	l.secret(kube.SuperConf, pki.KubeconfigRef(pki.Name(pki.SuperAdmin, h)))
	l.secret(kube.AdminConf, pki.KubeconfigRef(pki.Name(pki.Admin, h)))
}

// credential adds the steps for a certificate and its key, base.crt and base.key.
func (l *list) credential(base, name string) {
	l.secret(base+".crt", pki.CertRef(name))
	l.secret(base+".key", pki.KeyRef(name))
}
