package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The words of other tools: their commands and flags, each with the hint that names those of
// offk8s.

// otherNames are commands of other tools, those below a command of offk8s with its name.
var otherNames = map[string]string{
	"apply": installs, "create": installs, "deploy": installs, "up": installs, "join": installs, "node": installs, "scale": installs,
	"delete": resets, "destroy": resets, "remove": resets, "uninstall": resets, "down": resets,
	"upgrade": "offk8s cannot upgrade a cluster yet; docs/upgrade-offk8s.md is about offk8s itself",
	"status":  "offk8s doctor checks hosts and mirror, offk8s state show describes the cluster's keys, offk8s logs HOST shows what services say",
	"check":   checks, "validate": checks, "ping": checks,
	"list": lists, "ls": lists, "show": lists, "images": lists, "image": lists,
	"get": credentials, "kubectl": credentials,
	"download": packs, "pull": packs, "build": packs, "fetch": packs, "package": packs, "bundle": packs, "save": packs, "store": packs,
	"copy": pushes, "sync": pushes, "load": pushes, "import": pushes,
	"certs": renews, "certificates": renews, "renew": renews,
	"backup": backups, "restore": backups, "etcd": "offk8s has no command for snapshots of etcd; docs/keys.md shows those of etcdctl",
	"mirror": "offk8s serve is the mirror",
	"login":  registryLogins, "token": joins,
	"helm": "offk8s pack --chart packs charts; helm installs them from the mirror",

	"keys create": newKeys, "keys new": newKeys, "keys init": newKeys,
	"keys list": showKeys, "keys ls": showKeys, "keys fingerprint": showKeys,
	"keys import": trusts, "keys add": trusts, "keys trust": trusts,
	"state backup": backups, "state save": backups, "state restore": backups, "state load": backups,
	"state list": showStates, "state ls": showStates, "state get": showStates,
	"config view": explains, "config show": explains, "config print": explains,
}

const (
	installs    = "offk8s install makes the cluster what cluster.yaml says; offk8s plan shows the steps"
	resets      = "offk8s reset undoes install"
	checks      = "offk8s verify checks a bundle, offk8s plan a cluster.yaml, offk8s doctor the hosts"
	lists       = "offk8s inspect lists a bundle, offk8s versions those that can be packed"
	credentials = "offk8s kubeconfig prints the credential for kubectl"
	packs       = "offk8s pack downloads everything into a bundle"
	pushes      = "offk8s serve serves a bundle to every client, offk8s push writes it into a registry, offk8s extract into a directory"
	renews      = "offk8s install renews each certificate in its last 30 days"
	backups     = "offk8s state export writes the state of a cluster to one sealed file, offk8s state import reads it"
	newKeys     = "offk8s keys generate makes a signing key"
	showKeys    = "offk8s keys show prints the fingerprint of a key"
	trusts      = "--key FILE, or ~/.config/offk8s/offk8s.pub, is the public key to trust"
	showStates  = "offk8s state show describes the state of a cluster"
	explains    = "offk8s explain describes the fields of cluster.yaml and pack.yaml"

	registryLogins = "pack and push use the credentials of docker login (~/.docker/config.json)"
	joins          = "no tokens or certificates are needed: install brings its own to every host in cluster.yaml"
	noTags         = "there are no tags: install runs every stage and changes only what differs; --dry-run shows that"
	remoteUsers    = "ssh.user, ssh.port and ssh.keyFile in cluster.yaml say how to log in, or --ssh-config FILE"
	becomes        = "offk8s uses sudo where ssh.user is not root; -K asks for its password"
	clusterFields  = "write it into cluster.yaml; offk8s explain cluster lists its fields"
	fileFields     = "write it into the file of -f; offk8s explain lists the fields of cluster.yaml and pack.yaml"
	pinMirror      = "write the fingerprint that offk8s serve prints into cluster.yaml, as mirror.caFingerprint"
	insecures      = "insecure plain-http tls-verify dest-tls-verify src-tls-verify insecure-registry insecure-skip-tls-verify insecure-skip-verify k8s-insecure"
	vendorKeys     = "pack checks the signatures of the vendors; keyrings: in pack.yaml has more keys"
)

