package host

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// none in place of a file, a bastion or a command means that there is none.
const none = "none"

// readConfig fills empty fields from OpenSSH's configuration file (ssh_config(5)), with the
// values for Address, as for "ssh ADDRESS". A default file may be missing.
func (c *SSHConfig) readConfig() error {
	file, required := c.ConfigFile, true
	if file == "" && c.Home != "" {
		file, required = filepath.Join(c.Home, ".ssh", "config"), false
	}
	if file == "" || file == none {
		return nil
	}
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) && !required {
		return nil
	}
	var conf *ssh_config.Config
	if err == nil {
		conf, err = ssh_config.DecodeBytes(b)
	}
	if err == nil {
		err = c.fill(conf, c.Address)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func (c *SSHConfig) fill(conf *ssh_config.Config, alias string) error {
	var failed error
	get := func(key string) string {
		v, err := conf.Get(alias, key)
		failed = cmp.Or(failed, err)
		return v
	}
	all := func(key string) (out []string) {
		values, err := conf.GetAll(alias, key)
		failed = cmp.Or(failed, err)
		for _, v := range values {
			for _, f := range strings.Fields(v) {
				if f != none {
					out = append(out, f)
				}
			}
		}
		return out
	}
	c.User = cmp.Or(c.User, get("User"))
	if p := get("Port"); c.Port == 0 && p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("Host %s: Port %q: want 1 to 65535", alias, p)
		}
		c.Port = int(n)
	}
	if name := get("HostName"); name != "" {
		c.Address = strings.NewReplacer("%%", "%", "%h", alias).Replace(name)
	}
	c.alias = alias
	// A command or a bastion, not both: the line that comes first would count, but the
	// library does not tell.
	if c.ProxyJump == "" {
		c.ProxyJump, c.ProxyCommand = get("ProxyJump"), get("ProxyCommand")
	}
	if c.KeyFile == "" {
		c.keyFiles, c.certFiles = all("IdentityFile"), all("CertificateFile")
		c.keysOnly = strings.EqualFold(get("IdentitiesOnly"), "yes")
	}
	if len(c.KnownHosts) == 0 {
		c.KnownHosts = all("UserKnownHostsFile")
	}
	switch socket := get("IdentityAgent"); socket {
	case "", "SSH_AUTH_SOCK":
	case none:
		c.AgentSocket = ""
	default:
		c.AgentSocket = c.expand(socket)
	}
	return failed
}

// expandFiles expands the paths of the configuration file. It needs all other fields.
func (c *SSHConfig) expandFiles() {
	for _, list := range [][]string{c.keyFiles, c.certFiles, c.KnownHosts} {
		for i, f := range list {
			list[i] = c.expand(f)
		}
	}
}

// expand replaces ~ and the tokens of ssh_config(5) that do not need a connection.
func (c *SSHConfig) expand(s string) string {
	if rest, ok := strings.CutPrefix(s, "~/"); ok && c.Home != "" {
		s = filepath.Join(c.Home, rest)
	}
	return strings.NewReplacer(
		"%%", "%", "%d", c.Home, "%h", c.Address, "%n", c.alias, "%p", strconv.Itoa(c.Port), "%r", c.User, "%u", localUser(),
	).Replace(s)
}

// localUser returns the name of the user of this process.
func localUser() string { return cmp.Or(os.Getenv("USER"), os.Getenv("LOGNAME"), "root") }
