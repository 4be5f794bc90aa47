package agent

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
)

// The keys are in the journals of hosts: a kind whose key changes would lose what
// was there before its steps.
func TestJournalKeys(t *testing.T) {
	tests := []struct {
		step step.Step
		want string
	}{
		{&step.Absent{Path: "/a"}, `absent "/a"   `},
		{&step.Artifact{Path: "/a"}, `artifact "/a"   `},
		{&step.Block{Path: "/a"}, `block "/a"   `},
		{&step.Command{Argv: []string{"a"}}, `command    `},
		{&step.Directory{Path: "/a"}, `directory "/a"   `},
		{&step.DockerImage{Name: "a:b"}, `docker-image  "a:b"  `},
		{&step.EtcdData{Name: "a", Dir: "/b"}, `etcd-data  "a"  `},
		{&step.EtcdLeave{}, `etcd-leave    `},
		{&step.EtcdPromote{Name: "a"}, `etcd-promote    `},
		{&step.EtcdQuorum{}, `etcd-quorum    `},
		{&step.EtcdLeave{}, `etcd-leave    `},
		{&step.EtcdPromote{}, `etcd-promote    `},
		{&step.EtcdQuorum{}, `etcd-quorum    `},
		{&step.File{Path: "/a <b>"}, `file "/a \u003cb\u003e"   `},
		{&step.Firewall{Ports: []string{"1/tcp"}}, `firewall    `},
		{&step.Hostname{Name: "a"}, `hostname  "a"  `},
		{&step.Image{Name: "a:b"}, `image  "a:b"  `},
		{&step.KubeletJoin{Node: "a"}, `kubelet-join  "a"  `},
		{&step.Modules{Names: []string{"a"}}, `modules    `},
		{&step.Modules{File: "/a"}, `modules    "/a"`},
		{&step.Endpoint{Address: "a:1"}, `endpoint    `},
		{&step.Packages{Names: []string{"a"}}, `packages    `},
		{&step.Present{Files: []string{"/a/b"}}, `present    `},
		{&step.Route{Destination: "::1"}, `route   "::1" `},
		{&step.SELinux{}, `selinux    `},
		{&step.SELinuxBoolean{Name: "a"}, `selinux-boolean  "a"  `},
		{&step.Swap{}, `swap    `},
		{&step.Symlink{Path: "/a", To: "/b"}, `symlink "/a"   `},
		{&step.Sysctl{}, `sysctl    `},
		{&step.Sysctl{File: "/a"}, `sysctl    "/a"`},
		{&step.Unit{Name: "a.service"}, `unit  "a.service"  `},
		{&step.UnitStop{Names: []string{"a.service"}}, `unit-stop    `},
		{&step.User{Name: "a"}, `user  "a"  `},
		{&step.Wait{URL: "tcp://a:1"}, `wait    `},
		{&step.Cleanup{Files: []string{"/a/b"}}, `kube-cleanup    `},
		{&kube.Apply{Text: "a"}, `kube-apply    `},
		{&kube.ServingCertificates{}, `kube-csr    `},
		{&kube.Drain{Name: "a"}, `kube-drain    `},
		{&kube.NodeGone{Name: "a"}, `kube-node-gone    `},
		{&kube.Node{Name: "a"}, `kube-node  "a"  `},
		{&kube.Healthy{}, `kube-healthy    `},
		{&kube.Nodes{Names: []string{"a"}}, `kube-nodes    `},
		{&kube.Rollout{}, `kube-rollout    `},
		{&kube.KnownKey{Ref: "a", Path: "/a"}, `kube-known-key    `},
		{&kube.Rewrite{Key: "a"}, `kube-rewrite    `},
		{&kube.Smoke{Image: "a"}, `kube-smoke    `},
		{&kube.Token{Ref: "a"}, `kube-token    `},
		{&kube.TokenGone{}, `kube-token-gone    `},
	}
	kinds := step.All().With(kube.Kinds())
	for _, tt := range tests {
		if got := keyOf(step.Item{ID: "stage/id", Step: tt.step}); got != "stage/id "+tt.want {
			t.Errorf("key %q, want %q", got, "stage/id "+tt.want)
		}
		delete(kinds, tt.step.Kind())
	}
	if len(kinds) > 0 {
		t.Errorf("no key is listed for %v", slices.Sorted(maps.Keys(kinds)))
	}
}

// A kind cannot forget a secret: each of its fields of type SecretRef is among
// its Secrets, and a field that is called like a secret has that type.
func TestSecretsAreListed(t *testing.T) {
	found := 0
	for kind, build := range step.All().With(kube.Kinds()) {
		s := build()
		var want []step.SecretRef
		fillSecrets(t, kind, reflect.ValueOf(s).Elem(), &want)
		var got []step.SecretRef
		if u, ok := s.(step.SecretUser); ok {
			got = u.Secrets()
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("kind %q: Secrets returns %q, its fields are %q", kind, got, want)
		}
		found += len(want)
	}
	if found < 3 {
		t.Errorf("found %d fields with secrets, want those of file, command and kube-token at least", found)
	}
}

// fillSecrets sets every SecretRef below v to another value and appends it to refs,
// in order. Slices get one element.
func fillSecrets(t *testing.T, at string, v reflect.Value, refs *[]step.SecretRef) {
	t.Helper()
	if v.Type() == reflect.TypeFor[step.SecretRef]() {
		ref := step.SecretRef(string(rune('a' + len(*refs))))
		v.SetString(string(ref))
		*refs = append(*refs, ref)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for f, field := range v.Fields() {
			name := strings.ToLower(f.Name)
			if f.Type.Kind() == reflect.String && f.Type != reflect.TypeFor[step.SecretRef]() &&
				(name == "ref" || strings.Contains(name, "secret") || strings.Contains(name, "password")) {
				t.Errorf("%s.%s: want type SecretRef", at, f.Name)
			}
			fillSecrets(t, at+"."+f.Name, field, refs)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillSecrets(t, at, v.Index(0), refs)
	case reflect.Map:
		if v.Type().Elem() == reflect.TypeFor[step.SecretRef]() {
			t.Errorf("%s: a map of secrets, which this test does not fill", at)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillSecrets(t, at, v.Elem(), refs)
	}
}
