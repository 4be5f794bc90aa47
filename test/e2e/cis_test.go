//go:build e2e

package e2e

import (
	_ "embed"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed cis.sh
var cisRules string

// hardened: the processes and files of every host follow the automated rules of the CIS
// benchmark.
func (r *road) hardened(t *testing.T) {
	_, minor, _ := strings.Cut(r.minor, ".")
	bench := os.Getenv("E2E_KUBE_BENCH")
	for _, h := range r.hosts {
		if !h.has(controlPlane, member, worker) {
			continue
		}
		out := r.script1(t, h.addr, "set -- "+minor+"\n"+cisRules)
		rules, ok := strings.CutPrefix(strings.TrimSpace(out), "rules ")
		if n, err := strconv.Atoi(rules); !ok || err != nil || n == 0 {
			t.Errorf("%s:\n%s", h.name, out)
		}
		t.Logf("%s: %s", h.name, strings.TrimSpace(out))
		if bench != "" {
			r.kubeBench(t, h, bench)
		}
	}
}

// deviations are the automated rules that are not followed, by benchmark: docs/cis.md has
// the reasons.
var deviations = map[string][]string{"cis-1.6": {"1.2.16"}}

var (
	benchmark  = regexp.MustCompile(`(?m)^benchmark (\S+)$`)
	failedRule = regexp.MustCompile(`(?m)^\[FAIL\] (\S+)`)
)

// kubeBench runs a kube-bench that was built by hand, from a directory with its rules in cfg.
// Its rules must not fail, but for the deviations.
func (r *road) kubeBench(t *testing.T, h host, dir string) {
	t.Helper()
	var targets []string
	for role, target := range map[string]string{controlPlane: "master,controlplane", member: "etcd"} {
		if h.has(role) {
			targets = append(targets, target)
		}
	}
	targets = append(targets, "node") // control planes run a kubelet too
	slices.Sort(targets)
	to := filepath.Join(r.dir, h.name, "root", "root")
	run(t, time.Minute, "cp", "-r", filepath.Join(dir, "kube-bench"), filepath.Join(dir, "cfg"), "../../docs/kube-bench.yaml", to)
	out := run(t, 5*time.Minute, r.ssh(h.addr, "/root/kube-bench", "run", "--config-dir", "/root/cfg", "--config", "/root/kube-bench.yaml",
		"--version", r.minor, "--targets", strings.Join(targets, ","))...)
	t.Logf("%s:\n%s", h.name, out)
	m := benchmark.FindStringSubmatch(out)
	if m == nil || !strings.Contains(out, "[PASS]") {
		t.Fatalf("%s: kube-bench found no benchmark for %s:\n%s", h.name, r.minor, out)
	}
	for _, rule := range failedRule.FindAllStringSubmatch(out, -1) {
		if !slices.Contains(deviations[m[1]], rule[1]) {
			t.Errorf("%s: kube-bench: rule %s of %s fails", h.name, rule[1], m[1])
		}
	}
}
