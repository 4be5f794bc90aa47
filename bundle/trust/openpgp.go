package trust

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// rsaBits is the size of the repository key. RSA and not a curve: rpm and
// GnuPG 2.0 of EL7 know neither Ed25519 nor, in rpm's case, the NIST curves.
const rsaBits = 3072

// openPGPConfig is the profile of everything offk8s signs: v4 packets, SHA-512,
// the given time, and no random notation, so that equal input gives equal
// bytes. Creation time and key flags are not marked critical because yum of
// EL7 refuses a signature with critical subpackets it does not know.
func openPGPConfig(t time.Time) *packet.Config {
	deterministic := false
	return &packet.Config{
		DefaultHash:                           crypto.SHA512,
		RSABits:                               rsaBits,
		Time:                                  func() time.Time { return t.UTC().Truncate(time.Second) },
		NonDeterministicSignaturesViaNotation: &deterministic,
		InsecureGenerateNonCriticalKeyFlags:   true,
		InsecureGenerateNonCriticalSignatureCreationTime: true,
	}
}

// generateOpenPGP makes the key that signs repository metadata: RSA-3072, v4,
// signing only, created at t. It returns the binary secret key and the
// armoured public key.
func generateOpenPGP(t time.Time) (private, publicArmored []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, nil, fmt.Errorf("generate openpgp key: %w", err)
	}
	config := openPGPConfig(t)
	signer := packet.NewSignerPrivateKey(config.Now(), key)
	entity := &openpgp.Entity{
		PrimaryKey: &signer.PublicKey,
		PrivateKey: signer,
		Identities: map[string]*openpgp.Identity{},
	}
	name := fmt.Sprintf("offk8s bundle %X", signer.Fingerprint[len(signer.Fingerprint)-4:])
	if err := entity.AddUserId(name, "", "repository@offk8s.dev", config); err != nil {
		return nil, nil, fmt.Errorf("generate openpgp key: user id: %w", err)
	}
	var secret, public bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&secret, config); err != nil {
		return nil, nil, fmt.Errorf("generate openpgp key: %w", err)
	}
	if err := entity.Serialize(&public); err != nil {
		return nil, nil, fmt.Errorf("generate openpgp key: %w", err)
	}
	publicArmored, err = ArmorKeyring(public.Bytes())
	if err != nil {
		return nil, nil, fmt.Errorf("generate openpgp key: %w", err)
	}
	return secret.Bytes(), publicArmored, nil
}

// SignDetached returns the armoured detached signature of data by k, dated t.
// The same key, data and time give the same bytes.
func SignDetached(k *KeyPair, data []byte, t time.Time) ([]byte, error) {
	entity, unlock, err := k.entity()
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	defer unlock()
	var sig bytes.Buffer
	if err := openpgp.DetachSign(&sig, []*openpgp.Entity{entity}, bytes.NewReader(data), openPGPConfig(t)); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return armored(openpgp.SignatureType, sig.Bytes())
}

// ClearSign returns body as a clear-signed message by k, dated t: the form of
// InRelease. White space at the end of lines is dropped, as it is not covered
// by such a signature. The same key, body and time give the same bytes.
//
// It is not go-crypto's clearsign.Encode because that leaves the checksum out
// of the armour, at which gpgv 2.2 fails.
func ClearSign(k *KeyPair, body []byte, t time.Time) ([]byte, error) {
	entity, unlock, err := k.entity()
	if err != nil {
		return nil, fmt.Errorf("clear-sign: %w", err)
	}
	defer unlock()
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	var out, signed bytes.Buffer
	out.WriteString("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n")
	for i, line := range lines {
		line = bytes.TrimRight(line, " \t\r")
		if i > 0 {
			signed.WriteString("\r\n")
		}
		signed.Write(line)
		if bytes.HasPrefix(line, []byte("-")) {
			out.WriteString("- ")
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	var sig bytes.Buffer
	params := &openpgp.SignParams{TextSig: true, Config: openPGPConfig(t)}
	if err := openpgp.DetachSignWithParams(&sig, []*openpgp.Entity{entity}, &signed, params); err != nil {
		return nil, fmt.Errorf("clear-sign: %w", err)
	}
	armour, err := armored(openpgp.SignatureType, sig.Bytes())
	if err != nil {
		return nil, fmt.Errorf("clear-sign: %w", err)
	}
	out.Write(armour)
	return out.Bytes(), nil
}

// Made returns when the OpenPGP key was made. It cannot sign for a time before.
func (k *KeyPair) Made() (time.Time, error) {
	entity, unlock, err := k.entity()
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	return entity.PrimaryKey.CreationTime, nil
}

// entity returns the OpenPGP key, which it parses once, until unlock is called: go-crypto
// notes in it the signatures that it has verified.
func (k *KeyPair) entity() (e *openpgp.Entity, unlock func(), err error) {
	p := k.parsed
	if p == nil {
		p = &parsedKey{}
	}
	p.mu.Lock()
	if p.entity == nil || !bytes.Equal(p.of, k.OpenPGP) {
		if p.entity, err = k.parse(); err != nil {
			p.mu.Unlock()
			return nil, nil, err
		}
		p.of = k.OpenPGP
	}
	return p.entity, p.mu.Unlock, nil
}

func (k *KeyPair) parse() (*openpgp.Entity, error) {
	list, err := openpgp.ReadKeyRing(bytes.NewReader(k.openPGPPrivate()))
	if err != nil {
		return nil, fmt.Errorf("read openpgp private key: %w", err)
	}
	if len(list) != 1 || list[0].PrivateKey == nil {
		return nil, errors.New("read openpgp private key: want exactly one secret key")
	}
	return list[0], nil
}

// ArmorKeyring returns a binary keyring as text.
func ArmorKeyring(b []byte) ([]byte, error) { return armored(openpgp.PublicKeyType, b) }

// armored writes the checksum line too: rpm of EL7 refuses armour without it.
func armored(blockType string, b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := armor.EncodeWithChecksumOption(&out, blockType, nil, true)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, bytes.NewReader(b)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
