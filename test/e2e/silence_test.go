//go:build e2e

package e2e

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// record begins to record the connections of all hosts; silence looks at them.
func (r *road) record(t *testing.T) {
	for _, h := range r.hosts {
		c, err := startCapture(h)
		if err != nil {
			t.Fatalf("%s: %v", h.name, err)
		}
		r.captures = append(r.captures, c)
	}
}

// silence: until now the hosts have connected to the mirror and to each other alone, and no
// program of theirs has asked a name server for a name outside the cluster.
func (r *road) silence(t *testing.T) {
	allowed := map[netip.Addr]bool{}
	var hosts []string
	for _, c := range r.captures {
		allowed[netip.MustParseAddr(c.host.addr)] = true
		hosts = append(hosts, c.host.name)
	}
	if r.vip != "" {
		allowed[netip.MustParseAddr(r.vip)] = true
	}
	var text strings.Builder
	for _, c := range r.captures {
		if err := c.end(); err != nil {
			t.Errorf("%s: %v", c.host.name, err)
		}
		fmt.Fprintf(&text, "%s: lost %d\n", c.host.name, c.lost)
		for _, f := range slices.SortedFunc(maps.Keys(c.flows), func(a, b flow) int { return cmp.Compare(a.String(), b.String()) }) {
			fmt.Fprintf(&text, "%s: %6d × %s\n", c.host.name, c.flows[f], f)
			if !f.allowed(allowed) {
				t.Errorf("%s connects to %s", c.host.name, f)
			}
		}
		for _, q := range slices.Sorted(maps.Keys(c.questions)) {
			fmt.Fprintf(&text, "%s: %6d × name %s\n", c.host.name, c.questions[q], q)
			if name := strings.TrimSuffix(q, "."); !strings.HasSuffix(name, ".cluster.local") && !slices.Contains(hosts, name) {
				t.Errorf("%s asks a name server for %q", c.host.name, q)
			}
		}
		if mirror := netip.MustParseAddrPort(mirrorAddr); c.flows[flow{"tcp", mirror}] == 0 {
			t.Errorf("%s: no connection to the mirror is recorded", c.host.name)
		}
		if c.lost > 0 {
			t.Errorf("%s: %d packets are not recorded", c.host.name, c.lost)
		}
	}
	r.captures = nil
	must(t, os.WriteFile(filepath.Join(r.work, "connections.txt"), []byte(text.String()), 0o644))
	t.Logf("connections of hosts:\n%s", text.String())
}

// flow is a connection that a host opens, or datagrams that it sends.
type flow struct {
	protocol string
	to       netip.AddrPort // of datagrams the lower of the two ports
}

func (f flow) String() string { return fmt.Sprintf("%s %s", f.to, f.protocol) }

// allowed reports whether the flow goes to a host or the mirror, or is the kernel's about
// the addresses of the link.
func (f flow) allowed(hosts map[netip.Addr]bool) bool {
	switch to := f.to.Addr(); {
	case to.IsLinkLocalMulticast():
		return f.protocol == "igmp" || f.protocol == "icmpv6"
	case f.to == netip.MustParseAddrPort(mirrorAddr):
		return f.protocol == "tcp"
	default:
		return hosts[to]
	}
}

// capture records the connections of a host: packets on any interface of its network, of
// pods and loopback too, where questions to name servers show that have no way out.
type capture struct {
	host       host
	fd         int
	cards      []int // indexes of the interfaces that lead out of the host
	stop, done chan struct{}

	flows     map[flow]int
	questions map[string]int
	lost      uint32 // packets for which the kernel had no room
	err       error
}

