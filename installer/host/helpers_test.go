package host_test

import (
	"os"
	"testing"

	"github.com/offk8s/offk8s/installer/host"
	"github.com/offk8s/offk8s/test/testenv"
)

// root skips for Local where sudo would be needed.
func root(t *testing.T, h host.Host) host.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		testenv.NeedRoot(t)
	}
	return h
}

// ecdsaKey is a key made for this test.
const ecdsaKey = `-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS
1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQQyNzOGcaYzxaRNlKlU2qBee6z1UGBB
reDWsVD6ySg6DVKoLSJCaSIKUtiPUK9LGuZLEkpcFM/Elby1IcDxZu03AAAAoErt6eJK7e
niAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDI3M4ZxpjPFpE2U
qVTaoF57rPVQYEGt4NaxUPrJKDoNUqgtIkJpIgpS2I9Qr0sa5ksSSlwUz8SVvLUhwPFm7T
cAAAAgF5ZFR3zTOA3zAT2buvw8S9Wrzvp4s9QeNoUD4yQKl58AAAAEdGVzdAECAwQ=
-----END OPENSSH PRIVATE KEY-----
`
