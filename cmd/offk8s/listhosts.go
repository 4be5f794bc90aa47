package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/manifests"
)

// upstreamHost is a host that pack connects to.
type upstreamHost struct {
	Host string   `json:"host"` // with a port if it is not 443 or 80
	For  []string `json:"for"`  // the artifacts that come from there
}

// listHosts prints the hosts that packing m needs. It connects to none.
func (a *app) listHosts(ctx context.Context, m manifests.Manifest, o packOptions, client *fetch.Client) error {
	cat, err := loadCatalog(o.catalog)
	if err != nil {
		return err
	}
	upstreams, client, err := bundle.PlanUpstreams(ctx, m, cat, client)
	if err != nil {
		return err
	}
	hosts := map[string][]string{}
	for _, u := range upstreams {
		host, err := client.HostOf(u.Address)
		if err != nil {
			host = u.Address // an archive of apt that only a rewrite can locate
		}
		if !slices.Contains(hosts[host], u.Name) {
			hosts[host] = append(hosts[host], u.Name)
		}
	}
	var list []upstreamHost
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		list = append(list, upstreamHost{host, hosts[host]})
	}
	a.notef("registries and release pages redirect to other hosts; docs/requirements.md lists those known")
	return a.result(list, func(w io.Writer) error {
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(tw, "HOST\tFOR")
		for _, h := range list {
			names := h.For
			if len(names) > 3 {
				names = append(slices.Clone(names[:3]), fmt.Sprintf("%d more", len(names)-3))
			}
			fmt.Fprintf(tw, "%s\t%s\n", h.Host, strings.Join(names, ", "))
		}
		return tw.Flush()
	})
}
