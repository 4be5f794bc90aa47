package probe

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// protocolVRRP is the IP protocol.
const protocolVRRP = 112

// vrrpGroup is the Ethernet address of 224.0.0.18.
var vrrpGroup = net.HardwareAddr{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}

// onlyVRRP accepts IPv4 packets of the protocol.
var onlyVRRP = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolVRRP, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// routers returns the routers that announce themselves within the time.
func (p Probe) routers(ctx context.Context, limit time.Duration) ([]Station, error) {
	l, err := openVRRP(p.Interface)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.routers(ctx, limit)
}

func openVRRP(name string) (*link, error) {
	l, err := openLink(name, unix.ETH_P_IP, onlyVRRP)
	if err != nil {
		return nil, err
	}
	if err := l.join(vrrpGroup); err != nil {
		_ = l.Close() // it was only to listen
		return nil, err
	}
	return l, nil
}

func (l *link) routers(ctx context.Context, limit time.Duration) (found []Station, err error) {
	err = l.receive(ctx, limit, func(packet []byte, from net.HardwareAddr) bool {
		if s, ok := parseVRRP(packet); ok {
			s.MAC = from.String()
			found = appendNew(found, s)
		}
		return true
	})
	return found, err
}

// parseVRRP returns the router of an advertisement, an IPv4 packet: versions 2 and 3 both
// begin with version and type, which is 1, and the router's ID.
func parseVRRP(b []byte) (Station, bool) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != protocolVRRP {
		return Station{}, false
	}
	header := int(b[0]&0xf) * 4
	if header < 20 || len(b) < header+8 || b[header]&0xf != 1 {
		return Station{}, false
	}
	return Station{Address: netip.AddrFrom4([4]byte(b[12:16])), VRRPID: int(b[header+1])}, true
}
