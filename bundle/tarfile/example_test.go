package tarfile_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/offk8s/offk8s/bundle/tarfile"
)

func ExampleWriter() {
	var container bytes.Buffer
	w := tarfile.NewWriter(&container)
	if err := w.Add("greeting", 5, strings.NewReader("hello")); err != nil {
		fmt.Println(err)
	}
	if err := w.Close(); err != nil {
		fmt.Println(err)
	}

	r := bytes.NewReader(container.Bytes())
	index, err := tarfile.ReadIndex(context.Background(), r, r.Size())
	if err != nil {
		fmt.Println(err)
		return
	}
	m, ok := index.Lookup("greeting")
	content, err := io.ReadAll(io.NewSectionReader(r, m.Offset, m.Size))
	fmt.Println(m.Offset, m.Size, ok, string(content), err)
	// Output: 512 5 true hello <nil>
}
