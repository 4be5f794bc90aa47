package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/offk8s/offk8s/bundle/unpack"
)

func ExampleMembers() {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range []string{"bin/runc", "bin/ctr"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(name)), Format: tar.FormatUSTAR}); err != nil {
			fmt.Println(err)
		}
		fmt.Fprint(w, name)
	}
	w.Close()

	show := func(name string, size int64, r io.Reader) error {
		content, err := io.ReadAll(r)
		fmt.Printf("%s has %d bytes: %s\n", name, size, content)
		return err
	}
	err := unpack.Members(context.Background(), &archive, []string{"bin/runc", "bin/crun"}, show)
	fmt.Println(err)
	// Output:
	// bin/runc has 8 bytes: bin/runc
	// member is not in the archive: "bin/crun"
}
