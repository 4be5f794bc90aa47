package step

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Wait waits until a program succeeds or a URL answers, and changes nothing.
type Wait struct {
	// Argv is run until it exits 0, or URL is asked until it answers 200
	// ("https://127.0.0.1:6443/readyz") or accepts a connection ("tcp://127.0.0.1:2379").
	Argv []string `json:"argv,omitempty"`
	URL  string   `json:"url,omitempty"`
	// CAFile, CertFile and KeyFile are paths on the host; https needs a CAFile,
	// the system's trust store is never used.
	CAFile   string `json:"caFile,omitempty"`
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
	// ServerName replaces the URL's host in the check of the certificate.
	ServerName string `json:"serverName,omitempty"`
	// Expect must be found in the output or the body.
	Expect string `json:"expect,omitempty"`
	// Timeout defaults to 2 minutes, Interval to 1 second.
	Timeout  Duration `json:"timeout,omitempty"`
	Interval Duration `json:"interval,omitempty"`
	// Text says what is waited for, "etcd member healthy".
	Text string `json:"text,omitempty"`
}

// Kind returns "wait".
func (w *Wait) Kind() string { return "wait" }

// Describe tells Text, or command or URL.
func (w *Wait) Describe() string {
	switch {
	case w.Text != "":
		return "wait: " + w.Text
	case w.URL != "":
		return "wait for " + w.URL
	}
	return "wait for " + strings.Join(w.Argv, " ")
}

// Validate checks that there is one thing to wait for.
func (w *Wait) Validate() error {
	var errs []error
	if (len(w.Argv) > 0) == (w.URL != "") {
		errs = append(errs, errors.New("want one of argv and url"))
	}
	if len(w.Argv) > 0 {
		errs = append(errs, checkArgv("argv", w.Argv))
	}
	if w.URL != "" {
		errs = append(errs, w.checkURL())
	}
	if w.Timeout < 0 || w.Interval < 0 {
		errs = append(errs, errors.New("timeout and interval: negative"))
	}
	for _, p := range []string{w.CAFile, w.CertFile, w.KeyFile} {
		if p != "" {
			errs = append(errs, checkPath("file", p))
		}
	}
	if (w.CertFile == "") != (w.KeyFile == "") {
		errs = append(errs, errors.New("certFile and keyFile: want both or none"))
	}
	return errors.Join(errs...)
}

func (w *Wait) checkURL() error {
	u, err := url.Parse(w.URL)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	switch {
	case u.Host == "":
		return fmt.Errorf("url %q: no host", w.URL)
	case u.Scheme == "https" && w.CAFile == "":
		return fmt.Errorf("url %q: want caFile", w.URL)
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "tcp":
		return fmt.Errorf("url %q: want https, http or tcp", w.URL)
	}
	return nil
}

func (w *Wait) timeout() time.Duration {
	if w.Timeout == 0 {
		return 2 * time.Minute
	}
	return time.Duration(w.Timeout)
}

func (w *Wait) interval() time.Duration {
	if w.Interval == 0 {
		return time.Second
	}
	return time.Duration(w.Interval)
}
