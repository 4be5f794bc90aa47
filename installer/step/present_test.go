package step_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

func TestPresent(t *testing.T) {
	w := steptest.New(t)
	p := &step.Present{Files: []string{"/run/flannel/subnet.env", "/proc/sys/net/ipv4/conf/flannel.1"}, Text: "the pod network is up"}
	if res, err := p.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs || res.Reason != "no /run/flannel/subnet.env" {
		t.Errorf("bare host: %+v, %v", res, err)
	}
	w.Write(t, "run/flannel/subnet.env", "FLANNEL_MTU=1450\n", 0o644)
	if res, _ := p.Check(t.Context(), w.Env()); res.Reason != "no /proc/sys/net/ipv4/conf/flannel.1" {
		t.Errorf("half: %+v", res)
	}
	w.Write(t, "proc/sys/net/ipv4/conf/flannel.1", "", 0o644)
	if res, err := p.Apply(t.Context(), w.Env()); err != nil || res.State != step.Verified {
		t.Errorf("all: %+v, %v", res, err)
	}
	for _, bad := range []*step.Present{{}, {Files: []string{"run/x"}}, {Files: []string{"/x/y"}, Logs: []string{"/var/[/y"}}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}

// The error of a wait that fails ends with the words of the container that should have
// made the file: those of the attempt that wrote last, without secrets.
func TestPresentShowsTheLog(t *testing.T) {
	w := steptest.New(t)
	p := &step.Present{
		Files: []string{"/run/flannel/subnet.env"}, Logs: []string{"/var/log/pods/kube-flannel_kube-flannel-ds-*/*/*.log"},
		Timeout: step.Duration(time.Nanosecond), Text: "the pod network is up",
	}
	env := w.Env()
	env.Hide = func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
	_, err := p.Apply(t.Context(), env)
	if err == nil || !strings.Contains(err.Error(), "no /run/flannel/subnet.env") || !strings.Contains(err.Error(), "no container of it has written a log") {
		t.Errorf("without a log: %v", err)
	}
	pod := "var/log/pods/kube-flannel_kube-flannel-ds-x7k2p_0a1b/kube-flannel/"
	var long strings.Builder
	for i := range 40 {
		fmt.Fprintf(&long, "2026-11-26T06:00:00.000000000Z stderr F line %d\n", i)
	}
	long.WriteString("2026-11-26T06:00:01.000000000Z stderr F dial tcp 10.96.0.1:443: network is unreachable, password hunter2\n")
	for i, text := range []string{"2026-11-26T05:00:00Z stderr F earlier attempt\n", long.String(), ""} {
		name := fmt.Sprintf("%s%d.log", pod, i)
		w.Write(t, name, text, 0o640)
		at := time.Date(2026, 11, 26, 5+i, 0, 0, 0, time.UTC)
		if err := os.Chtimes(filepath.Join(w.Root, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	_, err = p.Apply(t.Context(), env)
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 2+step.LogLines || !strings.HasSuffix(lines[1], "kube-flannel/1.log ends:") || strings.Contains(lines[1], w.Root) ||
		lines[len(lines)-1] != "dial tcp 10.96.0.1:443: network is unreachable, password ***" {
		t.Errorf("error:\n%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Timeout = step.Duration(time.Hour)
	if _, err := p.Apply(ctx, env); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "ends:") {
		t.Errorf("cancelled: %v", err)
	}
}