// otherFlag is a flag of other tools.
type otherFlag struct {
	names string // the spellings, with spaces between them; of one letter: as -i
	// ours are the flags of offk8s for it, with their values. The hint names those that the
	// command has.
	ours []string
	// said is the hint for commands that have none of ours, but the flag has, if it is set.
	said, has string // no-drill is a flag of install alone
}

// otherFlags are flags of ansible and kubespray, kubeadm, k0sctl, kubectl, helm, crane,
// skopeo, docker, hauler, zarf, dnf and apt.
var otherFlags = []otherFlag{
	// of many tools
	{names: "json", ours: []string{"format json"}},
	{names: "yaml", ours: []string{"format yaml"}},
	{names: "o", said: "--format json or yaml is the form of the result"},
	{names: "V", said: "offk8s --version prints the version; -v is more detail"},
	{names: "debug trace log-level loglevel d", ours: []string{"verbose"}},
	{names: "silent", ours: []string{"quiet"}},
	{names: "no-progress", ours: []string{"progress none"}},
	{names: "config config-file c", ours: []string{"file"}},
	{names: "y yes assumeyes assume-yes confirm force auto-approve", ours: []string{"yes"}, said: "leave it out: this command does not ask for confirmation"},
	{names: "check simulate diff dryrun just-print", ours: []string{"dry-run"}},
	{names: "concurrency forks workers threads oci-concurrency j", ours: []string{"parallel", "jobs"}},

	// hosts: ansible, kubespray, k0sctl
	{names: "tags skip-tags start-at-task step skip-phases skip-phase phase phases t", said: noTags, has: "no-drill"},
	{names: "inventory inventory-file i", ours: []string{"file", "hosts"}},
	{names: "limit l host hosts node nodes", ours: []string{"host"}, said: "install works on all hosts in cluster.yaml, and changes only what differs", has: "no-drill"},
	{names: "become become-user become-method sudo b", said: becomes, has: "ssh-config"},
	{names: "u unit", said: "name the unit after the host: offk8s logs HOST UNIT", has: "lines"},
	{names: "user remote-user ssh-user u private-key key-file ssh-key identity-file ssh-port", said: remoteUsers, has: "ssh-config"},
	{names: "extra-vars e set set-string values set-file vars-file", said: fileFields, has: "file"},

	// clusters: kubeadm, kubectl, helm
	{names: "kubernetes-version kube-version k8s-version", ours: []string{"version"}, said: "the bundle on the mirror has the version; pack chooses it", has: "mirror"},
	{names: "pod-network-cidr pod-cidr cluster-cidr", said: "write network.podCIDR into cluster.yaml", has: "file"},
	{names: "service-cidr service-cluster-ip-range", said: "write network.serviceCIDR into cluster.yaml", has: "file"},
	{names: "service-dns-domain cluster-domain", said: "write network.dnsDomain into cluster.yaml", has: "file"},
	{names: "control-plane-endpoint", ours: []string{"endpoint"}, said: "write controlPlane.endpoint into cluster.yaml", has: "file"},
	{names: "apiserver-cert-extra-sans tls-san", said: "write controlPlane.sans into cluster.yaml", has: "file"},
	{names: "apiserver-advertise-address apiserver-bind-port node-name feature-gates", said: clusterFields, has: "file"},
	{names: "cri-socket container-runtime", ours: []string{"runtime"}, said: "pack --runtime chooses the container runtime", has: "file"},
	{names: "image-repository image-registry registry-mirror", ours: []string{"rewrite"}, said: "hosts take images from the mirror in cluster.yaml, by their upstream names", has: "mirror"},
	{names: "ignore-preflight-errors skip-preflight", ours: []string{"ignore"}},
	{names: "upload-certs certificate-key token discovery-token-ca-cert-hash control-plane", said: joins, has: "file"},
	{names: "network network-plugin kube-network-plugin", ours: []string{"cni"}},
	{names: "kubeconfig kube-context context", said: "offk8s has the credential of the administrator in --state; " + credentials, has: "state"},
	{names: "tail", ours: []string{"lines"}},

	// registries: crane, skopeo, docker, hauler, zarf
	{names: insecures, ours: []string{"insecure-plain-http", "insecure-from-plain-http", "insecure-allow-unsigned"}, said: "pack checks every digest, whatever the connection; SSL_CERT_FILE names more CAs to trust", has: "rewrite"},
	{names: insecures, said: pinMirror, has: "mirror"},
	{names: insecures, ours: []string{"ssh-insecure-host-key"}},
	{names: "ca-file cacert ca-cert cert-dir dest-cert-dir certificate-authority", ours: []string{"ca", "from-ca"}, said: pinMirror, has: "mirror"},
	{names: "cert tls-cert-file", ours: []string{"tls-cert"}},
	{names: "tls-key-file", ours: []string{"tls-key"}},
	{names: "authfile creds dest-creds src-creds username password registry-username registry-password", said: registryLogins, has: "rewrite"},
	{names: "authfile creds dest-creds username password registry-username registry-password", said: registryLogins, has: "ca"},
	{names: "p platform override-arch architecture forcearch target-arch all-platforms", ours: []string{"arch"}},
	{names: "k public-key pub-key", ours: []string{"key"}},
	{names: "signing-key sign-by sign-identity", ours: []string{"sign-key", "key"}},
	{names: "image-list images-file images", ours: []string{"images-from", "image"}},
	{names: "filename", ours: []string{"file", "output"}},
	{names: "out outfile destination dest output-file output-directory download-dir downloaddir destdir dir", ours: []string{"output"}},
	{names: "max-package-size chunk-size", ours: []string{"split"}},
	{names: "cache zarf-cache", ours: []string{"cache-dir"}},
	{names: "p port address addr bind host", ours: []string{"listen"}},
	{names: "proxy http-proxy https-proxy", said: "HTTPS_PROXY names the proxy; --rewrite FROM=TO a mirror of yours", has: "rewrite"},
	{names: "skip-signature-validation insecure-ignore-tlog", ours: []string{"insecure-allow-unsigned"}},

	// packages: dnf, apt
	{names: "distro distribution os-version releasever target-os", ours: []string{"os"}},
	{names: "packages rpm deb pkg", ours: []string{"package"}},
	{names: "nogpgcheck no-gpg-check allow-unauthenticated", ours: []string{"insecure-allow-unsigned"}, said: vendorKeys, has: "rewrite"},
	{names: "repofrompath enablerepo disablerepo repo repoid", said: "--catalog adds distributions with their repositories; --rewrite FROM=TO reads one from a mirror of yours", has: "rewrite"},
}

