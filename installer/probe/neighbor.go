package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// everybody is the Ethernet broadcast address.
var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// attempts is how often neighbor asks, since a question may get lost.
const attempts = 4

// neighbor asks for the address until somebody answers or the time is over.
func (p Probe) neighbor(ctx context.Context, limit time.Duration) (found []Station, err error) {
	if !p.Address.Is4() {
		return nil, fmt.Errorf("address %s: not IPv4", p.Address)
	}
	l, err := openLink(p.Interface, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	question := arpProbe(l.iface.HardwareAddr, p.Address)
	for n := 0; err == nil && len(found) == 0 && n < attempts; n++ {
		if err = l.send(question, everybody); err != nil {
			break
		}
		err = l.receive(ctx, limit/attempts, func(packet []byte, _ net.HardwareAddr) bool {
			if sender, mac, ok := parseARP(packet); ok && sender == p.Address {
				found = append(found, Station{Address: sender, MAC: mac.String()})
			}
			return len(found) == 0
		})
	}
	return found, err
}

// arpHeader starts every ARP packet for IPv4 over Ethernet (RFC 826).
var arpHeader = []byte{0, 1, 8, 0, 6, 4}

// arpProbe returns a request for an address without one of the sender, so that nobody
// remembers it (RFC 5227, 1.1) and no router answers for others.
func arpProbe(sender net.HardwareAddr, target netip.Addr) []byte {
	b := append(bytes.Clone(arpHeader), 0, 1)
	b = append(append(b, sender...), 0, 0, 0, 0)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, target.AsSlice()...)
}

// parseARP returns the sender of a reply, or of a request, which uses the address as well.
func parseARP(b []byte) (sender netip.Addr, mac net.HardwareAddr, ok bool) {
	if len(b) < 28 || !bytes.HasPrefix(b, arpHeader) {
		return netip.Addr{}, nil, false
	}
	operation := binary.BigEndian.Uint16(b[6:])
	return netip.AddrFrom4([4]byte(b[14:18])), bytes.Clone(b[8:14]), operation == 1 || operation == 2
}
