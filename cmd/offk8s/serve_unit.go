package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/durable"
	"github.com/offk8s/offk8s/bundle/trust"
)

const (
	unitName = "offk8s-mirror"
	// unitState is StateDirectory= of the unit, unitLogs its LogsDirectory=.
	unitState = "/var/lib/" + unitName
	unitLogs  = "/var/log/" + unitName
	unitCache = "/var/cache/" + unitName // CacheDirectory=
	// minSystemd is the version that gave units StateDirectory= and DynamicUser=.
	minSystemd = 235
)

// serviceTemplate is the service of --install-unit. With User= beside DynamicUser=, a
// systemd too old for it refuses to start the unit and does not run it as root.
const serviceTemplate = `[Unit]
Description=offk8s mirror
Requires={{.Name}}.socket
After={{.Name}}.socket network-online.target
Wants=network-online.target
{{range .Directories}}RequiresMountsFor={{.}}
{{end}}
[Service]
Type=notify
ExecStart={{.Command}}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5s
RestartPreventExitStatus=2 4 5
TimeoutStartSec=infinity
TimeoutStopSec={{.StopSeconds}}
LimitNOFILE=65536
User={{.Name}}
DynamicUser=yes
StateDirectory={{.Name}}
StateDirectoryMode=0700
LogsDirectory={{.Name}}
CacheDirectory={{.Name}}
UMask=0027
{{range .Credentials}}LoadCredential={{.}}
{{end}}CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
Also={{.Name}}.socket
`

// socketTemplate is the socket of --install-unit: clients wait while serve restarts, and
// no port needs a capability. FreeBind= is for an address that the host gets later.
const socketTemplate = `[Unit]
Description=port of the offk8s mirror

[Socket]
ListenStream={{.Listen}}
BindIPv6Only=both
FreeBind=yes
Backlog=4096

[Install]
WantedBy=sockets.target
`

// unit is a systemd unit that runs serve with the flags and bundles of the command
// line.
type unit struct {
	Name        string
	Directories []string // with the bundles
	Command     string
	StopSeconds int
	Credentials []string
	Listen      string   // port, or address and port
	files       []string // that the user of the unit must be able to read
	secrets     []string // that systemd must be able to read
}

// newUnit returns the unit for program with the flags of cmd.
func newUnit(cmd *cobra.Command, o serveOptions, program string, bundles []string) (unit, error) {
	u := unit{Name: unitName, StopSeconds: int(o.stopTimeout/time.Second) + 15, files: []string{program}}
	if err := o.checkUnit(); err != nil {
		return u, err
	}
	var err error
	if u.Listen, err = socketAddress(o.listen); err != nil {
		return u, err
	}
	words := []string{program, "serve", "--state=" + unitState}
	if len(o.from) > 0 {
		words = append(words, "--cache="+unitCache)
	}
	var errs []error
	add := func(name, value string) {
		value, err := u.flagValue(name, value)
		words, errs = append(words, "--"+name+"="+value), append(errs, err)
	}
	if len(o.trust.keys) == 0 && !o.trust.unsigned {
		add("key", publicPath(defaultKey()))
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if slices.Contains([]string{"state", "print-unit", "install-unit"}, f.Name) {
			return
		}
		values := []string{f.Value.String()}
		if f.Name == "cache-size" {
			values = []string{strconv.FormatInt(int64(o.cacheSize), 10)}
		} else if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			add(f.Name, value)
		}
	})
	paths, err := u.addBundles(bundles)
	words = append(words, paths...)
	for i, w := range words {
		words[i] = unitWord(w)
	}
	u.Command = strings.Join(words, " ")
	return u, errors.Join(append(errs, err)...)
}

