package manifests

import (
	"strings"
	"testing"
)

// Near misses get the right text to write.
func TestNearMisses(t *testing.T) {
	const digits = "3712132b3712132b3712132b3712132b3712132b3712132b3712132b3712132b"
	tests := []struct{ from, to, want string }{
		{"roles: [worker]", "roles: [master]", `c.yaml:12:13: hosts[1].roles[0]: found "master", want one of control-plane, etcd, worker, load-balancer (did you mean "control-plane"?)`},
		{"roles: [worker]", "roles: ['worker ']", `did you mean "worker"?`},
		{"roles: [worker]", "roles: [Worker]", `did you mean "worker"?`},
		{"roles: [worker]", "roles: [node]", `did you mean "worker"?`},
		{"roles: [worker]", "roles: [controlplane]", `did you mean "control-plane"?`},
		{"roles: [worker]", "roles: [worker, LB]", `did you mean "load-balancer"?`},
		{"address: 10.0.0.21", "address: worker-1", `hosts[1].address: found the host name "worker-1", want an IP address`},
		{"address: 10.0.0.21", "address: 10.0.0.21/24", "without the prefix length"},
		{"    address: 10.0.0.21", "\taddress: 10.0.0.21", "c.yaml:11:1: not YAML: a tab (indent with spaces)"},
		{"8443\n", "8443\n  caFingerprint: " + digits + "\n", "(write sha256:" + digits + ")"},
		{"8443\n", "8443\n  caFingerprint: SHA256:" + strings.ToUpper(digits) + "\n", "(write sha256:" + digits + ")"},
		{"8443\n", "8443\n  caFingerprint: 'SHA256 Fingerprint=" + strings.ToUpper(digits[:2]) + ":" + digits[2:] + "'\n", "(write sha256:" + digits + ")"},
		{"kind: Cluster", "kind: Manifest", `c.yaml:2:7: kind: found "Manifest", want "Cluster"`},
		{"kind: Cluster\n", "kind: Manifest\nimages: [x]\nkubernetes: latest\n", `kind: found "Manifest", want "Cluster"`},
		{"mirror:\n", "hostPreparation: {skip: [swapp]}\nmirror:\n", `did you mean "swap"?`},
		{"name: worker-1", "name: M_3", "letters, digits, dashes and dots (write m-3)"},
		{"name: worker-1", "name: Worker-1.Example.COM", "(write worker-1.example.com)"},
		{"name: worker-1", "name: worker–1", "(write worker-1)"},
		{"name: worker-1", "name: “worker-1”", "(write worker-1)"},
		{"name: worker-1", "name: worker:1", "dashes and dots"},
		{"address: 10.0.0.21", "address: '[fd00::21]'", "(write it without brackets)"},
		{"address: 10.0.0.21", "address: 10.0.0.21:22", "(write the port of SSH as ssh.port)"},
		{"roles: [worker]", "roles: etcd, worker", `want a list, found "etcd, worker" (write [etcd, worker])`},
		{"mirror:\n", "kubernetes: V1.36\nmirror:\n", `kubernetes: version "V1.36": want the form 1.36 or 1.36.3`},
		{"mirror:\n", "kubernetes: 1.36.x\nmirror:\n", "want the form 1.36 or 1.36.3"},
	}
	for _, tt := range tests {
		doc := strings.Replace(goodCluster, tt.from, tt.to, 1)
		_, err := LoadCluster("c.yaml", []byte(doc))
		alone := err != nil && !strings.Contains(err.Error(), "\n")
		if !alone || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\ngot %v\nwant %s alone", tt.to, err, tt.want)
		}
	}
}

// A private key that is given for a file in YAML is not printed.
func TestKeysAreNotPrinted(t *testing.T) {
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA"
	for name, text := range map[string]string{
		"a key":               "-----BEGIN OPENSSH PRIVATE KEY-----\n" + secret + "\n-----END OPENSSH PRIVATE KEY-----\n",
		"after an empty line": "\n-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n",
		"one long word":       strings.Repeat("0", 60) + secret,
	} {
		_, err := LoadCluster("c.yaml", []byte(text))
		_, perr := LoadManifest("c.yaml", []byte(text))
		for _, err := range []error{err, perr} {
			if err == nil || strings.Contains(err.Error(), secret[:10]) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Near misses in pack.yaml get the right text to write.
func TestNearMissesOfManifest(t *testing.T) {
	for line, want := range map[string]string{
		"distros: [Rocky9]":    "did you mean rocky-9?",
		"distros: [Debian-12]": "did you mean debian-12?",
		"distros: rocky-9":     "(write [rocky-9])",
		"files: [{name: a, url: https://x/a, digest: abc}]":                    "want sha256: and 64 hexadecimal digits",
		"charts: [{name: shop, version: ^1, repository: https://example.com}]": `version "^1" of chart "shop": want a full version`,
		"kind: Manifest": `duplicate key "kind"`,
	} {
		doc := "apiVersion: offk8s.dev/v1\nkind: Manifest\nkubernetes: \"1.36\"\n" + line + "\n"
		if _, err := LoadManifest("pack.yaml", []byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot %v\nwant %s", line, err, want)
		}
	}
}

// YAML would read the version 1.30 as the number 1.3, and Windows writes a mark and other
// ends of lines: none of it changes a document.
func TestDocumentsOfWindows(t *testing.T) {
	text := "apiVersion: offk8s.dev/v1\nkind: Manifest\nkubernetes: 1.30\n"
	for _, doc := range []string{text, "\ufeff" + strings.ReplaceAll(text, "\n", "\r\n")} {
		if m, err := LoadManifest("pack.yaml", []byte(doc)); err != nil || m.Kubernetes != "1.30" {
			t.Errorf("%q: found %+v, %v", doc, m, err)
		}
	}
}

// The mirror of an untouched file is known as the example, and one that differs in
// its address or its fingerprint is not.
func TestIsExample(t *testing.T) {
	c, err := LoadCluster("cluster.yaml", InitCluster())
	if err != nil || !c.Mirror.IsExample() {
		t.Errorf("%+v, %v: not the example", c.Mirror, err)
	}
	for _, m := range []ClusterMirror{
		{URL: c.Mirror.URL},
		{URL: "https://10.0.0.6:8443", CAFingerprint: c.Mirror.CAFingerprint},
		{URL: c.Mirror.URL, CAFingerprint: strings.Replace(c.Mirror.CAFingerprint, "00", "01", 1)},
	} {
		if m.IsExample() {
			t.Errorf("%+v: the example", m)
		}
	}
}
