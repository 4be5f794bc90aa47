package step

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/test/testenv"
)

// TestAptConf has the real apt read our configuration: only our sources are
// left, and what the host's own files say (proxies, hooks) does not count.
func TestAptConf(t *testing.T) {
	testenv.NeedTool(t, "apt-config")
	dir := t.TempDir()
	conf := filepath.Join(dir, "apt.conf")
	p := &Packages{Manager: ManagerApt, Source: "/etc/offk8s/apt", CAFile: "/etc/offk8s/ca.crt"}
	if err := os.WriteFile(conf, []byte(p.aptConf(dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("apt-config", "dump")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "APT_CONFIG=" + conf}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`Dir::Etc::sourcelist "/dev/null";`, `Dir::Etc::sourceparts "/etc/offk8s/apt";`, `Dir::Etc::parts "/dev/null";`,
		`Dir::State::lists "` + dir + `/lists";`, `Acquire::https::CAInfo "/etc/offk8s/ca.crt";`,
		`Acquire::AllowInsecureRepositories "false";`, `Dpkg::Options:: "--force-confold";`,
	} {
		if !strings.Contains(strings.ToLower(string(out)), strings.ToLower(want)) {
			t.Errorf("apt does not have %s", want)
		}
	}
	for _, foreign := range []string{"DPkg::Post-Invoke", "DPkg::Pre-Install-Pkgs", "Proxy"} {
		if strings.Contains(string(out), foreign) {
			t.Errorf("apt still has the host's %s", foreign)
		}
	}
}
