package installer

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests"
)

// Graph is a picture of the topology of a cluster: who connects to whom, from the top
// down. Every host is in it once, in the group of its first role.
type Graph struct{ cluster *manifests.Cluster }

// NewGraph returns the picture of c.
func NewGraph(c *manifests.Cluster) Graph { return Graph{c} }

// Sizes in the units of SVG, which are pixels by default.
const (
	graphWidth  = 900
	boxWidth    = 132
	boxHeight   = 52
	boxGap      = 12
	groupMargin = 40
	groupPad    = 14
	groupHead   = 26
	arrowLength = 46
	boxesInRow  = (graphWidth - 2*groupMargin - 2*groupPad + boxGap) / (boxWidth + boxGap)
	maxBoxes    = 4 * boxesInRow // of a group; the others are a number
)

// group is a frame with hosts in it.
type group struct {
	class, title string
	hosts        []manifests.Host
	// link is the text at the arrow to the next group.
	link string
}

// WriteSVG writes the picture as SVG 1.1, with colors for light and dark pages.
func (g Graph) WriteSVG(w io.Writer) error {
	var body strings.Builder
	y := groupMargin
	fmt.Fprintf(&body, `<text class="head" x="%d" y="%d">%s</text>`+"\n", groupMargin, y, html.EscapeString("Cluster "+g.cluster.Name))
	y += 20
	groups := g.groups()
	for i, gr := range groups {
		y = writeGroup(&body, gr, y)
		if i < len(groups)-1 {
			x := graphWidth / 2
			fmt.Fprintf(&body, `<path class="arrow" d="M%d %d v%d"/>`+"\n", x, y+4, arrowLength-14)
			fmt.Fprintf(&body, `<text class="link" x="%d" y="%d">%s</text>`+"\n", x+12, y+arrowLength/2+2, html.EscapeString(gr.link))
			y += arrowLength
		}
	}
	y += 30
	fmt.Fprintf(&body, `<text class="link" x="%d" y="%d">%s</text>`+"\n", groupMargin, y, html.EscapeString("All hosts fetch from the mirror "+strings.Join(g.cluster.Mirror.Addresses(), " or ")))
	_, err := fmt.Fprintf(w, graphFrame, graphWidth, y+24, body.String())
	return err
}

const graphFrame = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>
text { fill: #1b1f24 } .head { font-size: 18px; font-weight: bold } .title { font-weight: bold } .small, .link { fill: #57606a }
rect { fill: #ffffff; stroke: #8c959f } .clients { fill: #f6f8fa } .balancer { fill: #fff8e6 } .plane { fill: #eaf3ff } .etcd { fill: #eafaf0 }
.arrow { stroke: #57606a; stroke-width: 2; fill: none; marker-end: url(#tip) } #tip path { fill: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small, .link { fill: #9da7b3 } rect { fill: #161b22; stroke: #57606a }
  .clients { fill: #0d1117 } .balancer { fill: #2b2411 } .plane { fill: #10233d } .etcd { fill: #102a1c }
  .arrow { stroke: #9da7b3 } #tip path { fill: #9da7b3 }
}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="5" markerHeight="5" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>
%s</svg>
`

// groups returns the groups from the clients down to etcd.
func (g Graph) groups() []group {
	c := g.cluster
	left := slices.Clone(c.Hosts)
	take := func(r manifests.Role) []manifests.Host {
		var out []manifests.Host
		left = slices.DeleteFunc(left, func(h manifests.Host) bool {
			if h.HasRole(r) {
				out = append(out, h)
				return true
			}
			return false
		})
		return out
	}
	planes, balancers := take(manifests.RoleControlPlane), take(manifests.RoleLoadBalancer)
	members, workers := take(manifests.RoleEtcd), take(manifests.RoleWorker)
	withEtcd := len(c.HostsWith(manifests.RoleEtcd)) > len(members)
	slices.SortStableFunc(members, func(a, b manifests.Host) int { return len(a.Roles) - len(b.Roles) })

	out := []group{{class: "clients", title: "Users and workers", hosts: workers, link: "API: " + c.Endpoint()}}
	api := "6443/tcp"
	switch c.Balancing() {
	case manifests.BalanceHosts:
		title := fmt.Sprintf("Load balancers: haproxy and keepalived share %s (VRRP %d)", c.LoadBalancer.VIP, c.VRRPID())
		if len(balancers) == 0 {
			var names []string
			for _, h := range c.HostsWith(manifests.RoleLoadBalancer) {
				names = append(names, h.Name)
			}
			title += ", on " + strings.Join(names, ", ")
		}
		out = append(out, group{class: "balancer", title: title, hosts: balancers, link: api + ", to API servers that are ready"})
	case manifests.BalanceExternal:
		out = append(out, group{class: "balancer", title: "External load balancer " + c.Endpoint(), link: api})
	case manifests.BalanceNodeLocal:
		out[0].link = "nodes: a proxy on each, " + c.NodeEndpoint() + "; users: " + c.Endpoint()
	}
	title := "Control plane"
	if len(planes) > 1 {
		title = fmt.Sprintf("%d control planes", len(planes))
	}
	if withEtcd {
		title += " with etcd"
	}
	out = append(out, group{class: "plane", title: title, hosts: planes, link: "2379/tcp, TLS"})
	if len(members) > 0 {
		out = append(out, group{class: "etcd", title: "etcd", hosts: members})
	}
	return out
}

// writeGroup writes a group whose frame begins at y, and returns the end of the frame.
func writeGroup(w io.Writer, g group, y int) int {
	hosts, more := g.hosts, 0
	if len(hosts) > maxBoxes {
		hosts, more = hosts[:maxBoxes-1], len(hosts)-maxBoxes+1
	}
	boxes := len(hosts)
	if more > 0 {
		boxes++
	}
	rows := (boxes + boxesInRow - 1) / boxesInRow
	height := groupHead + rows*(boxHeight+boxGap) + groupPad - boxGap
	if rows == 0 {
		height = groupHead + groupPad
	}
	fmt.Fprintf(w, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="8"/>`+"\n", g.class, groupMargin, y, graphWidth-2*groupMargin, height)
	fmt.Fprintf(w, `<text class="title" x="%d" y="%d">%s</text>`+"\n", groupMargin+groupPad, y+19, html.EscapeString(g.title))
	for i := range boxes {
		x := groupMargin + groupPad + i%boxesInRow*(boxWidth+boxGap)
		top := y + groupHead + i/boxesInRow*(boxHeight+boxGap)
		if i == len(hosts) {
			fmt.Fprintf(w, `<text class="small" x="%d" y="%d">and %d more</text>`+"\n", x+8, top+boxHeight/2, more)
			break
		}
		h := hosts[i]
		var roles []string
		for _, r := range h.Roles {
			roles = append(roles, shortRole[r])
		}
		fmt.Fprintf(w, `<rect x="%d" y="%d" width="%d" height="%d" rx="5"/>`+"\n", x, top, boxWidth, boxHeight)
		for j, line := range []string{fit(h.Name, 18), h.Address, strings.Join(roles, " ")} {
			class := []string{"title", "small", "small"}[j]
			fmt.Fprintf(w, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x+8, top+16+j*14, html.EscapeString(line))
		}
	}
	return y + height
}

var shortRole = map[manifests.Role]string{
	manifests.RoleControlPlane: "control", manifests.RoleEtcd: "etcd", manifests.RoleWorker: "worker", manifests.RoleLoadBalancer: "balancer",
}

// fit shortens s to n characters.
func fit(s string, n int) string {
	if len(s) <= n { // names of hosts are ASCII
		return s
	}
	return s[:n-1] + "…"
}
