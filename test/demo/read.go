package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// read sends the first request of each kind of client to the mirror.
func (w *world) read(ctx context.Context, m *mirror) error {
	title("offline: clients read from it")
	ca, err := os.ReadFile(filepath.Join(w.dir, "mirror-state", "mirror-ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
	}
	for _, r := range []struct{ who, path, ranges, want string }{
		{"a browser", "/", "", "offk8s"},
		{"containerd", "/v2/registry.k8s.io/pause/tags/list", "", "tags"},
		{"dnf", "/yum/rocky-9/x86_64/repodata/repomd.xml", "", "<repomd"},
		{"dnf", "/yum/rocky-9/x86_64/repodata/repomd.xml.asc", "bytes=0-26", "-----BEGIN PGP SIGNATURE---"},
		{"apt", "/apt/debian-12/dists/offk8s/InRelease", "", "-----BEGIN PGP SIGNED MESSAGE-----"},
		{"a new host", "/install.sh", "", "#!/bin/sh"},
	} {
		if err := get(ctx, client, m.url+r.path, r.who, r.ranges, r.want); err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, c *http.Client, url, who, ranges, want string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 || !strings.Contains(string(body), want) {
		return fmt.Errorf("GET %s as %s: status %d, %d bytes without %q", url, who, res.StatusCode, len(body), want)
	}
	first, _, _ := strings.Cut(string(body), "\n")
	fmt.Printf("%-11s GET %s: %d, %d bytes: %.60s\n", who, strings.TrimPrefix(url, "https://"), res.StatusCode, len(body), first)
	return nil
}
