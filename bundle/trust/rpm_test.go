package trust

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/offk8s/offk8s/bundle/rpm"
	"github.com/offk8s/offk8s/test/testenv"
)

// fixture reads a file of bundle/rpm/testdata (made by make.sh there).
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "rpm", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fixtureKeyring(t testing.TB) *Keyring {
	t.Helper()
	k, err := ReadKeyring(fixture(t, "key.asc"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func verifyBytes(k *Keyring, b []byte) (string, error) {
	f, err := rpm.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return "", err
	}
	return VerifyRPM(k, f)
}

func TestT21RPMSignatures(t *testing.T) {
	ring := fixtureKeyring(t)
	_, stranger := newKey(t)
	for _, tc := range []struct {
		name, file string
		ring       *Keyring
		want       error
	}{
		{"version 3 packet, SHA-256", "v3.rpm", ring, nil},
		{"version 4 packet, SHA-512", "v4.rpm", ring, nil},
		{"header and payload signed", "full.rpm", ring, nil},
		{"unsigned", "unsigned.rpm", ring, ErrUnsigned},
		{"SHA-1", "sha1.rpm", ring, ErrBadSignature},
		{"unknown key, version 3", "v3.rpm", stranger, ErrUnknownKey},
		{"unknown key, version 4", "v4.rpm", stranger, ErrUnknownKey},
		{"no keys", "v4.rpm", &Keyring{}, ErrNoKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fpr, err := verifyBytes(tc.ring, fixture(t, tc.file))
			if !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if err == nil && fpr != ring.Fingerprints()[0] {
				t.Fatalf("signer %q, want %q", fpr, ring.Fingerprints()[0])
			}
		})
	}
}

// Every byte of header and payload must count: one flipped bit anywhere after
// the signature header is refused.
func TestT21TamperedRPM(t *testing.T) {
	ring := fixtureKeyring(t)
	for _, file := range []string{"v3.rpm", "v4.rpm", "full.rpm"} {
		good := fixture(t, file)
		p, err := rpm.Read(bytes.NewReader(good), int64(len(good)))
		if err != nil {
			t.Fatal(err)
		}
		for at := p.HeaderStart; at < int64(len(good)); at += 97 {
			bad := bytes.Clone(good)
			bad[at] ^= 1
			if _, err := verifyBytes(ring, bad); err == nil {
				t.Fatalf("%s: flipped bit at %d of %d accepted", file, at, len(good))
			}
		}
		for name, bad := range map[string][]byte{
			"longer":  append(bytes.Clone(good), 0),
			"shorter": good[:len(good)-1],
		} {
			if _, err := verifyBytes(ring, bad); err == nil {
				t.Fatalf("%s: %s file accepted", file, name)
			}
		}
	}
}

// EL7 packages have no payload digest: only a signature over both counts.
func TestT21PayloadCoverage(t *testing.T) {
	key, ring := newKey(t)
	payload := []byte("payload")
	sum := sha256.Sum256(payload)
	digest := []rpmTestEntry{
		stringsEntry(rpmTagPayloadDigest, hex.EncodeToString(sum[:])),
		{rpmTagPayloadDigestAlgo, typeInt32, 1, []byte{0, 0, 0, 8}},
	}
	sha1Digest := []rpmTestEntry{digest[0], {rpmTagPayloadDigestAlgo, typeInt32, 1, []byte{0, 0, 0, 2}}}
	for _, tc := range []struct {
		name    string
		entries []rpmTestEntry
		tags    []uint32 // of the signatures
		payload string   // what is in the file in the end
		want    error
	}{
		{"EL7: both signed", nil, []uint32{rpmSigTagRSA, rpmSigTagPGP}, "payload", nil},
		{"EL7: whole signed", nil, []uint32{rpmSigTagPGP}, "payload", nil},
		{"EL7: only header signed", nil, []uint32{rpmSigTagRSA}, "payload", ErrUnsigned},
		{"EL7: other payload", nil, []uint32{rpmSigTagRSA, rpmSigTagPGP}, "Payload", ErrBadSignature},
		{"digest", digest, []uint32{rpmSigTagRSA}, "payload", nil},
		{"digest, other payload", digest, []uint32{rpmSigTagRSA}, "Payload", ErrBadSignature},
		{"SHA-1 digest", sha1Digest, []uint32{rpmSigTagRSA}, "payload", ErrBadSignature},
		{"nothing signed", digest, nil, "payload", ErrUnsigned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			header := rpmTestHeader(append([]rpmTestEntry{stringsEntry(1000, "x")}, tc.entries...))
			var sigs []rpmTestEntry
			for _, tag := range tc.tags {
				data := bytes.Clone(header)
				if tag == rpmSigTagPGP {
					data = append(data, payload...)
				}
				blob := signV3(t, key, data, signTime, crypto.SHA256)
				sigs = append(sigs, rpmTestEntry{tag, typeBin, len(blob), blob})
			}
			if _, err := verifyBytes(ring, rpmTestFile(sigs, header, []byte(tc.payload))); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
		})
	}
}

