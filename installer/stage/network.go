package stage

import (
	"encoding/json"
	"fmt"

	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/manifests/catalog"
	"github.com/offk8s/offk8s/manifests/strict"
)

// network returns the pod network of the bundle with the settings of cluster.yaml.
func (in Input) network() (catalog.CNIRelease, error) {
	settings, problems := in.Lock.CNIRelease.Settings(in.Cluster.Network.Options)
	if len(problems) > 0 {
		return catalog.CNIRelease{}, strict.NewError(problems)
	}
	return in.Lock.CNIRelease.With(settings)
}

// network is Input.network; an error is that of the list.
func (l *list) network(in Input) catalog.CNIRelease {
	n, err := in.network()
	l.fail(err)
	return n
}

// networkSteps returns the step that starts the pod network.
func networkSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "network"}
	if h.HasRole(manifests.RoleControlPlane) {
		templateSteps(l, in, in.Lock.CNI, in.Lock.CNIRelease.Objects, in.Lock.CNIRelease.Images)
	}
	return l.done()
}

// nodeNetworkSteps returns the step that waits until the pod network works on the node:
// pods without a probe count as ready before they have done anything.
func nodeNetworkSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "nodenetwork"}
	if cni := l.network(in); h.IsNode() && len(cni.Ready) > 0 {
		l.add("up", &step.Present{Files: cni.Ready, Logs: cni.Logs, Text: "the pod network is up on this node"}).
			Awaits = in.firstOthers(h)
	}
	return l.done()
}

// readySteps returns the steps that wait until the API knows that pods can run: those
// of the pod network are ready, and the nodes. They come after nodeNetworkSteps, which
// name the node that has no network, and the cause.
func readySteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "ready"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	objects, err := renderObjects(in, in.Lock.CNIRelease.Objects, in.Lock.CNIRelease.Images)
	l.fail(err)
	nodes := others(in.present(in.Cluster.Nodes()), h)
	l.rollout(in, in.Lock.CNI+"-pods", objects, nodes)
	l.add("nodes", &kube.Nodes{Names: in.nodeNames(), Ready: true}).Awaits = nodes
	return l.done()
}

// dnsSteps returns the steps that start the cluster's DNS.
func dnsSteps(in Input, h manifests.Host) ([]step.Item, error) {
	l := &list{stage: "dns"}
	if !h.HasRole(manifests.RoleControlPlane) {
		return l.done()
	}
	objects := templateSteps(l, in, "coredns", in.Lock.Release.DNSTemplate, in.Lock.Release.Images)
	l.rollout(in, "coredns-pods", objects, nil)
	return l.done()
}

// templateSteps adds the step that applies the objects of a catalog template and
// returns them.
func templateSteps(l *list, in Input, name, template string, images map[string]catalog.Image) []json.RawMessage {
	objects, err := renderObjects(in, template, images)
	if err != nil {
		l.fail(fmt.Errorf("%s: %w", name, err))
	}
	l.add(name, &kube.Apply{Objects: objects, Text: name})
	return objects
}

// rollout adds the step that waits for the pods of objects, if they have any, on the
// hosts awaited.
func (l *list) rollout(in Input, id string, objects []json.RawMessage, awaits []string) {
	workloads, err := kube.Workloads(objects)
	l.fail(err)
	if len(workloads) > 0 {
		l.add(id, &kube.Rollout{Workloads: workloads, Nodes: in.nodeNames()}).Awaits = awaits
	}
}

func renderObjects(in Input, template string, images map[string]catalog.Image) ([]json.RawMessage, error) {
	text, err := renderText(in, template, images)
	if err != nil {
		return nil, err
	}
	return splitObjects(text)
}

func renderText(in Input, template string, images map[string]catalog.Image) (string, error) {
	refs, err := roleImages(in, images)
	if err != nil {
		return "", err
	}
	dns, err := in.Cluster.ServiceIP(10)
	if err != nil {
		return "", err
	}
	settings, _ := in.Lock.CNIRelease.Settings(in.Cluster.Network.Options)
	data := catalog.ObjectData{
		PodCIDR: in.Cluster.PodCIDRs()[0], ServiceCIDR: in.Cluster.ServiceCIDRs()[0], NodePorts: in.Cluster.NodePorts(),
		DNSAddress: dns, LocalDNS: in.localDNS(dns), DNSDomain: in.Cluster.DNSDomain(), APIServer: "https://" + in.Cluster.NodeEndpoint(),
		Forward: canForward(in), Namespace: in.Lock.CNIRelease.ObjectNamespace(), Options: settings, Images: refs,
		Nodes: allAddressesOf(in.Cluster.Nodes()),
	}
	if in.Cluster.DualStack() {
		data.PodCIDR6 = in.Cluster.PodCIDRs()[1]
	}
	text, err := catalog.RenderObjects(template, data)
	return string(text), err
}

// canForward reports whether DNS pods can forward other names: they can run on any
// node, so that each node needs a name server. A host alone takes the others to be like it.
func canForward(in Input) bool {
	for _, h := range in.Cluster.Nodes() {
		f, known := in.Facts[h.Name]
		if !known && in.Alone.Host != "" {
			f = in.Facts[in.Alone.Host]
		}
		if len(f.Resolvers) == 0 {
			return false
		}
	}
	return true
}

// splitObjects converts YAML documents to JSON objects, in order.
func splitObjects(text string) ([]json.RawMessage, error) {
	documents, err := strict.Documents([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	var out []json.RawMessage
	for _, o := range documents {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("objects: %w", err)
		}
		out = append(out, b)
	}
	return out, nil
}
