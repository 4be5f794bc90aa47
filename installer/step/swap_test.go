package step_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// swapHost is a host with systemd, as far as swap is concerned.
type swapHost struct {
	*steptest.World
	t *testing.T
	// units are the units that exist beside those of /etc/fstab and those that the
	// kernel's list of swaps makes systemd know, by name.
	units  map[string]*swapTestUnit
	active map[string]string // device to the unit that enabled it, "" by hand
}

type swapTestUnit struct {
	device   string
	path     string // of the unit file; below /etc it has to exist
	state    string // UnitFileState
	noTarget bool   // another unit than swap.target wants it, as on EL7
}

func newSwapHost(t *testing.T, fstab string, units map[string]*swapTestUnit) *swapHost {
	h := &swapHost{World: steptest.New(t), t: t, units: units, active: map[string]string{}}
	h.Write(t, "etc/fstab", "UUID=1 / ext4 defaults 0 1\n"+fstab, 0o644)
	h.Write(t, "etc/systemd/system/other.service", "", 0o644)
	for _, u := range units {
		if strings.HasPrefix(u.path, "/etc/systemd/") {
			h.Write(t, u.path, "[Swap]\nWhat="+u.device+"\n", 0o640)
		}
		if u.device != "" && !strings.HasPrefix(u.device, "/dev/zram") {
			h.Write(t, u.device, "", 0o600)
		}
	}
	h.Programs = h.run
	h.boot()
	return h
}

func (h *swapHost) masked(unit string) bool {
	to, err := os.Readlink(filepath.Join(h.Root, "etc/systemd/system", unit))
	return err == nil && to == "/dev/null"
}

// boot enables swap as a boot does.
func (h *swapHost) boot() {
	clear(h.active)
	for line := range strings.Lines(h.Read(h.t, "etc/fstab")) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "swap" && !strings.HasPrefix(line, "#") {
			h.active[f[0]] = "fstab"
		}
	}
	for name, u := range h.units {
		if u.state != "disabled" && !h.masked(name) && (u.noTarget || !h.masked("swap.target")) {
			h.active[u.device] = name
		}
	}
	h.writeSwaps()
}

func (h *swapHost) writeSwaps() {
	text := "Filename Type Size Used Priority\n"
	for _, d := range slices.Sorted(maps.Keys(h.active)) {
		text += strings.ReplaceAll(d, " ", `\040`) + " partition 1 0 -2\n"
	}
	h.Write(h.t, "proc/swaps", text, 0o644)
}

func (h *swapHost) on() []string { return slices.Sorted(maps.Keys(h.active)) }

func (h *swapHost) run(_ context.Context, c step.Cmd) (step.Output, error) {
	defer h.writeSwaps()
	last := c.Argv[len(c.Argv)-1]
	link := filepath.Join(h.Root, "etc/systemd/system", last)
	switch strings.Join(c.Argv[:min(2, len(c.Argv))], " ") {
	case "swapoff -a":
		clear(h.active)
	case "swapon --":
		if _, busy := h.active[last]; busy || strings.HasPrefix(last, "/dev/zram") {
			return steptest.Exit(c.Argv, 255, last+": busy or not set up")
		}
		h.active[last] = ""
	case "systemctl mask":
		if h.masked(last) {
			break
		}
		if err := os.Symlink("/dev/null", link); err != nil {
			return steptest.Exit(c.Argv, 1, err.Error())
		}
	case "systemctl unmask":
		if h.masked(last) {
			return step.Output{}, os.Remove(link)
		}
	case "systemctl start":
		h.active[h.units[last].device] = last
	case "systemctl stop":
		if h.masked(last) {
			h.t.Errorf("%s is stopped when it is masked: its ExecStop is lost", last)
		}
		delete(h.active, h.units[last].device)
	case "systemctl daemon-reload":
	case "systemctl show":
		_, args, _ := strings.Cut(strings.Join(c.Argv, "\n"), "\n--\n")
		names := strings.Split(args, "\n")
		if i := slices.Index(names, "*.swap"); i >= 0 {
			names = slices.Delete(names, i, i+1)
			for name := range h.units {
				if strings.HasSuffix(name, ".swap") {
					names = append(names, name)
				}
			}
		}
		return steptest.Say(h.show(names))
	default:
		h.t.Errorf("ran %q", c.Argv)
	}
	return steptest.Say("")
}

