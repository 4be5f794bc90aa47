package facts

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// updates returns the programs that install updates on the host without being asked, such
// as "unattended-upgrades", and reports whether one may boot the host after that.
func updates(env *step.Env) (programs []string, boots bool) {
	there := func(path string) bool {
		_, err := os.Lstat(env.Path(path))
		return err == nil
	}
	const wants = "/etc/systemd/system/"
	if there("/usr/bin/unattended-upgrade") {
		conf := readAll(env, "/etc/apt/apt.conf.d/*")
		if v := aptSetting(conf, "APT::Periodic::Unattended-Upgrade"); v != "" && v != "0" {
			programs = append(programs, "unattended-upgrades")
			boots = aptSetting(conf, "Unattended-Upgrade::Automatic-Reboot") == "true"
		}
	}
	dnf := read(env, "/etc/dnf/automatic.conf")
	// The variants of the timer override apply_updates.
	always := there(wants+"timers.target.wants/dnf-automatic-install.timer") || there(wants+"timers.target.wants/dnf5-automatic.timer")
	if always || there(wants+"timers.target.wants/dnf-automatic.timer") && setting(dnf, "apply_updates") == "yes" {
		programs = append(programs, "dnf-automatic")
		reboot := setting(dnf, "reboot")
		boots = boots || reboot != "" && reboot != "never"
	}
	if there(wants+"multi-user.target.wants/yum-cron.service") && setting(read(env, "/etc/yum/yum-cron.conf"), "apply_updates") == "yes" {
		programs = append(programs, "yum-cron")
	}
	return programs, boots
}

// aptSetting returns the value of the last line "NAME "value";" of apt's configuration.
func aptSetting(text, name string) (value string) {
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), name); ok && strings.HasPrefix(strings.TrimSpace(rest), `"`) {
			value = strings.Trim(strings.TrimSpace(rest), `";`)
		}
	}
	return value
}

// loopbackNames returns the names that /etc/hosts gives to loopback, without those of
// loopback itself.
func loopbackNames(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		l, _, _ = strings.Cut(l, "#")
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil || !a.IsLoopback() {
			continue
		}
		for _, name := range f[1:] {
			if !strings.HasPrefix(name, "localhost") && !strings.HasPrefix(name, "ip6-") && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// hostsTemplate reads the configuration that cloud-init got from the machine's platform, and
// returns the template of the distribution's family if that makes it write /etc/hosts.
func hostsTemplate(env *step.Env) string {
	wanted := false
	for l := range strings.Lines(readAll(env, "/var/lib/cloud/instance/*cloud-config.txt")) {
		if v, ok := strings.CutPrefix(l, "manage_etc_hosts:"); ok { // as cloud-init writes it, whatever the user's YAML
			wanted = wanted || slices.Contains([]string{"true", "yes", "on", "1", "template"}, strings.ToLower(strings.Trim(strings.TrimSpace(v), `'"`)))
		}
	}
	family := "redhat"
	if manager(env) == step.ManagerApt {
		family = "debian"
	}
	template := "/etc/cloud/templates/hosts." + family + ".tmpl"
	if _, err := os.Stat(env.Path(template)); err != nil || !wanted {
		return ""
	}
	return template
}
