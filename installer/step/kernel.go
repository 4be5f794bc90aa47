package step

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"sync"
)

// kernel lists the kernel modules of the host.
type kernel struct {
	env     *Env
	tree    string // /lib/modules/<release>
	deps    []string
	builtin []string
	// symbols returns /proc/kallsyms. The kernel takes a tenth of a second to write it.
	symbols func() ([]byte, error)
}

func (e *Env) kernel() (kernel, error) {
	rel, err := e.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return kernel{}, err
	}
	k := kernel{
		env: e, tree: "/lib/modules/" + strings.TrimSpace(string(rel)),
		symbols: sync.OnceValues(func() ([]byte, error) { return e.ReadFile("/proc/kallsyms") }),
	}
	if k.deps, err = k.list("modules.dep"); err != nil {
		return k, err
	}
	k.builtin, err = k.list("modules.builtin")
	return k, err
}

// list returns the modules in an index file of the module tree, none if it is missing.
func (k kernel) list(file string) ([]string, error) {
	b, err := k.env.ReadFile(k.tree + "/" + file)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ = strings.Cut(path.Base(name), ".ko")
		out = append(out, moduleName(name))
	}
	return out, nil
}

// loadable reports whether the module tree has name.
func (k kernel) loadable(name string) bool { return slices.Contains(k.deps, moduleName(name)) }

// features are files that exist if a module is loaded or built in, for modules that
// /sys/module may not list.
var features = map[string]string{
	"br_netfilter": "/proc/sys/net/bridge",
	"nf_conntrack": "/proc/sys/net/netfilter/nf_conntrack_max",
	"ip_vs":        "/proc/net/ip_vs",
	"ip_tables":    "/proc/net/ip_tables_names",
}

// moduleSymbols are functions that a kernel without a module tree lists if it has what are modules
// elsewhere, for those that no file shows.
var moduleSymbols = map[string]string{
	"ip_vs_rr":  "ip_vs_rr_schedule",
	"ip_vs_wrr": "ip_vs_wrr_schedule",
	"ip_vs_sh":  "ip_vs_sh_schedule",
	"nf_tables": "nf_tables_newtable",
}

// LacksModules returns those of the modules that the host's kernel neither has nor can load.
func (e *Env) LacksModules(names ...string) ([]string, error) {
	k, err := e.kernel()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		has, err := k.present(n)
		if err != nil {
			return nil, err
		}
		if !has && !k.loadable(n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// present reports whether name is loaded or built in.
func (k kernel) present(name string) (bool, error) {
	name = moduleName(name)
	if k.env.exists("/sys/module/"+name) || slices.Contains(k.builtin, name) {
		return true, nil
	}
	if path, ok := features[name]; ok && k.env.exists(path) {
		return true, nil
	}
	if symbol, ok := moduleSymbols[name]; ok && len(k.deps)+len(k.builtin) == 0 {
		all, err := k.symbols()
		if err != nil && !absent(err) {
			return false, err
		}
		return bytes.Contains(all, []byte(" "+symbol+"\n")), nil
	}
	fsys, err := k.env.ReadFile("/proc/filesystems")
	if err != nil && !absent(err) {
		return false, err
	}
	return slices.Contains(strings.Fields(string(fsys)), name), nil
}

// moduleName returns the kernel's spelling: - and _ are the same.
func moduleName(n string) string { return strings.ReplaceAll(n, "-", "_") }
