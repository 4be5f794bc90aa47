package mirror

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
)

// A client that pulls while another bundle takes the place of its bundle gets the
// whole old content, and the old bundle stays open exactly as long.
func TestReplaceKeepsTheOldForItsReaders(t *testing.T) {
	old, content := slowBundle(t)
	fresh := func(b *bundletest.Builder) { b.Lock.Sequence = 8 }
	second := newSample(t, fresh)
	l, admin, next := listen(t), listen(t), make(chan Next)
	first := mirrorOf(t, Options{}, old)
	start(t, &Server{Mirror: first, Next: next, Listeners: []net.Listener{l}, Admin: admin})
	url := "http://" + l.Addr().String()
	r, err := http.Get(url + "/files/large")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()

	done := make(chan struct{})
	next <- Next{Mirror: mirrorOf(t, Options{}, second.Bundle), Done: func() {
		old.Close()
		close(done)
	}}
	for _, path := range []string{plugins, "/files/large"} { // of the new one, and no longer there
		want := map[string]int{plugins: 200, "/files/large": 404}[path]
		for status := 0; status != want; { // the server takes next on its way
			r, err := http.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = body(t, r)
			status = r.StatusCode
		}
	}
	select {
	case <-done:
		t.Fatal("the old bundle was closed under its reader")
	default:
	}
	got, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(content), err)
	}
	<-done

	m, err := http.Get("http://" + admin.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics := body(t, m)
	for _, want := range []string{
		`offk8s_requests_total{kind="files",code="200"} 2`,
		`offk8s_bundle_sequence{name="kubernetes-1.36",root="` + second.Root().String() + `"} 8`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q:\n%s", want, metrics)
		}
	}
}

// A replaced bundle without readers is closed at once, again and again.
func TestReplaceLeavesNothingOpen(t *testing.T) {
	seal := func() (*Mirror, *bundle.Bundle) {
		b := bundletest.New(t)
		b.AddSmall(t)
		opened := openBundle(t, b)
		m, err := New([]*bundle.Bundle{opened}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return m, opened
	}
	l, next := listen(t), make(chan Next)
	m, opened := seal()
	stop := start(t, &Server{Mirror: m, Next: next, Listeners: []net.Listener{l}})
	for range 3 {
		r, err := http.Get("http://" + l.Addr().String() + "/files/" + bundletest.PlainPath)
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%v, %v", r, err)
		}
		_ = body(t, r)
		fresh, freshBundle := seal()
		done := make(chan struct{})
		next <- Next{Mirror: fresh, Done: func() {
			m.Close()
			close(done)
		}}
		<-done
		if err := opened.Close(); err != nil {
			t.Errorf("somebody else closed %s: %v", opened.Path(), err)
		}
		if _, err := os.Stat(opened.Path()); err != nil {
			t.Error(err)
		}
		m, opened = fresh, freshBundle
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	m.Close()
}
