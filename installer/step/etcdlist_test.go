package step_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
)

// text returns a field of a protobuf message.
func text(field byte, value string) string {
	return string(append([]byte{field<<3 | 2}, binary.AppendUvarint(nil, uint64(len(value)))...)) + value
}

// The members come from the API. If it does not give a whole answer, etcdctl is asked.
func TestEtcdMembersOfTheAPI(t *testing.T) {
	header := text(1, "\x08\x96\x01")
	one := "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + text(2, "cp-1") + text(3, "https://10.0.0.11:2380") + text(4, "https://10.0.0.11:2379")
	learner := "\x08\x07" + text(3, "https://10.0.0.12:2380") + "\x28\x01"
	message := header + text(2, one) + text(2, learner)
	listed := []step.EtcdMember{
		{ID: 1<<64 - 1, Name: "cp-1", PeerURLs: []string{"https://10.0.0.11:2380"}, ClientURLs: []string{"https://10.0.0.11:2379"}},
		{ID: 7, PeerURLs: []string{"https://10.0.0.12:2380"}, IsLearner: true},
	}
	printed := []step.EtcdMember{{ID: 1, Name: "of etcdctl"}}
	for name, tt := range map[string]struct {
		message, status string
		length          int
		want            []step.EtcdMember
	}{
		"all":             {message, "0", len(message), listed},
		"no quorum":       {message, "14", len(message), printed},
		"no status":       {message, "", len(message), printed},
		"two messages":    {message + message, "0", len(message), printed},
		"cut":             {message, "0", len(message) + 1, printed},
		"a cut member":    {message[:len(message)-1], "0", len(message) - 1, printed},
		"no members":      {header, "0", len(header), printed},
		"no text":         {"\x0d\x01\x01\x01\x01" + message, "0", len(message) + 5, printed},
		"an empty answer": {"", "0", 0, printed},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.ProtoMajor != 2 || r.URL.Path != "/etcdserverpb.Cluster/MemberList" || len(r.TLS.PeerCertificates) != 1 ||
					r.Header.Get("Content-Type") != "application/grpc" || !bytes.Equal(body, []byte{0, 0, 0, 0, 2, 8, 1}) {
					t.Errorf("request %s %s %v, body %v", r.Proto, r.URL, r.Header, body)
				}
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Trailer", "Grpc-Status")
				_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(tt.length)), tt.message...))
				if tt.status != "" {
					w.Header().Set("Grpc-Status", tt.status)
				}
			}))
			srv.EnableHTTP2 = true
			srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
			srv.StartTLS()
			defer srv.Close()
			w := steptest.New(t)
			w.Programs = func(context.Context, step.Cmd) (step.Output, error) {
				return steptest.Say(`{"members":[{"ID":1,"name":"of etcdctl"}]}`)
			}
			pair := srv.TLS.Certificates[0]
			key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(t, "crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})), 0o644)
			w.Write(t, "key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), 0o600)
			c := step.EtcdClient{CAFile: "/crt", Cert: "/crt", Key: "/key"}
			// Nobody listens at the first endpoint.
			got, err := step.MembersOf(c, t.Context(), w.Env(), []string{"https://127.0.0.1:1", srv.URL})
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("error %v, members (-want +got):\n%s", err, diff)
			}
		})
	}
}
