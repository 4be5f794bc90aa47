package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"

	"github.com/offk8s/offk8s/installer/step"
)

// IsolationPolicy is the name of the NetworkPolicy that isolates a namespace.
const IsolationPolicy = "offk8s-isolation"

// Isolation keeps a NetworkPolicy in every namespace: pods accept packets from their own
// namespace, from kube-system and from outside the pod network. Other policies of the
// namespace can allow more.
type Isolation struct {
	PodCIDR string `json:"podCIDR"`
	// Exempt are namespaces without the policy: kube-system and that of the pod network.
	Exempt []string `json:"exempt,omitempty"`
	// FirstAddresses allows packets from the first address of each node's pod range, from
	// which nodes send; no pod has it.
	FirstAddresses bool `json:"firstAddresses,omitempty"`
	// Off removes the policies instead, since an earlier installation may have had them.
	Off bool `json:"off,omitempty"`
}

// Check returns an error if i cannot be used.
func (i Isolation) Check() error {
	var errs []error
	if _, err := netip.ParsePrefix(i.PodCIDR); err != nil {
		errs = append(errs, fmt.Errorf("isolation: podCIDR %q: %w", i.PodCIDR, err))
	}
	for _, ns := range i.Exempt {
		errs = append(errs, step.CheckName("exempt namespace", ns))
	}
	return errors.Join(errs...)
}

// policy returns the NetworkPolicy of a namespace. hosts are the addresses in the pod
// network that nodes send from.
func (i Isolation) policy(namespace string, hosts []string) object {
	from := []any{
		object{"podSelector": object{}},
		// Kubernetes sets the label since 1.21.
		object{"namespaceSelector": object{"matchLabels": object{"kubernetes.io/metadata.name": "kube-system"}}},
		object{"ipBlock": object{"cidr": "0.0.0.0/0", "except": []any{i.PodCIDR}}},
	}
	for _, h := range hosts {
		from = append(from, object{"ipBlock": object{"cidr": h}})
	}
	return object{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": object{"name": IsolationPolicy, "namespace": namespace},
		"spec": object{
			"podSelector": object{}, "policyTypes": []any{"Ingress"},
			"ingress": []any{object{"from": from}},
		},
	}
}

// Isolate creates the policy in the namespaces that lack it, corrects those that differ,
// and returns the names of the namespaces that it changed.
func (c Client) Isolate(ctx context.Context, i Isolation) ([]string, error) {
	a, err := c.connect()
	if err != nil {
		return nil, err
	}
	defer a.close()
	live, err := a.isolationPolicies(ctx)
	if err != nil {
		return nil, err
	}
	if i.Off {
		return c.removePolicies(ctx, slices.Sorted(maps.Keys(live)))
	}
	namespaces, err := a.unisolated(ctx, i.Exempt)
	if err != nil || len(namespaces) == 0 {
		return nil, err
	}
	var hosts []string
	if i.FirstAddresses {
		if hosts, err = a.hostAddresses(ctx); err != nil {
			return nil, err
		}
	}
	var changed []string
	var items []any
	for _, ns := range namespaces {
		want := i.policy(ns, hosts)
		spec, err := json.Marshal(want["spec"])
		if err != nil {
			return nil, err
		}
		// Not a part of it: more fields could allow more.
		if !bytes.Equal(spec, live[ns]) {
			changed, items = append(changed, ns), append(items, want)
		}
	}
	if len(items) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		return nil, err
	}
	// The objects are ours, and the service may not read the API's schema.
	_, err = c.kubectl(ctx, b, "apply", "--validate=false", "-f", "-")
	return changed, err
}

// removePolicies deletes the policy of each namespace.
func (c Client) removePolicies(ctx context.Context, namespaces []string) (removed []string, err error) {
	for _, ns := range namespaces {
		if err := step.CheckName("namespace", ns); err != nil {
			return removed, err // kubectl gets it as an argument
		}
		if _, err := c.kubectl(ctx, nil, "delete", "networkpolicy", IsolationPolicy, "-n", ns, "--ignore-not-found"); err != nil {
			return removed, err
		}
		removed = append(removed, ns)
	}
	return removed, nil
}

// unisolated returns the names of the namespaces that the policy is for.
func (a *api) unisolated(ctx context.Context, exempt []string) ([]string, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ Phase string }
		}
	}
	if err := a.get(ctx, &list, apiPath("v1", "", "namespaces", "")); err != nil {
		return nil, err
	}
	var out []string
	for _, n := range list.Items {
		// Nothing can be created in a namespace that is being deleted.
		if n.Status.Phase != "Terminating" && !slices.Contains(exempt, n.Metadata.Name) {
			out = append(out, n.Metadata.Name)
		}
	}
	return out, nil
}

// hostAddresses returns the first address of each node's pod range, as a range.
func (a *api) hostAddresses(ctx context.Context) ([]string, error) {
	var list struct {
		Items []struct {
			Spec struct{ PodCIDR string }
		}
	}
	if err := a.get(ctx, &list, apiPath("v1", "", "nodes", "")); err != nil {
		return nil, err
	}
	var out []string
	for _, n := range list.Items {
		if p, err := netip.ParsePrefix(n.Spec.PodCIDR); err == nil {
			first := p.Masked().Addr()
			out = append(out, netip.PrefixFrom(first, first.BitLen()).String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// isolationPolicies returns the specs of the policies that are there, by namespace.
func (a *api) isolationPolicies(ctx context.Context) (map[string][]byte, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Namespace string }
			Spec     any
		}
	}
	path := apiPath("networking.k8s.io/v1", "", "networkpolicies", "") + "?" +
		url.Values{"fieldSelector": {"metadata.name=" + IsolationPolicy}}.Encode()
	if err := a.get(ctx, &list, path); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, p := range list.Items {
		spec, err := json.Marshal(p.Spec)
		if err != nil {
			return nil, err
		}
		out[p.Metadata.Namespace] = spec
	}
	return out, nil
}