// checkUnit returns an error for flags that the unit cannot have.
func (o serveOptions) checkUnit() error {
	switch {
	case o.state != "":
		return withHint(usagef("--state: the unit keeps its state in %s", unitState), "copy the CA of another mirror there before the unit starts")
	case o.cache != "":
		return usagef("--cache: the unit keeps its cache in %s", unitCache)
	case o.accessLog != "" && o.accessLog != "-" && filepath.Dir(o.accessLog) != unitLogs:
		return withHint(usagef("--access-log %q: the unit cannot write there", o.accessLog), "give a file in %s, or - for the journal", unitLogs)
	}
	return nil
}

// flagValue returns the value of a flag in the unit: files get their whole path, and those
// for root alone are credentials. It notes the files.
func (u *unit) flagValue(name, value string) (string, error) {
	switch name {
	case "key", "runs", "client-ca", "tls-cert", "from-ca":
		if name == "key" && strings.HasPrefix(value, "sha256:") {
			return value, nil // a fingerprint is no file
		}
		path, err := filepath.Abs(value)
		u.files = append(u.files, path)
		return path, err
	case "tls-key", "htpasswd":
		credential := strings.ReplaceAll(name, "-", ".")
		path, err := filepath.Abs(value)
		u.Credentials, u.secrets = append(u.Credentials, credential+":"+unitWord(path)), append(u.secrets, path)
		return "${CREDENTIALS_DIRECTORY}/" + credential, err
	}
	return value, nil
}

// addBundles notes the files of bundles and their directories. It returns their paths.
func (u *unit) addBundles(names []string) ([]string, error) {
	var paths []string
	for _, name := range names {
		path, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		_, files, err := bundle.Locate(path)
		if err != nil {
			return nil, err
		}
		u.files, paths = append(u.files, files...), append(paths, path)
		u.Directories = append(u.Directories, unitWord(filepath.Dir(path)))
	}
	slices.Sort(u.Directories)
	u.Directories = slices.Compact(u.Directories)
	return paths, nil
}

