package trust_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/offk8s/offk8s/bundle/trust"
)

func ExampleVerifyIndex() {
	key, err := trust.GenerateKeys(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	index := []byte(`{"schemaVersion":2}`)
	sig, err := key.SignIndex(index)
	if err != nil {
		fmt.Println(err)
		return
	}
	keys := []trust.PublicKey{key.Public()}
	signer, err := trust.VerifyIndex(index, sig, keys)
	fmt.Println(signer.Fingerprint() == key.Fingerprint(), err)

	_, err = trust.VerifyIndex([]byte(`{"schemaVersion":3}`), sig, keys)
	fmt.Println(errors.Is(err, trust.ErrUnknownKey))
	// Output:
	// true <nil>
	// true
}