func (h *swapHost) show(names []string) string {
	var out []string
	for _, n := range names {
		u, known := h.units[n]
		load, state, path, active := "not-found", "", "", "inactive"
		if known {
			load, state, path = "loaded", u.state, u.path
			if h.active[u.device] == n {
				active = "active"
			}
		}
		if h.masked(n) {
			load, state, path = "masked", "masked", ""
		}
		out = append(out, fmt.Sprintf("Id=%s\nLoadState=%s\nActiveState=%s\nFragmentPath=%s\nUnitFileState=%s\nSourcePath=\n",
			n, load, active, path, state))
	}
	return strings.Join(out, "\n")
}

// TestSwapOfEveryOrigin: swap stays off after a reboot, and reset brings it back, now
// and at the next boot.
func TestSwapOfEveryOrigin(t *testing.T) {
	generated := "/run/systemd/generator/"
	for _, tt := range []struct {
		name, fstab string
		units       map[string]*swapTestUnit
		byHand      string // a device that the administrator enabled
		mask        string // units that must be masked
	}{
		{name: "fstab", fstab: "/dev/sdb none swap sw 0 0\n# /x none swap sw 0 0\n"},
		{name: "unit file of a package", mask: "dev-sdc1.swap swap.target", units: map[string]*swapTestUnit{
			"dev-sdc1.swap": {device: "/dev/sdc1", path: "/usr/lib/systemd/system/dev-sdc1.swap", state: "enabled"},
		}},
		{name: "unit file of the administrator", mask: `swap.target var-swap\x2d1.swap`, units: map[string]*swapTestUnit{
			`var-swap\x2d1.swap`: {device: "/var/swap-1", path: `/etc/systemd/system/var-swap\x2d1.swap`, state: "static"},
		}},
		{name: "EL7: not by the target", mask: "dev-sda3.swap swap.target", units: map[string]*swapTestUnit{
			"dev-sda3.swap": {device: "/dev/sda3", path: generated + "dev-sda3.swap", noTarget: true},
		}},
		{name: "GPT", mask: "dev-sda3.swap swap.target", units: map[string]*swapTestUnit{
			"dev-sda3.swap": {device: "/dev/sda3", path: generated + "dev-sda3.swap", state: "generated"},
		}},
		{name: "zram-generator", mask: "dev-zram0.swap swap.target", units: map[string]*swapTestUnit{
			"dev-zram0.swap": {device: "/dev/zram0", path: generated + "dev-zram0.swap", state: "generated"},
		}},
		{name: "service", mask: "dev-zram0.swap swap.target zramswap.service", units: map[string]*swapTestUnit{
			"zramswap.service": {device: "/dev/zram0", path: "/lib/systemd/system/zramswap.service", state: "enabled", noTarget: true},
		}},
		{name: "by hand", byHand: "/var/swap file", mask: `swap.target var-swap\x20file.swap`},
		{name: "disabled unit", fstab: "/dev/sdb none swap sw 0 0\n", units: map[string]*swapTestUnit{
			"dev-sdc1.swap": {device: "/dev/sdc1", path: "/usr/lib/systemd/system/dev-sdc1.swap", state: "disabled"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newSwapHost(t, tt.fstab, tt.units)
			if tt.byHand != "" {
				h.Write(t, tt.byHand, "", 0o600)
				h.active[tt.byHand] = ""
				h.writeSwaps()
			}
			before := h.on()
			if len(before) != 1 {
				t.Fatalf("swap in use: %q", before)
			}
			steptest.Suite(t, steptest.Case{Name: "suite", Step: &step.Swap{}, World: h.World})
			if got := h.on(); !slices.Equal(got, before) {
				t.Errorf("after undo: %q is in use, want %q", got, before)
			}
			res, err := (&step.Swap{}).Apply(t.Context(), h.Env())
			if err != nil {
				t.Fatal(err)
			}
			var masked []string
			for _, c := range h.Calls {
				if n := c[len(c)-1]; c[1] == "mask" && h.masked(n) && !slices.Contains(masked, n) {
					masked = append(masked, n)
				}
			}
			slices.Sort(masked)
			if got := strings.Join(masked, " "); got != tt.mask {
				t.Errorf("masked %q, want %q", got, tt.mask)
			}
			if h.boot(); len(h.active) != 0 {
				t.Errorf("after a reboot: %q is in use", h.on())
			}
			if err := (&step.Swap{}).Undo(t.Context(), h.Env(), res.Prior); err != nil {
				t.Fatal(err)
			}
			if got := h.on(); !slices.Equal(got, before) {
				t.Errorf("after a reboot and undo: %q is in use, want %q", got, before)
			}
			if h.boot(); tt.byHand == "" && !slices.Equal(h.on(), before) {
				t.Errorf("after undo and a reboot: %q is in use, want %q", h.on(), before)
			}
		})
	}
}

// Swap that was disabled by hand before the installation comes back at boot.
func TestSwapThatWasSwitchedOffByHand(t *testing.T) {
	h := newSwapHost(t, "", map[string]*swapTestUnit{
		"dev-zram0.swap": {device: "/dev/zram0", path: "/run/systemd/generator/dev-zram0.swap", state: "generated"},
	})
	clear(h.active)
	h.writeSwaps()
	res, err := (&step.Swap{}).Check(t.Context(), h.Env())
	if err != nil || res.State != step.Differs || !strings.Contains(res.Reason, "dev-zram0.swap") {
		t.Fatalf("%+v %v", res, err)
	}
	if _, err := (&step.Swap{}).Apply(t.Context(), h.Env()); err != nil {
		t.Fatal(err)
	}
	if h.boot(); len(h.active) != 0 {
		t.Errorf("after a reboot: %q is in use", h.on())
	}
}

// fstab names the device by a tag or a link.
func TestSwapOfFstabByTag(t *testing.T) {
	for _, spec := range []string{"UUID=ab-1", `LABEL="s"`, "/dev/mapper/swap"} {
		h := newSwapHost(t, "", nil)
		h.Write(t, "etc/fstab", spec+" none swap sw 0 0\n", 0o644)
		h.Write(t, "dev/dm-1", "", 0o600)
		for _, link := range []string{"dev/disk/by-uuid/ab-1", "dev/disk/by-label/s", "dev/mapper/swap"} {
			h.Write(t, filepath.Dir(link)+"/x", "", 0o600)
			if err := os.Symlink(filepath.Join(h.Root, "dev/dm-1"), filepath.Join(h.Root, link)); err != nil {
				t.Fatal(err)
			}
		}
		h.active["/dev/dm-1"] = "fstab"
		h.writeSwaps()
		if _, err := (&step.Swap{}).Apply(t.Context(), h.Env()); err != nil {
			t.Fatal(err)
		}
		for _, c := range h.Calls {
			if c[1] == "mask" {
				t.Errorf("%s: ran %q: without its line in fstab, no unit starts it", spec, c)
			}
		}
	}
}

// The kernel may give a disk another name at each boot, and systemd names the unit of a
// GPT partition after it.
func TestSwapOfDiskThatChangesItsName(t *testing.T) {
	h := newSwapHost(t, "", map[string]*swapTestUnit{
		"dev-sda3.swap": {device: "/dev/sda3", path: "/run/systemd/generator/dev-sda3.swap", state: "generated"},
	})
	if _, err := (&step.Swap{}).Apply(t.Context(), h.Env()); err != nil {
		t.Fatal(err)
	}
	h.units["dev-sdb3.swap"] = &swapTestUnit{device: "/dev/sdb3", path: "/run/systemd/generator/dev-sdb3.swap", state: "generated"}
	delete(h.units, "dev-sda3.swap")
	if h.boot(); len(h.active) != 0 {
		t.Errorf("after a reboot: %q is in use", h.on())
	}
}

func TestSwapDeviceThatIsGone(t *testing.T) {
	h := newSwapHost(t, "", map[string]*swapTestUnit{
		"dev-zram0.swap": {device: "/dev/zram0", path: "/run/systemd/generator/dev-zram0.swap", state: "generated"},
	})
	res, err := (&step.Swap{}).Apply(t.Context(), h.Env())
	if err != nil {
		t.Fatal(err)
	}
	clear(h.units)
	if err := (&step.Swap{}).Undo(t.Context(), h.Env(), res.Prior); err != nil {
		t.Errorf("reset fails: %v", err)
	}
	if !strings.Contains(h.Log.String(), "dev-zram0.swap") || !strings.Contains(h.Log.String(), "/dev/zram0") {
		t.Errorf("no word about the device that is gone: %s", h.Log.String())
	}
}

func TestSwapMergesPriors(t *testing.T) {
	got, err := (&step.Swap{}).MergePrior(
		json.RawMessage(`{"devices":["/dev/sda3"],"units":[{"name":"dev-sda3.swap","start":true}]}`),
		json.RawMessage(`{"devices":["/dev/zram0"],"units":[{"name":"dev-sda3.swap"},{"name":"dev-zram0.swap"}]}`))
	want := `{"devices":["/dev/sda3","/dev/zram0"],"units":[{"name":"dev-sda3.swap","start":true},{"name":"dev-zram0.swap"}]}`
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}
