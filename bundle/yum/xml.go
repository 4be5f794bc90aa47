package yum

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"github.com/offk8s/offk8s/bundle/reader"
)

// Limits of metadata. They are far above the largest repositories (EPEL 9:
// primary 90 MB, filelists 400 MB) and keep a hostile one from filling memory or
// running for ever.
const (
	maxRepomd     = 4 << 20  // bytes of repomd.xml and of its signature
	maxElement    = 64 << 20 // bytes of one <package>
	maxToken      = 2 << 20  // bytes of one tag, text or comment
	maxDepth      = 16       // nested elements; primary has 5
	maxAttributes = 32       // of one element
)

// decoder is an XML decoder for untrusted metadata: no DOCTYPE, therefore no
// custom entities, and bounded tokens, attributes, depth and elements.
// Memory is bounded by the element that is decoded at a time.
type decoder struct {
	*xml.Decoder
	budget *tokenBudget
}

func newDecoder(r io.Reader) *decoder {
	budget := &tokenBudget{r: bufio.NewReaderSize(r, 64<<10)}
	inner := xml.NewDecoder(budget)
	inner.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("metadata is in %.40q, want UTF-8", charset)
	}
	return &decoder{xml.NewTokenDecoder(&strictTokens{inner: inner, budget: budget}), budget}
}

// tokenBudget is the byte reader below an xml.Decoder; it fails when one token
// takes more than maxToken bytes or one element more than maxElement.
type tokenBudget struct {
	r              *bufio.Reader
	token, element int
}

func (b *tokenBudget) ReadByte() (byte, error) {
	b.token++
	b.element++
	if b.token > maxToken || b.element > maxElement {
		return 0, fmt.Errorf("a tag or text of more than %d bytes or an element of more than %d", maxToken, maxElement)
	}
	return b.r.ReadByte()
}

func (b *tokenBudget) Read([]byte) (int, error) {
	return 0, errors.New("tokenBudget is read byte by byte")
}

type strictTokens struct {
	inner  *xml.Decoder
	budget *tokenBudget
	depth  int
}

// Token returns the next token, or an error if metadata never has such a token.
func (s *strictTokens) Token() (xml.Token, error) {
	s.budget.token = 0
	token, err := s.inner.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case xml.Directive:
		return nil, errors.New("DOCTYPE or another directive, refused")
	case xml.StartElement:
		if s.depth++; s.depth > maxDepth {
			return nil, fmt.Errorf("more than %d nested elements", maxDepth)
		}
		if len(t.Attr) > maxAttributes {
			return nil, fmt.Errorf("element %q with %d attributes, limit %d", t.Name.Local, len(t.Attr), maxAttributes)
		}
	case xml.EndElement:
		s.depth--
	}
	return token, nil
}

// eachElement calls decode for every element called name directly below the
// root element, which must be called root.
func eachElement(d *decoder, root, name string, decode func(*decoder, xml.StartElement) error) error {
	depth, seen := 0, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && seen && depth == 0 {
			return nil
		}
		if err != nil {
			return reader.Whole(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch {
			case depth == 0 && (seen || t.Name.Local != root):
				return fmt.Errorf("root element %q, want one %q", t.Name.Local, root)
			case depth == 1 && t.Name.Local == name:
				d.budget.element = 0
				if err := decode(d, t); err != nil {
					return err
				}
				continue // decode read the end of the element
			}
			depth, seen = depth+1, true
		case xml.EndElement:
			depth--
		}
	}
}
