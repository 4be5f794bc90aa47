package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Dialling is how long Dial tries.
const Dialling = 3 * time.Second

// The first bytes of the packets of Dial and of their answers. An answer is as long as the
// question, and nobody answers an answer.
var (
	question = []byte("offk8s?")
	reply    = []byte("offk8s!")
)

const nonceSize = 16

// protocolNumbers are the protocols that have no ports, as net knows them.
var protocolNumbers = map[string]string{"vrrp": "112", "ipip": "4"}

// Open opens the sockets of all probes of the kind Listen, until the returned one is closed.
// They answer Dial. An answer is Busy if another program has the port.
func Open(probes []Probe) (io.Closer, []Answer) {
	open := &sockets{}
	out := make([]Answer, len(probes))
	for i, p := range probes {
		out[i].Probe = p
		err := open.add(p)
		if errors.Is(err, unix.EADDRINUSE) {
			out[i].Busy = true
		} else if err != nil {
			out[i].Error = err.Error()
		}
	}
	return open, out
}

// sockets are open sockets and what serves them.
type sockets struct {
	list    []io.Closer
	serving sync.WaitGroup
}

func (s *sockets) Close() error {
	var errs []error
	for _, c := range s.list {
		errs = append(errs, c.Close())
	}
	s.serving.Wait()
	return errors.Join(errs...)
}

func (s *sockets) add(p Probe) error {
	address := net.JoinHostPort(p.Address.String(), strconv.Itoa(p.Port))
	if p.Kind != Listen {
		return fmt.Errorf("probe %q: not one that listens", p.Kind)
	}
	if p.Protocol == "tcp" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		s.list = append(s.list, l)
		s.serving.Go(func() { accept(l) })
		return nil
	}
	network := "udp"
	if p.Protocol != "udp" {
		number, ok := protocolNumbers[p.Protocol]
		if !ok {
			return fmt.Errorf("protocol %q: unknown", p.Protocol)
		}
		network, address = "ip4:"+number, p.Address.String()
	}
	c, err := net.ListenPacket(network, address)
	if err != nil {
		return err
	}
	s.list = append(s.list, c)
	s.serving.Go(func() { echo(c) })
	return nil
}

// accept ends the connections that it accepts when the other end has done so.
func accept(l net.Listener) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		open.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(Dialling))
			_, _ = c.Read(make([]byte, 1)) // only its end matters
		})
	}
}

// echo answers questions.
func echo(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if nonce, ok := bytes.CutPrefix(buf[:n], question); err == nil && ok && len(nonce) == nonceSize {
			_, _ = c.WriteTo(append(bytes.Clone(reply), nonce...), from) // Dial asks again
		}
	}
}

// dial connects to Target, or sends packets there until one is answered.
func (p Probe) dial(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	network := p.Protocol
	if number, ok := protocolNumbers[p.Protocol]; ok {
		network = "ip4:" + number
	} else if network != "tcp" && network != "udp" {
		return fmt.Errorf("protocol %q: unknown", p.Protocol)
	}
	c, err := new(net.Dialer).DialContext(ctx, network, p.Target)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	if network == "tcp" {
		return nil
	}
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	return ask(ctx, c.(net.PacketConn), c, nonce)
}

// again is how long Dial waits for an answer before it asks again.
const again = 200 * time.Millisecond

// ask sends questions until one is answered. ReadFrom leaves out the header of IP packets,
// which Read does not.
func ask(ctx context.Context, in net.PacketConn, out io.Writer, nonce []byte) error {
	want := append(bytes.Clone(reply), nonce...)
	buf := make([]byte, 1500)
	refused := ""
	for ctx.Err() == nil {
		if _, err := out.Write(append(bytes.Clone(question), nonce...)); err != nil {
			refused = short(err).Error()
		}
		for end := time.Now().Add(again); ; {
			_ = in.SetReadDeadline(end)
			n, _, err := in.ReadFrom(buf)
			if err == nil && bytes.Equal(buf[:n], want) {
				return nil
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil { // such as port unreachable
				refused = short(err).Error()
				if !sleep(ctx, time.Until(end)) {
					break
				}
			}
		}
	}
	if refused != "" {
		return errors.New(refused)
	}
	return errors.New("no answer")
}

// sleep waits and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// short returns the cause of an error of package net, without addresses.
func short(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Timeout() {
			return errors.New("no answer")
		}
		if call, ok := errors.AsType[*os.SyscallError](err); ok {
			return call.Err
		}
		return op.Err
	}
	return err
}
