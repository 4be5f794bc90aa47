package upstreamtest

import (
	"bytes"
	"compress/gzip"
	"crypto/md5" //nolint:gosec // the format asks for it
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/offk8s/offk8s/bundle/trust"
)

// rpmPackage is a package with one text file, /usr/share/doc/<name>/made-up.
type rpmPackage struct {
	name, version, release, arch string
	requires                     []string
	content                      []byte // of the .rpm
}

// Types of header entries (rpm 4.18, include/rpm/rpmtypes.h).
const (
	rpmInt16  = 3
	rpmInt32  = 4
	rpmString = 6
	rpmBin    = 7
	rpmArray  = 8
	rpmI18N   = 9
)

type rpmEntry struct {
	tag, kind uint32
	value     any
}

// RPM returns a package with one text file, signed with key.
func RPM(key *trust.KeyPair, name string) ([]byte, error) {
	p := rpmPackage{name: name, version: "1.0", release: "1.el9", arch: "x86_64", requires: []string{"made-up-libs"}}
	err := p.build(key)
	return p.content, err
}

// build makes the .rpm file: lead, signature header, header, cpio in gzip. The
// header is signed with key and has the payload's digest, as on EL8 and later.
func (p *rpmPackage) build(key *trust.KeyPair) error {
	cpio, text := p.cpio()
	var payload bytes.Buffer
	zw := gzip.NewWriter(&payload)
	if _, err := zw.Write(cpio); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	header := rpmHeader(63, p.entries(text, payload.Bytes()))
	both := append(bytes.Clone(header), payload.Bytes()...)
	headerSig, err := binarySignature(key, header)
	if err != nil {
		return err
	}
	sha1sum, sha256sum, md5sum := sha1.Sum(header), sha256.Sum256(header), md5.Sum(both)
	signature := rpmHeader(62, []rpmEntry{
		{268, rpmBin, headerSig},
		{269, rpmString, hex.EncodeToString(sha1sum[:])},
		{273, rpmString, hex.EncodeToString(sha256sum[:])},
		{1000, rpmInt32, []uint32{uint32(len(both))}},
		{1004, rpmBin, md5sum[:]},
		{1007, rpmInt32, []uint32{uint32(len(cpio))}},
	})
	for len(signature)%8 != 0 {
		signature = append(signature, 0)
	}
	p.content = append(append(p.lead(), signature...), both...)
	return nil
}

// lead is the fixed 96 bytes of old; only the magic and the types matter today.
func (p *rpmPackage) lead() []byte {
	b := make([]byte, 96)
	copy(b, []byte{0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1})
	copy(b[10:75], p.name+"-"+p.version+"-"+p.release)
	b[77], b[79] = 1, 5 // linux, header-style signature
	return b
}

func (p *rpmPackage) entries(text, payload []byte) []rpmEntry {
	textSum, payloadSum := sha256.Sum256(text), sha256.Sum256(payload)
	built := uint32(Built.Unix())
	evr := p.version + "-" + p.release
	// rpmlib(…) requirements are features of rpm itself.
	requires := append([]string{"rpmlib(CompressedFileNames)", "rpmlib(PayloadFilesHavePrefix)"}, p.requires...)
	versions, flags := make([]string, len(requires)), make([]uint32, len(requires))
	versions[0], versions[1] = "3.0.4-1", "4.0-1"
	flags[0], flags[1] = 1<<24|0x0a, 1<<24|0x0a
	return []rpmEntry{
		{1000, rpmString, p.name},
		{1001, rpmString, p.version},
		{1002, rpmString, p.release},
		{1004, rpmI18N, "Made-up package " + p.name},
		{1005, rpmI18N, "It stands for " + p.name + " in tests."},
		{1006, rpmInt32, []uint32{built}},
		{1007, rpmString, "localhost"},
		{1009, rpmInt32, []uint32{uint32(len(text))}},
		{1014, rpmString, "Apache-2.0"},
		{1016, rpmI18N, "Unspecified"},
		{1021, rpmString, "linux"},
		{1022, rpmString, p.arch},
		{1028, rpmInt32, []uint32{uint32(len(text))}},
		{1030, rpmInt16, []uint16{0o100644}},
		{1033, rpmInt16, []uint16{0}},
		{1034, rpmInt32, []uint32{built}},
		{1035, rpmArray, []string{hex.EncodeToString(textSum[:])}},
		{1036, rpmArray, []string{""}},
		{1037, rpmInt32, []uint32{2}}, // %doc
		{1039, rpmArray, []string{"root"}},
		{1040, rpmArray, []string{"root"}},
		{1044, rpmString, p.name + "-" + evr + ".src.rpm"},
		{1045, rpmInt32, []uint32{0xffffffff}},
		{1047, rpmArray, []string{p.name}},
		{1048, rpmInt32, flags},
		{1049, rpmArray, requires},
		{1050, rpmArray, versions},
		{1064, rpmString, "4.18.0"},
		{1095, rpmInt32, []uint32{1}},
		{1096, rpmInt32, []uint32{1}},
		{1097, rpmArray, []string{""}},
		{1112, rpmInt32, []uint32{8}},
		{1113, rpmArray, []string{evr}},
		{1116, rpmInt32, []uint32{0}},
		{1117, rpmArray, []string{"made-up"}},
		{1118, rpmArray, []string{"/usr/share/doc/" + p.name + "/"}},
		{1124, rpmString, "cpio"},
		{1125, rpmString, "gzip"},
		{1126, rpmString, "9"},
		{5011, rpmInt32, []uint32{8}}, // file digests: SHA-256
		{5062, rpmString, "utf-8"},
		{5092, rpmArray, []string{hex.EncodeToString(payloadSum[:])}},
		{5093, rpmInt32, []uint32{8}},
	}
}