// Data types of header entries, as in bundle/rpm.
const typeInt32, typeBin, typeStringArray = 4, 7, 8

// rpmTestEntry is one header entry for a package made by a test.
type rpmTestEntry struct {
	tag, dataType uint32
	count         int
	data          []byte
}

func stringsEntry(tag uint32, s string) rpmTestEntry {
	return rpmTestEntry{tag, typeStringArray, 1, append([]byte(s), 0)}
}

func rpmTestHeader(entries []rpmTestEntry) []byte {
	var table, data bytes.Buffer
	for _, e := range entries {
		for data.Len()%8 != 0 {
			data.WriteByte(0)
		}
		for _, v := range []uint32{e.tag, e.dataType, uint32(data.Len()), uint32(e.count)} {
			table.Write(binary.BigEndian.AppendUint32(nil, v))
		}
		data.Write(e.data)
	}
	out := []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}
	out = binary.BigEndian.AppendUint32(out, uint32(len(entries)))
	out = binary.BigEndian.AppendUint32(out, uint32(data.Len()))
	return append(append(out, table.Bytes()...), data.Bytes()...)
}

func rpmTestFile(signatures []rpmTestEntry, header, payload []byte) []byte {
	out := append([]byte{0xed, 0xab, 0xee, 0xdb}, make([]byte, 92)...)
	out = append(out, rpmTestHeader(signatures)...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	return append(append(out, header...), payload...)
}

// signV3 makes a version 3 signature packet as EL7's build system does.
func signV3(t testing.TB, k *KeyPair, data []byte, at time.Time, hash crypto.Hash) []byte {
	t.Helper()
	list, err := openpgp.ReadKeyRing(bytes.NewReader(k.OpenPGP))
	if err != nil {
		t.Fatal(err)
	}
	private := list[0].PrivateKey
	suffix := binary.BigEndian.AppendUint32([]byte{sigTypeBinary}, uint32(at.Unix()))
	h := hash.New()
	h.Write(data)
	h.Write(suffix)
	sum := h.Sum(nil)
	sig, err := rsa.SignPKCS1v15(rand.Reader, private.PrivateKey.(*rsa.PrivateKey), hash, sum)
	if err != nil {
		t.Fatal(err)
	}
	id := byte(8)
	if hash == crypto.SHA1 {
		id = 2
	}
	body := append([]byte{3, 5}, suffix...)
	body = binary.BigEndian.AppendUint64(body, private.KeyId)
	body = append(body, 1, id, sum[0], sum[1])
	for len(sig) > 0 && sig[0] == 0 {
		sig = sig[1:]
	}
	bits := len(sig) * 8
	for mask := byte(0x80); sig[0]&mask == 0; mask >>= 1 {
		bits--
	}
	body = append(binary.BigEndian.AppendUint16(body, uint16(bits)), sig...)
	return append([]byte{0x89, byte(len(body) >> 8), byte(len(body))}, body...)
}

// rpm's own signature tool on this machine, so that a change of its output is noticed.
func TestVerifyRPMSignedNow(t *testing.T) {
	testenv.NeedTool(t, "rpmsign", "gpg1")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.rpm"), fixture(t, "unsigned.rpm"), 0o600); err != nil {
		t.Fatal(err)
	}
	params := "Key-Type: RSA\nKey-Length: 2048\nName-Real: now\nExpire-Date: 0\n%commit\n"
	if err := os.WriteFile(filepath.Join(dir, "params"), []byte(params), 0o600); err != nil {
		t.Fatal(err)
	}
	gpg1, err := exec.LookPath("gpg1")
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, "gpg1", "--homedir", dir, "--batch", "--quick-random", "--gen-key", "params")
	run(t, dir, "gpg1", "--homedir", dir, "--batch", "--export", "-o", "pub")
	run(t, dir, "rpmsign", "--addsign", "--define", "_gpg_name now", "--define", "__gpg "+gpg1, "--define",
		"__gpg_sign_cmd "+gpg1+" gpg1 --homedir "+dir+" --batch --no-armor --force-v3-sigs --digest-algo SHA256 -u now -sbo %{__signature_filename} %{__plaintext_filename}",
		"p.rpm")
	public, err := os.ReadFile(filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := ReadKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile(filepath.Join(dir, "p.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifyBytes(ring, signed); err != nil {
		t.Fatal(err)
	}
}

func FuzzRPMSignature(f *testing.F) {
	for _, name := range []string{"v3.rpm", "v4.rpm", "unsigned.rpm", "full.rpm"} {
		b := fixture(f, name)
		f.Add(b[:min(len(b), 4096)])
	}
	f.Add(rpmTestFile(nil, rpmTestHeader([]rpmTestEntry{{1, typeBin, 1 << 30, nil}}), nil))
	f.Add(rpmTestFile([]rpmTestEntry{{rpmSigTagRSA, typeBin, 3, []byte{0x89, 0, 0}}}, rpmTestHeader(nil), nil))
	ring := fixtureKeyring(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = verifyBytes(ring, b)
	})
}
