package trust

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// packetSignature is one OpenPGP signature packet over binary data. Packages of
// EL7 and EL8 carry version 3 packets, which go-crypto does not read any more;
// those are parsed here, later versions by go-crypto.
type packetSignature struct {
	v4 *packet.Signature // nil for version 3

	// Version 3 (RFC 4880, 5.2.2).
	text    bool // over text with canonical line ends
	keyID   uint64
	created time.Time
	hash    crypto.Hash
	rsa     []byte
	suffix  []byte // signature type and time: hashed after the data
}

const (
	packetTagSignature = 2
	sigTypeBinary      = 0
	v3BodyMin          = 1 + 1 + 5 + 8 + 1 + 1 + 2 + 2
)

// strongHashes are the hash identifiers that are accepted (RFC 4880, 9.4);
// MD5, SHA-1, RIPEMD-160 and SHA-224 are not.
var strongHashes = map[byte]crypto.Hash{8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512}

// parsePacketSignature reads exactly one signature packet, over binary data or text.
func parsePacketSignature(b []byte) (*packetSignature, error) {
	body, err := packetBody(b)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 && body[0] == 3 {
		return parseV3(body)
	}
	p, err := packet.Read(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	sig, ok := p.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil {
		return nil, errors.New("signature packet without an issuer")
	}
	if sig.SigType != packet.SigTypeBinary && sig.SigType != packet.SigTypeText {
		return nil, fmt.Errorf("signature type %#x, want one over data", byte(sig.SigType))
	}
	for _, n := range sig.Notations {
		if n.IsCritical {
			return nil, fmt.Errorf("critical notation %q", n.Name)
		}
	}
	return &packetSignature{
		v4: sig, text: sig.SigType == packet.SigTypeText,
		keyID: *sig.IssuerKeyId, created: sig.CreationTime, hash: sig.Hash,
	}, nil
}

// packetBody returns the body of the only packet in b.
func packetBody(b []byte) ([]byte, error) {
	header, length, err := packetHeader(b)
	if err != nil {
		return nil, err
	}
	if len(b)-header != length {
		return nil, fmt.Errorf("openpgp packet of %d bytes in %d", length, len(b)-header)
	}
	return b[header:], nil
}

// packetLength returns how many bytes the first packet of b has in all.
func packetLength(b []byte) (int, error) {
	header, length, err := packetHeader(b)
	if err != nil {
		return 0, err
	}
	if length > len(b)-header {
		return 0, fmt.Errorf("openpgp packet of %d bytes in %d", length, len(b)-header)
	}
	return header + length, nil
}

// packetHeader returns the lengths of a signature packet's header and body
// (RFC 4880, 4.2). Partial and indeterminate lengths are not for signatures.
func packetHeader(b []byte) (header, length int, err error) {
	if len(b) < 2 || b[0]&0x80 == 0 {
		return 0, 0, errors.New("not an openpgp packet")
	}
	tag := int(b[0] & 0x3f)
	if b[0]&0x40 != 0 { // new format
		switch first := int(b[1]); {
		case first < 192:
			header, length = 2, first
		case first < 224 && len(b) >= 3:
			header, length = 3, (first-192)<<8+int(b[2])+192
		case first == 255 && len(b) >= 6:
			header, length = 6, int(binary.BigEndian.Uint32(b[2:]))
		}
	} else {
		tag >>= 2
		switch size := b[0] & 3; {
		case size == 0:
			header, length = 2, int(b[1])
		case size == 1 && len(b) >= 3:
			header, length = 3, int(binary.BigEndian.Uint16(b[1:]))
		case size == 2 && len(b) >= 5:
			header, length = 5, int(binary.BigEndian.Uint32(b[1:]))
		}
	}
	if header == 0 || tag != packetTagSignature {
		return 0, 0, fmt.Errorf("openpgp packet tag %d, want a signature", tag)
	}
	return header, length, nil
}

// parseV3 reads the body of a version 3 packet: version, 5, type, time (4),
// key id (8), key algorithm, hash algorithm, two bytes of the hash, one MPI.
func parseV3(b []byte) (*packetSignature, error) {
	if len(b) < v3BodyMin || b[1] != 5 {
		return nil, errors.New("malformed version 3 signature")
	}
	if b[2] != sigTypeBinary {
		return nil, fmt.Errorf("signature type %#x, want binary", b[2])
	}
	algorithm := packet.PublicKeyAlgorithm(b[15])
	if algorithm != packet.PubKeyAlgoRSA && algorithm != packet.PubKeyAlgoRSASignOnly {
		return nil, fmt.Errorf("version 3 signature with key algorithm %d, want RSA", algorithm)
	}
	hash, ok := strongHashes[b[16]]
	if !ok {
		return nil, fmt.Errorf("%w: hash algorithm %d", errWeakHash, b[16])
	}
	mpi := b[v3BodyMin-2:]
	bits := int(binary.BigEndian.Uint16(mpi))
	if len(mpi)-2 != (bits+7)/8 {
		return nil, fmt.Errorf("malformed version 3 signature: %d bits in %d bytes", bits, len(mpi)-2)
	}
	return &packetSignature{
		keyID:   binary.BigEndian.Uint64(b[7:]),
		created: time.Unix(int64(binary.BigEndian.Uint32(b[3:])), 0).UTC(),
		hash:    hash,
		rsa:     mpi[2:],
		suffix:  b[2:7],
	}, nil
}

var errWeakHash = errors.New("weak hash")

// newHash returns the hash that the signed data goes into.
func (s *packetSignature) newHash() (hash.Hash, error) {
	if s.v4 == nil {
		return s.hash.New(), nil
	}
	if verifyConfig().RejectMessageHashAlgorithm(s.hash) || s.hash == crypto.SHA224 {
		return nil, fmt.Errorf("%w: %s", errWeakHash, s.hash)
	}
	return s.v4.PrepareVerify()
}

// verify checks s over the data that went into h and returns the signer.
func (s *packetSignature) verify(k *Keyring, h hash.Hash, now time.Time) (*openpgp.Entity, error) {
	key, err := k.signingKey(s.keyID, s.created, now)
	if err != nil {
		return nil, err
	}
	if s.created.After(now) {
		return nil, fmt.Errorf("%w: signed in the future, %s", ErrBadSignature, s.created)
	}
	if s.v4 != nil {
		if s.v4.SigExpired(now) { // or made after now
			return nil, fmt.Errorf("%w: signature expired", ErrBadSignature)
		}
		if err := key.PublicKey.VerifySignature(h, s.v4); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
		}
		return key.Entity, nil
	}
	public, ok := key.PublicKey.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: RSA signature by a key of another algorithm", ErrBadSignature)
	}
	h.Write(s.suffix)
	sig := s.rsa
	if size := public.Size(); len(sig) < size { // an MPI has no leading zeros
		sig = append(make([]byte, size-len(sig)), sig...)
	}
	if err := rsa.VerifyPKCS1v15(public, s.hash, h.Sum(nil), sig); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	return key.Entity, nil
}