// otherFlagHint returns the hint for a flag of another tool at a command with these flags, ""
// if there is none.
func otherFlagHint(name string, flags *pflag.FlagSet) string {
	has := func(name string) bool { return flags.Lookup(name) != nil }
	for _, o := range otherFlags {
		if !slices.Contains(strings.Fields(o.names), name) {
			continue
		}
		var ours []string
		for _, f := range o.ours {
			if has(strings.Fields(f)[0]) {
				ours = append(ours, "--"+f)
			}
		}
		switch {
		case len(ours) > 0:
			return "did you mean " + strings.Join(ours, " or ") + "?"
		case o.said != "" && (o.has == "" || has(o.has)):
			return o.said
		}
	}
	return ""
}

// notURL returns an error if name is a URL in the place of a file.
func notURL(name string) error {
	scheme, rest, ok := strings.Cut(name, "://")
	if !ok || exists(name) {
		return nil
	}
	hint := "download it first"
	switch scheme {
	case "file":
		hint = "name it without the scheme: " + strings.TrimPrefix(rest, "localhost")
	case "http", "https":
		hint = "download it first: curl -f -O -C - " + name
	case "oci", "docker":
		hint = "offk8s serve --from oci://" + rest + " serves a bundle from a registry"
	}
	return withHint(usagef("%q: is a URL, want a file", name), "%s", hint)
}
