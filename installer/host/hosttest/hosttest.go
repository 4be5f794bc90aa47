// Package hosttest has the parts of an SSH server for tests: keys, and the answers to a
// client that runs programs.
package hosttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// NewKey returns a fresh ed25519 key, and its private half in the format of OpenSSH.
func NewKey() (key ssh.Signer, private []byte, err error) {
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(secret, "")
	if err != nil {
		return nil, nil, err
	}
	key, err = ssh.NewSignerFromKey(secret)
	return key, pem.EncodeToMemory(block), err
}

// Accept calls serve for each connection to l, and returns when l is closed and all calls
// have ended.
func Accept(l net.Listener, serve func(net.Conn)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { serve(c) })
	}
}

// Answer lets a client log in as conf says and calls run for each command line, with its
// channel; run returns the exit status. Channels of another type go to other. It closes c
// when the client has gone, and returns when all calls have ended.
func Answer(c net.Conn, conf *ssh.ServerConfig, run func(line string, ch ssh.Channel) (status int), other func(ssh.NewChannel)) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	var wg sync.WaitGroup
	defer wg.Wait()
	for n := range channels {
		if n.ChannelType() != "session" {
			wg.Go(func() { other(n) })
		} else if ch, requests, err := n.Accept(); err == nil {
			wg.Go(func() { session(ch, requests, run) })
		}
	}
}

// session runs the first command line that the client sends.
func session(ch ssh.Channel, requests <-chan *ssh.Request, run func(string, ssh.Channel) int) {
	defer ch.Close()
	for r := range requests {
		var line struct{ Text string }
		ok := r.Type == "exec" && ssh.Unmarshal(r.Payload, &line) == nil
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		go ssh.DiscardRequests(requests)
		status := run(line.Text, ch)
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
		return
	}
}
