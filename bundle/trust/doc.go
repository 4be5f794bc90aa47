// Package trust signs and verifies: bundles with ECDSA P-256, repository
// metadata and packages with OpenPGP.
//
// A bundle's signature is plain: DER over SHA-256 of index.json, so that
// `openssl dgst -sha256 -verify offk8s.pub -signature index.json.sig index.json`
// checks it on any host. It is deterministic (RFC 6979), and repeated in the
// form of a Sigstore bundle for tools that read that.
//
//	k, err := trust.GenerateKeys(time.Now())
//	sig, err := k.SignIndex(index)
//	signer, err := trust.VerifyIndex(index, sig, []trust.PublicKey{k.Public()})
//
// A KeyPair lives in one file, offk8s.key, encrypted with a passphrase (scrypt
// and NaCl secretbox) and readable by its owner only. Secrets print as "***".
//
// The package does not fetch keys, keeps no state and knows no policy beyond
// the keys it is given.
package trust
