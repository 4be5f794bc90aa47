package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/strict"
)

// clusterState is the state directory of a cluster on this machine.
type clusterState struct {
	dir         string
	credentials *pki.Credentials
	identity    string // "" if dir lacks anything that cannot be made again
	fits        bool   // it can be the directory of this cluster
}

// Two clusters may have the same name. The state of the first one is in the directory
// NAME, that of any other in NAME-XXXXXXXX, after the cluster's UID.
var sibling = strict.NewPattern(`^-[0-9a-f]{8}$`)

// stateDirs returns the directories below base that may have the state of clusters with
// the name: NAME, whether it exists or not, and its siblings.
func stateDirs(base, name string) []string {
	first := filepath.Join(base, "clusters", name)
	out := []string{first}
	more, _ := filepath.Glob(first + "-*") // the name has no special characters
	return append(out, slices.DeleteFunc(more, func(dir string) bool {
		return !sibling.MatchString(strings.TrimPrefix(dir, first))
	})...)
}

// findState finds the state directory of c. If hosts have an identity, it is the one with
// that identity; otherwise the first one that can be that of c (pki.Belongs). If there is
// none, it returns the directory --state or NAME as it is.
func (o clusterOptions) findState(c *manifests.Cluster, identity string) (clusterState, error) {
	if o.state != "" {
		s, err := openState(o.state, c, "", true)
		s.fits = true
		return s, err
	}
	return findState(stateDir(), c, identity)
}

func findState(base string, c *manifests.Cluster, identity string) (clusterState, error) {
	var first clusterState
	for i, dir := range stateDirs(base, c.Name) {
		s, err := openState(dir, c, "", true)
		if err != nil {
			return s, err
		}
		if identity != "" {
			s.fits = s.identity == identity
		}
		if s.fits && s.identity != "" {
			return s, nil
		}
		if i == 0 {
			first = s
		}
	}
	return first, nil
}

// openState opens the state directory dir for c. uid is the one of a new cluster.
func openState(dir string, c *manifests.Cluster, uid string, readOnly bool) (clusterState, error) {
	s := clusterState{dir: dir}
	var err error
	if s.credentials, err = pki.Open(pki.Options{Dir: dir, DryRun: readOnly, Cluster: c, UID: uid}); err == nil {
		s.identity, err = s.credentials.Identity()
	}
	if err == nil {
		s.fits, err = s.credentials.Belongs()
	}
	if err != nil {
		return s, fmt.Errorf("state directory: %w", err)
	}
	return s, nil
}

// loadWithState reads cluster.yaml and finds the state directory of the cluster, as
// mustState does.
func (o clusterOptions) loadWithState() (*manifests.Cluster, clusterState, error) {
	c, err := o.load()
	if err != nil {
		return nil, clusterState{}, err
	}
	s, err := o.mustState(c)
	return c, s, err
}

// mustState finds the state directory of c, which must have all its credentials.
func (o clusterOptions) mustState(c *manifests.Cluster) (clusterState, error) {
	s, err := o.findState(c, "")
	if err != nil || s.identity != "" && s.fits {
		return s, err
	}
	err = usagef("no credentials of cluster %q in %q", c.Name, s.dir)
	if missing, merr := s.credentials.Missing(); merr == nil && len(missing) > 0 {
		err = usagef("state directory %q: %s is missing", s.dir, strings.Join(missing, ", "))
	}
	return s, withHint(err, "run it on the machine that installed the cluster, bring its state with offk8s state export and import, or name its directory with --state")
}

// stateFor opens the state directory for a run on hosts with the facts in. It compares the
// credentials and the bundle with those on the hosts. For a cluster that no host
// has, the identity is empty if the credentials do not exist: the run may make them. It
// locks the directory, unless readOnly is set: then the directory stays as it is.
func (o clusterOptions) stateFor(in stage.Input, readOnly bool) (s clusterState, unlock func() error, err error) {
	c, want := in.Cluster, installedIdentity(in)
	if s, err = o.findState(c, want); err != nil {
		return s, nil, err
	}
	if !s.fits || s.identity == "" {
		if err := o.elsewhere(c, want); err != nil {
			return s, nil, err
		}
	}
	if err := installer.Guard(in, s.identity); err != nil {
		if missing, merr := s.credentials.Missing(); merr == nil && len(missing) > 0 {
			err = fmt.Errorf("%s is missing: %w", strings.Join(missing, ", "), err)
		}
		return s, nil, fmt.Errorf("state directory %q: %w", s.dir, err)
	}
	uid := pki.NewUID()
	if !s.fits {
		s.dir += "-" + uid[:8] // another cluster has the name
	}
	unlock = func() error { return nil }
	if !readOnly {
		if unlock, err = installer.LockState(s.dir); err != nil {
			return s, nil, err
		}
	}
	if s, err = openState(s.dir, c, uid, readOnly); err != nil {
		_ = unlock()
	}
	return s, unlock, err
}

// installedIdentity returns the identity that the hosts of the cluster record, "" if none does.
func installedIdentity(in stage.Input) string {
	for _, h := range in.Cluster.Hosts {
		if i := in.Facts[h.Name].Installed; i != nil && i.Cluster == in.Cluster.Name && i.Identity != "" {
			return i.Identity
		}
	}
	return ""
}

// elsewhere refuses to go on if, behind sudo, the state of the cluster is in the home
// directory of the user who called it.
func (o clusterOptions) elsewhere(c *manifests.Cluster, identity string) error {
	name := os.Getenv("SUDO_USER")
	if name == "" || o.state != "" {
		return nil
	}
	home := os.Getenv("SUDO_HOME") // from sudo 1.9.16
	if u, err := user.Lookup(name); err == nil && home == "" {
		home = u.HomeDir
	}
	base := filepath.Join(home, defaultState, "offk8s")
	if home == "" || base == stateDir() {
		return nil
	}
	s, err := findState(base, c, identity)
	if err != nil || !s.fits || s.identity == "" {
		return nil // not readable is as good as not there
	}
	return withHint(fmt.Errorf("%w: the state of %q belongs to the user %s: %q", agent.ErrIdentity, c.Name, name, s.dir),
		"give --state %s, or run offk8s without sudo", s.dir)
}

// copies reports whether the control planes have, or get, a sealed copy of the state.
func (o installOptions) copies(s clusterState) (bool, error) {
	if o.pass.file != "" {
		return true, nil
	}
	has, err := s.credentials.HasCopy()
	if err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	return has, nil
}

// establish makes the authorities and keys of the cluster, and the sealed copy.
func (a *app) establish(o installOptions, c *manifests.Cluster, s *clusterState) (err error) {
	if s.identity, err = s.credentials.Establish(); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if with, err := o.copies(*s); err != nil || !with {
		return err
	}
	if _, err := s.credentials.Ensure(); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	var secret []byte
	if o.pass.file != "" {
		if secret, err = o.pass.read(a, fmt.Sprintf("passphrase for the copies of the state of %q: ", c.Name), true); err != nil {
			return err
		}
		if len(secret) == 0 {
			return usagef("--%s: the passphrase is empty", o.pass.flag)
		}
	}
	is, err := s.credentials.SealCopy(c.Name, secret)
	if err != nil {
		return withHint(err, "to seal with another passphrase, remove %s in %s first", pki.CopyFile, s.dir)
	}
	if is == pki.CopyOld {
		a.warnf("the sealed copies of the state are out of date; give --%s to renew them", o.pass.flag)
	}
	return nil
}
