package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/facts"
)

// Guard compares what runs on a host with what is about to be applied. The error is
// ErrIdentity if the operator's credentials are not those of the cluster: applying them
// would replace its authorities. It is ErrUpgrade if the bundle has other versions: a
// plan of install would change them on all hosts at the same time. Hosts without a
// record of either pass, and so does i == nil.
func Guard(i *facts.Installed, identity string, components map[string]string) error {
	if i == nil {
		return nil
	}
	if i.Identity != "" && i.Identity != identity {
		found := "credentials with the identity " + identity
		if identity == "" {
			found = "no credentials of it"
		}
		return fmt.Errorf("%w: the cluster %q on this host has the identity %s, the state directory has %s",
			ErrIdentity, i.Cluster, i.Identity, found)
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(i.Components)) {
		if was, is := i.Components[name], components[name]; was != is {
			changed = append(changed, fmt.Sprintf("%s %s, the bundle has %s", name, was, cmp.Or(is, "none")))
		}
	}
	if len(changed) > 0 {
		return fmt.Errorf("%w: this host has %s", ErrUpgrade, strings.Join(changed, "; "))
	}
	return nil
}