// cpio is the payload in the "new ascii" format, and the file in it.
func (p *rpmPackage) cpio() (archive, text []byte) {
	text = fmt.Appendf(nil, "%s-%s-%s.%s is made up.\n", p.name, p.version, p.release, p.arch)
	var b bytes.Buffer
	member := func(name string, mode, nlink, mtime int, content []byte) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			1, mode, 0, 0, nlink, mtime, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
		pad(&b, 4)
		b.Write(content)
		pad(&b, 4)
	}
	member("./usr/share/doc/"+p.name+"/made-up", 0o100644, 1, int(Built.Unix()), text)
	member("TRAILER!!!", 0, 1, 0, nil)
	return b.Bytes(), text
}

// rpmHeader lays out entries, which are sorted by tag, as one immutable region.
func rpmHeader(region uint32, entries []rpmEntry) []byte {
	var index, data bytes.Buffer
	for _, e := range entries {
		b, count, align := e.encode()
		pad(&data, align)
		big(&index, e.tag, e.kind, uint32(data.Len()), count)
		data.Write(b)
	}
	trailer := uint32(data.Len())
	big(&data, region, uint32(rpmBin), uint32(-(len(entries)+1)*16), uint32(16))
	var out bytes.Buffer
	out.Write([]byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0})
	big(&out, uint32(len(entries)+1), uint32(data.Len()), region, uint32(rpmBin), trailer, uint32(16))
	out.Write(index.Bytes())
	out.Write(data.Bytes())
	return out.Bytes()
}

func (e rpmEntry) encode() (b []byte, count uint32, align int) {
	var out bytes.Buffer
	switch v := e.value.(type) {
	case string:
		return append([]byte(v), 0), 1, 1
	case []string:
		return append([]byte(strings.Join(v, "\x00")), 0), uint32(len(v)), 1
	case []uint16:
		big(&out, v)
		return out.Bytes(), uint32(len(v)), 2
	case []uint32:
		big(&out, v)
		return out.Bytes(), uint32(len(v)), 4
	case []byte:
		return v, uint32(len(v)), 1
	}
	return nil, 0, 1
}

// binarySignature is a detached OpenPGP signature without its armour.
func binarySignature(key *trust.KeyPair, data []byte) ([]byte, error) {
	armoured, err := trust.SignDetached(key, data, Built)
	if err != nil {
		return nil, err
	}
	_, body, ok := strings.Cut(string(armoured), "\n\n")
	if !ok {
		return nil, errors.New("signature has no armour")
	}
	var text strings.Builder
	for _, line := range strings.Split(body, "\n") {
		if strings.HasPrefix(line, "=") || strings.HasPrefix(line, "-") {
			break
		}
		text.WriteString(line)
	}
	return base64.StdEncoding.DecodeString(text.String())
}

func pad(b *bytes.Buffer, align int) {
	for b.Len()%align != 0 {
		b.WriteByte(0)
	}
}

// Writes to a bytes.Buffer of fixed-size values do not fail.
func big(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		_ = binary.Write(b, binary.BigEndian, v)
	}
}

func little(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		_ = binary.Write(b, binary.LittleEndian, v)
	}
}
