package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// link is a packet socket (packet(7)) on an interface. It sees packets before any
// firewall does, and the kernel reads and writes the Ethernet header.
type link struct {
	fd    int
	iface *net.Interface
	proto uint16 // in network byte order
}

// openLink opens a socket for an EtherType. filter, if any, is a classic BPF program that
// accepts packets, from their network header on.
func openLink(name string, etherType uint16, filter []unix.SockFilter) (*link, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	if len(iface.HardwareAddr) != 6 {
		return nil, fmt.Errorf("interface %q: has no Ethernet address", name)
	}
	// Without a protocol, it receives nothing before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	l := &link{fd: fd, iface: iface, proto: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType))}
	if len(filter) > 0 {
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}
	wait := unix.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
	err = errors.Join(err,
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: l.proto, Ifindex: iface.Index}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("packet socket on %q: %w", name, err), l.Close())
	}
	return l, nil
}

func (l *link) Close() error { return unix.Close(l.fd) }

// join receives packets to a multicast Ethernet address too.
func (l *link) join(to net.HardwareAddr) error {
	m := unix.PacketMreq{Ifindex: int32(l.iface.Index), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(to))}
	copy(m.Address[:], to)
	if err := unix.SetsockoptPacketMreq(l.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		return fmt.Errorf("interface %q: join %s: %w", l.iface.Name, to, err)
	}
	return nil
}

// send sends a packet to an Ethernet address.
func (l *link) send(packet []byte, to net.HardwareAddr) error {
	dest := unix.SockaddrLinklayer{Protocol: l.proto, Ifindex: l.iface.Index, Halen: uint8(len(to))}
	copy(dest.Addr[:], to)
	if err := unix.Sendto(l.fd, packet, 0, &dest); err != nil {
		return fmt.Errorf("interface %q: send: %w", l.iface.Name, err)
	}
	return nil
}

// receive calls on with each packet that arrives and its Ethernet source, until on returns
// false, the time is over or ctx ends.
func (l *link) receive(ctx context.Context, limit time.Duration, on func(packet []byte, from net.HardwareAddr) bool) error {
	buf := make([]byte, 2048)
	for end := time.Now().Add(limit); ; {
		n, from, err := unix.Recvfrom(l.fd, buf, 0)
		switch {
		case err == nil:
			source := net.HardwareAddr{}
			if s, ok := from.(*unix.SockaddrLinklayer); ok {
				source = s.Addr[:min(int(s.Halen), len(s.Addr))]
			}
			if !on(buf[:n], source) {
				return nil
			}
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("interface %q: receive: %w", l.iface.Name, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(end) {
			return nil
		}
	}
}