// socketAddress returns the value of ListenStream= for the address of --listen.
func socketAddress(listen string) (string, error) {
	host, service, err := net.SplitHostPort(listen)
	if err != nil {
		return "", usagef("--listen %q: %w", listen, err)
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil || port == 0 {
		return "", usagef("--listen %q: a socket unit needs a port from 1 to 65535", listen)
	}
	if host == "" {
		return strconv.Itoa(port), nil
	}
	if net.ParseIP(host) == nil {
		return "", usagef("--listen %q: a socket unit needs an address, found a name", listen)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// unitWord quotes a word of ExecStart=, systemd.syntax(7). The one variable that
// serve uses is kept.
func unitWord(s string) string {
	const variable = "${CREDENTIALS_DIRECTORY}"
	parts := strings.Split(s, variable)
	for i, p := range parts {
		parts[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(p)
	}
	s = strings.Join(parts, variable)
	if strings.ContainsAny(s, " \t'\";\\") {
		return `"` + s + `"`
	}
	return s
}

// check returns an error for a file that the unit could not read.
func (u unit) check() error {
	for _, name := range u.secrets {
		if _, err := os.Stat(name); err != nil {
			return asUsage(err)
		}
	}
	for _, name := range u.files {
		for _, hidden := range []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"} {
			if strings.HasPrefix(name, hidden) {
				return unreadable(name, hidden+" is hidden from the unit")
			}
		}
		for path, bit := name, os.FileMode(0o004); path != "/"; path, bit = filepath.Dir(path), 0o001 {
			st, err := os.Stat(path)
			switch {
			case err != nil:
				return asUsage(err)
			case st.Mode().Perm()&bit == 0:
				return unreadable(name, fmt.Sprintf("%q has mode %#o", path, st.Mode().Perm()))
			}
		}
	}
	return nil
}

func unreadable(name, why string) error {
	return withHint(usagef("%q: the user of the unit cannot read it: %s", name, why),
		"the program belongs in /usr/local/bin, the key in /etc/offk8s, bundles in /srv or on a disk of their own; chmod a+r")
}

// runUnit is serve --print-unit and --install-unit.
func (a *app) runUnit(cmd *cobra.Command, o serveOptions, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	bundles, err := o.files(args)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	u, err := newUnit(cmd, o, program, bundles)
	if err != nil {
		return err
	}
	files, err := u.texts()
	if err != nil {
		return err
	}
	if o.printUnit {
		for i, f := range files {
			if _, err := fmt.Fprintf(a.stdout, "%s# %s\n%s", strings.Repeat("\n", i), filepath.Join("/", f.path), f.text); err != nil {
				return err
			}
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return withHint(usagef("--install-unit: needs root"), "run it with sudo; --print-unit prints the unit")
	}
	if err := u.check(); err != nil {
		return err
	}
	if err := installUnit(cmd.Context(), "/", files, systemctl); err != nil {
		return err
	}
	return a.unitRuns()
}

// unitFile is a file of systemd, by its path below the root.
type unitFile struct{ path, text string }

// texts returns the files of the unit, the service first.
func (u unit) texts() ([]unitFile, error) {
	var out []unitFile
	for _, t := range []struct{ kind, text string }{{"service", serviceTemplate}, {"socket", socketTemplate}} {
		var text strings.Builder
		if err := template.Must(template.New(t.kind).Parse(t.text)).Execute(&text, u); err != nil {
			return nil, err
		}
		out = append(out, unitFile{"etc/systemd/system/" + u.Name + "." + t.kind, text.String()})
	}
	return out, nil
}

// installedUnit is the result of serve --install-unit.
type installedUnit struct {
	Unit string `json:"unit"` // name for systemctl
	mirrorCA
}

// unitRuns prints the fingerprint of the unit's CA.
func (a *app) unitRuns() error {
	v := installedUnit{unitName + ".service", mirrorCA{State: unitState}}
	if ca, err := os.ReadFile(filepath.Join(unitState, "mirror-ca.crt")); err == nil { // none with --tls-cert
		if v.Fingerprint, err = trust.Fingerprint(ca); err != nil {
			return err
		}
	}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "unit         %s\nstate        %s\nfingerprint  %s\n\njournalctl -u %s shows its output, systemctl reload %s serves a replaced tarball\n",
			v.Unit, v.State, v.Fingerprint, unitName, unitName)
		return err
	})
}

// installUnit writes the files below root and starts the service; run is systemctl.
func installUnit(ctx context.Context, root string, files []unitFile, run func(ctx context.Context, args ...string) (string, error)) error {
	out, err := run(ctx, "--version")
	if err != nil {
		return withHint(fmt.Errorf("--install-unit: %w", err), "this needs systemd; --print-unit prints the unit")
	}
	var version int
	if _, err := fmt.Sscanf(out, "systemd %d", &version); err != nil || version < minSystemd {
		return withHint(fmt.Errorf("--install-unit: systemd %d has no DynamicUser=, found in %d and newer", version, minSystemd),
			"make a user and a directory for it, and edit the output of --print-unit; docs/serve.md shows how")
	}
	for _, f := range files {
		if err := durable.WriteFile(filepath.Join(root, f.path), []byte(f.text), 0o644); err != nil {
			return fmt.Errorf("--install-unit: %w", err)
		}
	}
	// A socket with another address cannot start while its service runs.
	service, socket := unitName+".service", unitName+".socket"
	for _, args := range [][]string{{"daemon-reload"}, {"stop", service, socket}, {"enable", service, socket}, {"start", service}} {
		if out, err := run(ctx, args...); err != nil {
			return withHint(fmt.Errorf("--install-unit: systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out)),
				"journalctl -u %s shows why", unitName)
		}
	}
	return nil
}

// systemctl runs systemctl and returns its output.
func systemctl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	return string(out), err
}

// ready reports the start of the mirror to systemd.
func (a *app) ready() {
	if err := notifySystemd(); err != nil {
		a.warnf("%v", err)
	}
}

// notifySystemd tells systemd that a unit of Type=notify is ready, sd_notify(3).
func notifySystemd() error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("READY=1")); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
