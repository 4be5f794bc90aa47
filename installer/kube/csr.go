package kube

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/installer/step"
)

// NodeAddress is a node with the only addresses that its certificate may contain.
type NodeAddress struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Second  string `json:"secondAddress,omitempty"` // of the other family, if there is one
}

// addresses parses the addresses.
func (n NodeAddress) addresses() ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range []string{n.Address, n.Second} {
		if s == "" && len(out) > 0 {
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("node %q: address %q: not an address", n.Name, s)
		}
		out = append(out, a)
	}
	return out, nil
}

// CheckInventory returns an error for each node whose name or address is none.
func CheckInventory(nodes []NodeAddress) error {
	var errs []error
	for _, n := range nodes {
		_, err := n.addresses()
		errs = append(errs, step.CheckName("node", n.Name), err)
	}
	return errors.Join(errs...)
}

type csr struct {
	Metadata struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		Request    []byte   `json:"request"` // PEM
		SignerName string   `json:"signerName"`
		Username   string   `json:"username"`
		Groups     []string `json:"groups"`
		Usages     []string `json:"usages"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type string `json:"type"`
		} `json:"conditions"`
	} `json:"status"`
}

// maxRefusal is the limit on the text of a refusal in characters: a request chooses
// the names that the text repeats.
const maxRefusal = 400

// ServingRequest is a kubelet's request for a serving certificate that nobody has
// approved or denied.
type ServingRequest struct {
	Name string
	UID  string // differs for a later request of the same name
	Node string // of the inventory; empty if the request is refused
	// Refused is the reason why the request must not be approved; nil if it may be.
	Refused error
}

// ServingRequests returns the pending requests of kubelets for serving certificates.
// Kubernetes does not approve them, because only an inventory says which address is
// whose: a request is right if a node of it asks for its own name and address.
func (c Client) ServingRequests(ctx context.Context, inventory []NodeAddress) ([]ServingRequest, error) {
	var list struct{ Items []csr }
	err := c.get(ctx, &list, requestsPath("v1"))
	if notFound(err) { // before Kubernetes 1.19
		err = c.get(ctx, &list, requestsPath("v1beta1"))
	}
	if err != nil {
		return nil, err
	}
	var out []ServingRequest
	for _, item := range list.Items {
		if len(item.Status.Conditions) > 0 || !item.servingRequest() {
			continue
		}
		r := ServingRequest{Name: item.Metadata.Name, UID: item.Metadata.UID}
		node, err := item.check(inventory)
		if err == nil {
			err = step.CheckName("request", r.Name) // kubectl gets it as an argument
		}
		if err == nil {
			r.Node = node
		} else {
			text := []rune(err.Error())
			r.Refused = errors.New(string(text[:min(len(text), maxRefusal)]))
		}
		out = append(out, r)
	}
	return out, nil
}

func requestsPath(version string) string {
	return apiPath("certificates.k8s.io/"+version, "", "certificatesigningrequests", "")
}

// Approve approves requests with one call. Approving one again changes nothing.
func (c Client) Approve(ctx context.Context, requests ...ServingRequest) error {
	args := []string{"certificate", "approve"}
	for _, r := range requests {
		if r.Refused != nil {
			return fmt.Errorf("approve request %q: %w", r.Name, r.Refused)
		}
		args = append(args, r.Name)
	}
	_, err := c.kubectl(ctx, nil, args...)
	return err
}

// servingRequest reports whether a kubelet requests a serving certificate. Before
// Kubernetes 1.18 requests have no signer name.
func (c csr) servingRequest() bool {
	if c.Spec.SignerName != "" && c.Spec.SignerName != "kubernetes.io/legacy-unknown" {
		return c.Spec.SignerName == "kubernetes.io/kubelet-serving"
	}
	return slices.Contains(c.Spec.Usages, "server auth")
}

// check returns the name of the node of the inventory that requests c for itself, or
// an error.
func (c csr) check(inventory []NodeAddress) (string, error) {
	name, ok := strings.CutPrefix(c.Spec.Username, "system:node:")
	i := slices.IndexFunc(inventory, func(n NodeAddress) bool { return ok && n.Name == name })
	if i < 0 {
		return "", fmt.Errorf("requester %q is not a node of the inventory", c.Spec.Username)
	}
	if !slices.Contains(c.Spec.Groups, "system:nodes") {
		return "", fmt.Errorf("requester %q is not in group system:nodes", c.Spec.Username)
	}
	for _, u := range c.Spec.Usages {
		if !slices.Contains([]string{"digital signature", "key encipherment", "server auth"}, u) {
			return "", fmt.Errorf("usage %q", u)
		}
	}
	block, _ := pem.Decode(c.Spec.Request)
	if block == nil {
		return "", errors.New("no PEM in the request")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return "", err
	}
	if err := req.CheckSignature(); err != nil {
		return "", err
	}
	return name, inventory[i].names(req, c.Spec.Username)
}

func (n NodeAddress) names(req *x509.CertificateRequest, username string) error {
	if req.Subject.CommonName != username || !slices.Equal(req.Subject.Organization, []string{"system:nodes"}) {
		return fmt.Errorf("subject %q is not the requester", req.Subject)
	}
	if len(req.EmailAddresses)+len(req.URIs) > 0 || len(req.DNSNames)+len(req.IPAddresses) == 0 {
		return errors.New("wants other names than DNS names and addresses")
	}
	for _, d := range req.DNSNames {
		if d != n.Name {
			return fmt.Errorf("DNS name %q, the node is %q", d, n.Name)
		}
	}
	have, err := n.addresses()
	if err != nil {
		return err
	}
	for _, ip := range req.IPAddresses {
		if got, ok := netip.AddrFromSlice(ip); !ok || !slices.Contains(have, got.Unmap()) {
			return fmt.Errorf("address %s, the node's is %s", ip, strings.Trim(fmt.Sprint(have), "[]"))
		}
	}
	return nil
}
