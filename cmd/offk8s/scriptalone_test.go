package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/offk8s/offk8s/test/testenv"
)

// unshared runs a program in namespaces of its own, in which it is root.
var unshared = []string{"unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child", "--"}

// ownMachine makes the directory $1 a machine of its own with the programs of this one, and
// runs the offk8s in the file $2 there with the other arguments.
const ownMachine = `
root=$1 program=$2
shift 2
mkdir -p "$root"
cd "$root"
mkdir -p dev proc etc run tmp root usr/local/bin
for dir in bin lib lib64 sbin; do
  if [ -L "/$dir" ]; then
    [ -L "$dir" ] || cp -P "/$dir" .
  elif [ -d "/$dir" ]; then
    mkdir -p "$dir" && mount --rbind "/$dir" "$dir"
  fi
done
for dir in dev usr/bin usr/lib usr/lib64 usr/sbin; do
  if [ -d "/$dir" ]; then
    mkdir -p "$dir" && mount --rbind "/$dir" "$dir"
  fi
done
mount -t proc proc proc
: >>usr/local/bin/offk8s
mount --bind "$program" usr/local/bin/offk8s
exec env -i PATH="$PATH" HOME=/root chroot . /usr/local/bin/offk8s "$@"`

// conditionHere answers [machines]: the command alone works here. With testenv.RequireAll
// it has to.
func conditionHere(name string) (bool, error) {
	if name != "machines" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	works := machinesWork()
	if !works && os.Getenv(testenv.RequireAll) != "" {
		return false, fmt.Errorf("needs unshare, mount, chroot and user namespaces, and %s is set", testenv.RequireAll)
	}
	return works, nil
}

func machinesWork() bool {
	for _, program := range []string{"chroot", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return exec.Command(unshared[0], slices.Concat(unshared[1:], []string{"true"})...).Run() == nil
}

// scriptAlone: alone NAME CODE ARGS… runs offk8s on a machine of its own, as root and without a network,
// and demands its exit code. The directory NAME is the root of the machine. It has the
// programs of this one, and nothing else of it.
func scriptAlone(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 2, "alone NAME CODE ARGS…")
	program, err := exec.LookPath("offk8s")
	ts.Check(err)
	argv := slices.Concat(unshared[1:], []string{"sh", "-ec", ownMachine, "sh", ts.MkAbs(args[0]), program}, args[2:])
	demand(ts, args[1], ts.Exec(unshared[0], argv...), strings.Join(args[2:], " "))
}