// connections is a classic BPF program (its packets begin with the network header) that
// leaves out ARP, and of TCP all but the first packet of a connection.
var connections = []unix.SockFilter{
	0:  {Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0xfffff000}, // the EtherType: SKF_AD_OFF + SKF_AD_PROTOCOL
	1:  {Code: unix.BPF_JMP | unix.BPF_JEQ, K: unix.ETH_P_ARP, Jt: 13},
	2:  {Code: unix.BPF_JMP | unix.BPF_JEQ, K: unix.ETH_P_IPV6, Jt: 6},
	3:  {Code: unix.BPF_JMP | unix.BPF_JEQ, K: unix.ETH_P_IP, Jf: 10},
	4:  {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
	5:  {Code: unix.BPF_JMP | unix.BPF_JEQ, K: unix.IPPROTO_TCP, Jf: 8},
	6:  {Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH},
	7:  {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13},
	8:  {Code: unix.BPF_JMP | unix.BPF_JA, K: 3},
	9:  {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6},
	10: {Code: unix.BPF_JMP | unix.BPF_JEQ, K: unix.IPPROTO_TCP, Jf: 3},
	11: {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 40 + 13},
	12: {Code: unix.BPF_ALU | unix.BPF_AND, K: 0x12}, // SYN and ACK
	13: {Code: unix.BPF_JMP | unix.BPF_JEQ, K: 0x02, Jf: 1},
	14: {Code: unix.BPF_RET, K: maxPacket},
	15: {Code: unix.BPF_RET, K: 0},
}

const maxPacket = 512 // bytes of each packet that are recorded

func startCapture(h host) (*capture, error) {
	c := &capture{host: h, stop: make(chan struct{}), done: make(chan struct{}), flows: map[flow]int{}, questions: map[string]int{}}
	opened := make(chan error, 1)
	go func() { // its thread ends with it, see dialFrom
		runtime.LockOSThread()
		opened <- c.open()
	}()
	if err := <-opened; err != nil {
		return nil, err
	}
	go c.run()
	return c, nil
}

// open opens the socket in the network of the host.
func (c *capture) open() error {
	f, err := os.Open("/run/netns/" + c.host.name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	for _, name := range []string{"host0", "host1"} {
		if i, err := net.InterfaceByName(name); err == nil {
			c.cards = append(c.cards, i.Index)
		}
	}
	// Without a protocol, it receives nothing before the filter is there.
	c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(
		unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(connections)), Filter: &connections[0]}),
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}),
		unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})}),
	)
}

// end stops the recording.
func (c *capture) end() error {
	close(c.stop)
	<-c.done
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil {
		c.lost = stats.Drops
	}
	return errors.Join(c.err, err, unix.Close(c.fd))
}

func (c *capture) run() {
	defer close(c.done)
	b := make([]byte, maxPacket)
	for {
		flags := 0
		select {
		case <-c.stop:
			flags = unix.MSG_DONTWAIT // those that wait are the last ones
		default:
		}
		n, from, err := unix.Recvfrom(c.fd, b, flags)
		if link, ok := from.(*unix.SockaddrLinklayer); ok && err == nil {
			c.packet(b[:n], link.Pkttype == unix.PACKET_OUTGOING && slices.Contains(c.cards, link.Ifindex))
			continue
		}
		switch {
		case errors.Is(err, unix.EAGAIN) && flags != 0:
			return
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		default:
			c.err = cmp.Or(err, errors.New("a packet without an interface"))
			return
		}
	}
}

// packet records a packet; leaves reports whether it leaves the host.
func (c *capture) packet(b []byte, leaves bool) {
	to, protocol, payload, ok := network(b)
	if !ok {
		return
	}
	f := flow{fmt.Sprint("protocol ", protocol), netip.AddrPortFrom(to, 0)}
	switch protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		if len(payload) < 8 {
			return
		}
		from, port := binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])
		f.protocol = "tcp"
		if protocol == unix.IPPROTO_UDP {
			f.protocol = "udp"
			c.question(port, payload[8:])
			port = min(port, from)
		}
		f.to = netip.AddrPortFrom(to, port)
	case unix.IPPROTO_ICMP:
		f.protocol = "icmp"
	case unix.IPPROTO_ICMPV6:
		f.protocol = "icmpv6"
	case unix.IPPROTO_IGMP:
		f.protocol = "igmp"
	case 112:
		f.protocol = "vrrp"
	}
	if leaves {
		c.flows[f]++
	}
}

// network returns the destination, protocol and payload of an IP packet; a later fragment
// has none.
func network(b []byte) (to netip.Addr, protocol byte, payload []byte, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && binary.BigEndian.Uint16(b[6:])&0x1fff == 0:
		to, _ = netip.AddrFromSlice(b[16:20])
		return to, b[9], b[min(int(b[0]&15)*4, len(b)):], true
	case len(b) >= 40 && b[0]>>4 == 6:
		to, _ = netip.AddrFromSlice(b[24:40])
		protocol, payload = b[6], b[40:]
		if protocol == 0 && len(payload) >= 8 { // hop-by-hop options, which MLD has
			protocol, payload = payload[0], payload[min(8*(int(payload[1])+1), len(payload)):]
		}
		return to, protocol, payload, true
	}
	return to, 0, nil, false
}

// question records the names in a question to a name server, of the site or on the link.
func (c *capture) question(port uint16, message []byte) {
	if port != 53 && port != 5353 && port != 5355 {
		return
	}
	var p dnsmessage.Parser
	if _, err := p.Start(message); err != nil {
		c.questions[fmt.Sprintf("(%d bytes to port %d)", len(message), port)]++
		return
	}
	for q, err := p.Question(); err == nil; q, err = p.Question() {
		c.questions[strings.ToLower(q.Name.String())]++
	}
}
