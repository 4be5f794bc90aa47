package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/facts"
	"github.com/offk8s/offk8s/installer/kube"
	"github.com/offk8s/offk8s/installer/pki"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/installer/step/steptest"
	"github.com/offk8s/offk8s/manifests"
)

// storyCluster is a cluster in the state that the command state made.
type storyCluster struct {
	*manifests.Cluster
	*pki.Credentials
}

// certificate returns the one of the API server of the first control plane.
func (c *storyCluster) certificate() (tls.Certificate, error) {
	name := pki.Name("apiserver", c.HostsWith(manifests.RoleControlPlane)[0])
	cert, cerr := c.Resolve(pki.CertRef(name))
	key, kerr := c.Resolve(pki.KeyRef(name))
	pair, err := tls.X509KeyPair(cert, key)
	return pair, errors.Join(cerr, kerr, err)
}

// scriptAPI: api NAME starts the API server of a cluster on loopback and sets $NAME to its
// port. It has one Secret, in whose place it puts what it gets, and the ConfigMap of drill. The
// file NAME.log has the requests that changed a Secret.
func scriptAPI(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "api NAME")
	s := of(ts)
	srv := httptest.NewUnstartedServer(&storyAPI{log: ts.MkAbs(args[0] + ".log")})
	srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pair, err := s.cluster.Load().certificate()
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, err
	}}
	srv.StartTLS()
	ts.Defer(srv.Close)
	ts.Setenv(args[0], strconv.Itoa(srv.Listener.Addr().(*net.TCPAddr).Port))
}

type storyAPI struct {
	log string

	mu      sync.Mutex
	version int
	number  string // in the ConfigMap, "" without one
}

// ServeHTTP implements http.Handler.
func (a *storyAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case r.URL.Path == "/healthz":
		fmt.Fprint(w, "ok")
	case r.URL.Path == "/api/v1/secrets":
		fmt.Fprint(w, `{"metadata":{},"items":[{"metadata":{"name":"password","namespace":"shop"},"data":{}}]}`)
	case strings.Contains(r.URL.Path, "/secrets/"):
		f, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintln(f, r.Method, r.URL.Path)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	default:
		a.configMap(w, r)
	}
}

func (a *storyAPI) configMap(w http.ResponseWriter, r *http.Request) {
	var o struct {
		Data map[string]string `json:"data"`
	}
	switch {
	case r.Method != http.MethodPost && a.number == "":
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method == http.MethodDelete:
		a.number = ""
	case r.Method != http.MethodGet:
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.version, a.number = a.version+1, o.Data["n"]
	}
	fmt.Fprintf(w, `{"metadata":{"resourceVersion":"%d"},"data":{"n":%q}}`, a.version, a.number)
}

// scriptInstalled: installed NAME HOST makes the host NAME one of the cluster of the command
// state, with the name HOST: with its journal, the credential of an administrator, and a
// systemd that runs etcd. The file NAME/calls has the calls of systemd.
func scriptInstalled(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2 && of(ts).hosts[args[0]] != nil, "installed NAME HOST, after host NAME")
	c, h := of(ts).cluster.Load(), of(ts).hosts[args[0]]
	identity, err := c.Identity()
	ts.Check(err)
	record, err := json.Marshal(map[string]any{"op": "owner", "owner": facts.Installed{Cluster: c.Name, Host: args[1], Identity: identity}})
	ts.Check(err)
	admin, err := c.Resolve(pki.KubeconfigRef(pki.Admin))
	ts.Check(err)
	for name, content := range map[string][]byte{agent.StateDir + "/journal.jsonl": append(record, '\n'), kube.AdminConf: admin} {
		name = filepath.Join(h.root, name)
		ts.Check(os.MkdirAll(filepath.Dir(name), 0o700))
		ts.Check(os.WriteFile(name, content, 0o600))
	}
	h.systemd.Store(steptest.NewSystemd("etcd.service"))
}

// call answers systemctl and systemd-run of an installed host: every unit runs but for those
// of steptest.Systemd that were stopped.
func (h *storyHost) call(ctx context.Context, systemd *steptest.Systemd, c step.Cmd) (step.Output, error) {
	f, err := os.OpenFile(filepath.Join(h.root, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return step.Output{}, err
	}
	_, err = fmt.Fprintln(f, strings.Join(c.Argv, " "))
	if err = errors.Join(err, f.Close()); err != nil || c.Argv[0] != "systemctl" {
		return systemd.Run(ctx, c)
	}
	switch c.Argv[1] {
	case "daemon-reload", "enable", "restart":
		return step.Output{}, nil
	case "show":
		var out strings.Builder
		for _, u := range c.Argv[slices.Index(c.Argv, "--")+1:] {
			fmt.Fprintf(&out, "Id=%s\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\n\n", u)
		}
		return step.Output{Stdout: []byte(out.String())}, nil
	}
	return systemd.Run(ctx, c)
}

// RoundTrip answers for the etcd of an installed host, which is the leader if the host has a file of
// that name. Without systemd nothing answers.
func (h *storyHost) RoundTrip(r *http.Request) (*http.Response, error) {
	text, systemd := "", h.systemd.Load()
	switch _, err := os.Stat(filepath.Join(h.root, "leader")); {
	case systemd == nil || len(systemd.Stopped()) > 0:
		return nil, errors.New("connection refused")
	case r.URL.Path == "/health":
		text = `{"health":"true"}`
	case err == nil:
		text = "\netcd_server_is_leader 1\n"
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text))}, nil
}
