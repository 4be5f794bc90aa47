package mirror

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle/bundletest"
)

// A client in the middle of a file is on the page, and no longer when it is gone.
func TestTransfersOnThePage(t *testing.T) {
	const size = 64 << 20
	s := newSample(t, func(b *bundletest.Builder) { b.AddFile(t, "large", "large", make([]byte, size), false) })
	m := mirrorOf(t, Options{}, s.Bundle)
	l := listen(t)
	start(t, &Server{Mirror: m, Listeners: []net.Listener{l}})
	page := func() string { return body(t, get(m, "GET", "/now")) }
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET /files/large HTTP/1.1\r\nHost: m\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := page(); !strings.Contains(got, "127.0.0.1 /files/large ") || !strings.Contains(got, fmt.Sprintf("/%d\n", size)) {
		t.Errorf("during the transfer:\n%s", got)
	}
	_ = r.Body.Close()
	_ = c.Close()
	for end := time.Now().Add(10 * time.Second); strings.Contains(page(), "/files/large"); {
		if time.Now().After(end) {
			t.Fatalf("after the transfer:\n%s", page())
		}
	}
}
