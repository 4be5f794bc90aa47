package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/offk8s/offk8s/manifests/strict"
)

// User is a system user, and a group of its name, for a daemon that needs none of root's
// rights. Users and groups that exist stay as they are, and after Undo too.
type User struct {
	Name string `json:"name"` // "etcd"
	Home string `json:"home"` // not created
}

var userName = strict.NewPattern(`^[a-z_][a-z0-9_-]{0,30}$`)

func (u *User) Kind() string { return "user" }

func (u *User) Target() Target { return Target{Name: u.Name} }

func (u *User) Describe() string { return "system user " + u.Name }

func (u *User) Validate() error {
	err := checkPath("home", u.Home)
	if !userName.MatchString(u.Name) {
		err = errors.Join(err, fmt.Errorf("name %q: want lower case letters, digits, _ and -", u.Name))
	}
	return err
}

// userPrior is what existed before.
type userPrior struct {
	User bool   `json:"user,omitempty"`
	GID  string `json:"gid,omitempty"` // of the group; empty if there was none
}

func (u *User) Check(_ context.Context, env *Env) (Result, error) {
	prior, err := u.look(env)
	switch {
	case err != nil:
		return Result{}, err
	case prior.User && prior.GID != "":
		return Result{State: OK}, nil
	}
	return Result{State: Differs, Reason: "absent", Prior: priorJSON(prior)}, nil
}

func (u *User) look(env *Env) (p userPrior, err error) {
	_, noUser := env.id(passwdFile, u.Name, 0)
	gid, noGroup := env.id(groupFile, u.Name, 0)
	p.User = noUser == nil
	if noGroup == nil {
		p.GID = strconv.Itoa(gid)
	}
	for _, e := range []error{noUser, noGroup} {
		if e != nil && !errors.Is(e, errNoName) {
			return p, e
		}
	}
	return p, nil
}

func (u *User) Apply(ctx context.Context, env *Env) (Result, error) {
	prior, err := u.look(env)
	if err != nil || prior.User && prior.GID != "" {
		return Result{State: OK}, err
	}
	if prior.GID == "" {
		err = u.run(ctx, env, "groupadd", "--system", u.Name)
	}
	if err == nil && !prior.User {
		err = u.run(ctx, env, "useradd", "--system", "--gid", u.Name, "--home-dir", u.Home, "--no-create-home",
			"--shell", "/usr/sbin/nologin", u.Name)
	}
	return Result{State: Changed, Reason: "made", Prior: priorJSON(prior)}, err
}

func (u *User) Undo(ctx context.Context, env *Env, raw json.RawMessage) error {
	var prior userPrior
	if err := json.Unmarshal(raw, &prior); err != nil {
		return fmt.Errorf("user %q: prior state: %w", u.Name, err)
	}
	now, err := u.look(env)
	if err == nil && now.User && !prior.User {
		if err = u.run(ctx, env, "userdel", u.Name); err == nil {
			now, err = u.look(env) // on most systems, the group is gone too
		}
	}
	switch {
	case err != nil:
		return err
	case prior.GID == "" && now.GID != "":
		return u.run(ctx, env, "groupdel", u.Name)
	case prior.GID != "" && now.GID == "":
		return u.run(ctx, env, "groupadd", "--gid", prior.GID, u.Name)
	}
	return nil
}

func (u *User) run(ctx context.Context, env *Env, argv ...string) error {
	if _, err := env.Run.Run(ctx, Cmd{Argv: argv}); err != nil {
		return fmt.Errorf("user %q: %w", u.Name, err)
	}
	return nil
}
