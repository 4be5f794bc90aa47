package step_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// accounts is a host with the programs that change users and groups.
func accounts(t *testing.T, users, groups string) *steptest.World {
	w := steptest.New(t)
	w.Write(t, "etc/passwd", users, 0o644)
	w.Write(t, "etc/group", groups, 0o644)
	w.Programs = func(_ context.Context, c step.Cmd) (step.Output, error) {
		name := c.Argv[len(c.Argv)-1]
		edit := func(file, line string, add bool) {
			lines := slices.DeleteFunc(strings.SplitAfter(w.Read(t, file), "\n"), func(l string) bool { return strings.HasPrefix(l, name+":") })
			if add {
				lines = append(lines, line)
			}
			w.Write(t, file, strings.Join(lines, ""), 0o644)
		}
		switch c.Argv[0] {
		case "groupadd":
			gid := "990"
			if i := slices.Index(c.Argv, "--gid"); i > 0 {
				gid = c.Argv[i+1]
			}
			edit("etc/group", name+":x:"+gid+":\n", true)
		case "useradd":
			if !slices.Contains(c.Argv, "--no-create-home") || !slices.Contains(c.Argv, "/usr/sbin/nologin") {
				return steptest.Exit(c.Argv, 1, "nobody logs in as a daemon")
			}
			edit("etc/passwd", name+":x:991:990::/x:/usr/sbin/nologin\n", true)
		case "userdel":
			edit("etc/passwd", "", false)
			edit("etc/group", "", false)
		case "groupdel":
			edit("etc/group", "", false)
		}
		return steptest.Say("")
	}
	return w
}

const root = "root:x:0:0::/root:/bin/bash\n"

func TestUser(t *testing.T) {
	u := &step.User{Name: "etcd", Home: "/var/lib/etcd"}
	steptest.Suite(t, steptest.Case{Name: "neither", Step: u, World: accounts(t, root, "root:x:0:\n")})
	steptest.Suite(t, steptest.Case{Name: "the group alone", Step: u, World: accounts(t, root, "root:x:0:\netcd:x:7:\n")})

	t.Run("both", func(t *testing.T) {
		w := accounts(t, root+"etcd:x:7:7::/x:/bin/sh\n", "etcd:x:7:\n")
		if res, err := u.Apply(t.Context(), w.Env()); err != nil || res.State != step.OK || len(w.Calls) > 0 {
			t.Errorf("%+v, error %v, calls %q", res, err, w.Calls)
		}
		if err := u.Undo(t.Context(), w.Env(), []byte(`{"user":true,"gid":"7"}`)); err != nil || len(w.Calls) > 0 {
			t.Errorf("undo: error %v, calls %q; the user was there before", err, w.Calls)
		}
	})
	for _, bad := range []string{"", "-r", "Etcd", "a b", "../x"} {
		if (&step.User{Name: bad, Home: "/x"}).Validate() == nil {
			t.Errorf("accepts the name %q", bad)
		}
	}
}

// A file of a user that an earlier step of the plan makes differs; it is no error.
func TestOwnerThatDoesNotExistYet(t *testing.T) {
	w := accounts(t, root, "root:x:0:\n")
	w.Write(t, "etc/x", "a", 0o640)
	f := &step.File{Path: "/etc/x", Content: "a", Mode: 0o640, Group: "etcd"}
	if res, err := f.Check(t.Context(), w.Env()); err != nil || res.State != step.Differs || !strings.Contains(res.Reason, "etcd") {
		t.Errorf("%+v, error %v", res, err)
	}
}
