package trust

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Limits of input that is read before its signature is verified.
const (
	maxSignatureSize   = 1 << 20  // bytes of a detached signature
	maxClearsignedSize = 32 << 20 // bytes of a clear-signed message; Debian's InRelease has 200 KB
)

// verifyConfig is the policy for OpenPGP signatures of others: MD5, SHA-1 and
// RIPEMD-160 over data are refused, and so are DSA keys and RSA below 2048 bits
// (the defaults of go-crypto). Keys are judged at the time the signature was
// made, since the key of a distribution past its end of life has often expired.
// Keys without usage flags may sign, as in GnuPG: EL keys of 2014 lack them.
func verifyConfig() *packet.Config {
	return &packet.Config{
		Time:                                time.Now,
		InsecureAllowAllKeyFlagsWhenMissing: true,
	}
}

// VerifyDetached checks a detached signature, armoured or binary, over data and
// returns the primary fingerprint of the signer, upper-case hex. With several
// signatures one good one by a key of k is enough. errors.Is the error with
// ErrNoKey (k is empty), ErrUnknownKey or ErrBadSignature.
func VerifyDetached(k *Keyring, data io.Reader, sig []byte) (string, error) {
	if k.Empty() {
		return "", fmt.Errorf("openpgp signature: %w", ErrNoKey)
	}
	if len(sig) > maxSignatureSize {
		return "", fmt.Errorf("openpgp signature: %d bytes, limit %d: %w", len(sig), maxSignatureSize, ErrBadSignature)
	}
	binary, err := unarmorSignature(sig)
	if err != nil {
		return "", fmt.Errorf("openpgp signature: %w: %w", ErrBadSignature, err)
	}
	signatures, err := parseSignatures(binary)
	if err != nil {
		return "", fmt.Errorf("openpgp signature: %w: %w", ErrBadSignature, err)
	}
	fpr, err := verifyAny(k, signatures, data)
	if err != nil {
		return "", fmt.Errorf("openpgp signature: %w", err)
	}
	return fpr, nil
}

// maxSignatures bounds the packets of one detached signature; InRelease of
// Debian has three.
const maxSignatures = 16

// parseSignatures reads all packets of a detached signature. What is not a
// signature over data, or one with a weak hash, is an error only when nothing
// better is there.
func parseSignatures(b []byte) ([]*packetSignature, error) {
	var out []*packetSignature
	reason := errors.New("no signature packet")
	for n := 0; len(b) > 0; n++ {
		length, err := packetLength(b)
		if err != nil {
			return nil, err
		}
		if n >= maxSignatures {
			return nil, fmt.Errorf("more than %d packets", maxSignatures)
		}
		s, err := parsePacketSignature(b[:length])
		if err == nil {
			_, err = s.newHash()
		}
		if err == nil {
			out = append(out, s)
		} else {
			reason = err
		}
		b = b[length:]
	}
	if len(out) == 0 {
		return nil, reason
	}
	return out, nil
}

// verifyAny reads data once and returns the signer of the first good signature.
func verifyAny(k *Keyring, signatures []*packetSignature, data io.Reader) (string, error) {
	hashes := make([]hash.Hash, len(signatures))
	writers := make([]io.Writer, len(signatures))
	for i, s := range signatures {
		h, err := s.newHash()
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrBadSignature, err)
		}
		hashes[i], writers[i] = h, h
		if s.text {
			writers[i] = openpgp.NewCanonicalTextHash(h)
		}
	}
	if _, err := io.Copy(io.MultiWriter(writers...), data); err != nil {
		return "", fmt.Errorf("read signed data: %w", err)
	}
	var errs []error
	for i, s := range signatures {
		signer, err := s.verify(k, hashes[i], time.Now())
		if err == nil {
			return fingerprint(signer), nil
		}
		if !errors.Is(err, ErrUnknownKey) { // the telling one goes first
			errs = append([]error{err}, errs...)
			continue
		}
		errs = append(errs, err)
	}
	return "", errs[0]
}

// VerifyClearsigned checks a clear-signed message such as InRelease and returns
// the text that the signature covers, with "\n" line ends, and the signer's
// primary fingerprint. Anything outside the signed block is refused, so that
// unsigned text cannot pass for signed text.
func VerifyClearsigned(k *Keyring, b []byte) ([]byte, string, error) {
	if len(b) > maxClearsignedSize {
		return nil, "", fmt.Errorf("clear-signed message: %d bytes, limit %d: %w", len(b), maxClearsignedSize, ErrBadSignature)
	}
	if !bytes.HasPrefix(b, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return nil, "", fmt.Errorf("clear-signed message: does not start with a signed block: %w", ErrUnsigned)
	}
	block, rest := clearsign.Decode(b)
	if block == nil {
		return nil, "", fmt.Errorf("clear-signed message: malformed: %w", ErrBadSignature)
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, "", fmt.Errorf("clear-signed message: %d bytes after the signature: %w", len(rest), ErrBadSignature)
	}
	sig, err := io.ReadAll(io.LimitReader(block.ArmoredSignature.Body, maxSignatureSize))
	if err != nil {
		return nil, "", fmt.Errorf("clear-signed message: %w: %w", ErrBadSignature, err)
	}
	fpr, err := VerifyDetached(k, bytes.NewReader(block.Bytes), sig)
	if err != nil {
		return nil, "", fmt.Errorf("clear-signed message: %w", err)
	}
	body := bytes.ReplaceAll(block.Bytes, []byte("\r\n"), []byte("\n"))
	return append(body, '\n'), fpr, nil
}

func unarmorSignature(sig []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(sig), []byte("-----BEGIN")) {
		return sig, nil
	}
	block, err := armor.Decode(bytes.NewReader(sig))
	if err != nil {
		return nil, err
	}
	if block.Type != openpgp.SignatureType {
		return nil, fmt.Errorf("armour is %q, want %q", block.Type, openpgp.SignatureType)
	}
	return io.ReadAll(block.Body)
}
