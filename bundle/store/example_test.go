package store_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/offk8s/offk8s/bundle/store"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	s, err := store.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	d, err := s.Add(context.Background(), strings.NewReader("hello"))
	fmt.Println(d.Size, s.Has(d.Digest), err)

	// Content that does not match its descriptor is not stored.
	err = s.Put(context.Background(), d, strings.NewReader("hello, world"))
	fmt.Println(strings.TrimPrefix(err.Error(), "store "+d.Digest.String()+": "))

	f, err := s.Get(d.Digest)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	fmt.Println(string(content), err)
	// Output:
	// 5 true <nil>
	// content has more than 5 bytes
	// hello <nil>
}
