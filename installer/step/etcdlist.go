package step

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// listTimeout is for the answer of one endpoint.
const listTimeout = 2 * time.Second

// memberList is the gRPC message MemberListRequest with linearizable set, which etcd before
// 3.5 ignores. The five bytes in front of it are the frame: not compressed, and the length.
var memberList = []byte{0, 0, 0, 0, 2, 0x08, 1}

// list asks for the members of etcd by gRPC, as etcdctl does, without the time to start
// it. The first endpoint that answers counts.
func (c EtcdClient) list(ctx context.Context, env *Env, endpoints []string) ([]EtcdMember, error) {
	conf, err := (&Wait{CAFile: c.CAFile, CertFile: c.Cert, KeyFile: c.Key}).tls(env)
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	var errs []error
	for _, e := range endpoints {
		list, err := listFrom(ctx, tr, e)
		if err == nil {
			return list, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func listFrom(ctx context.Context, tr http.RoundTripper, endpoint string) ([]EtcdMember, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/etcdserverpb.Cluster/MemberList", bytes.NewReader(memberList))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	// The status is in the trailer, so that it comes after the whole message.
	if status := resp.Trailer.Get("Grpc-Status"); status != "0" {
		return nil, fmt.Errorf("%s: gRPC status %q %s", endpoint, status, resp.Trailer.Get("Grpc-Message"))
	}
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return nil, fmt.Errorf("%s: the answer is not one gRPC message", endpoint)
	}
	return parseMembers(body[5:])
}

// parseMembers parses a MemberListResponse (etcd, api/etcdserverpb/rpc.proto).
func parseMembers(message []byte) ([]EtcdMember, error) {
	var out []EtcdMember
	err := protoFields(message, func(field, _ uint64, member []byte) error {
		if field != 2 {
			return nil
		}
		var m EtcdMember
		err := protoFields(member, func(field, number uint64, text []byte) error {
			switch field {
			case 1:
				m.ID = number
			case 2:
				m.Name = string(text)
			case 3:
				m.PeerURLs = append(m.PeerURLs, string(text))
			case 4:
				m.ClientURLs = append(m.ClientURLs, string(text))
			case 5:
				m.IsLearner = number != 0
			}
			return nil
		})
		out = append(out, m)
		return err
	})
	if err == nil && len(out) == 0 {
		err = errors.New("etcd lists no members")
	}
	return out, err
}

var errProto = errors.New("not a protobuf message of numbers and texts")

// protoFields calls on for the fields of a protobuf message that has only numbers, and
// texts or messages.
func protoFields(message []byte, on func(field, number uint64, text []byte) error) error {
	next := func() (v uint64, err error) {
		v, n := binary.Uvarint(message)
		if n <= 0 {
			return 0, errProto
		}
		message = message[n:]
		return v, nil
	}
	for len(message) > 0 {
		key, err := next()
		if err != nil {
			return err
		}
		v, err := next() // the number, or the length of the text
		if err != nil {
			return err
		}
		var text []byte
		switch key & 7 {
		case 0:
		case 2:
			if v > uint64(len(message)) {
				return errProto
			}
			text, message, v = message[:v], message[v:], 0
		default:
			return errProto
		}
		if err := on(key>>3, v, text); err != nil {
			return err
		}
	}
	return nil
}
