package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/offk8s/offk8s/manifests/strict"
)

// ErrCredentials means that the configuration with the credentials for
// registries cannot be used.
var ErrCredentials = errors.New("credentials cannot be read")

// missingHelper matches the error of the library for a credential helper that
// cannot be run; it has no type.
var missingHelper = strict.NewPattern(`exec: "(docker-credential-[^"]+)"|fork/exec \S*?(docker-credential-[^:]+): `)

// credentials returns the login for repo. A helper that cannot be run, such as
// that of another machine, gives no credentials and a note.
func (r *registries) credentials(repo name.Repository) (auth authn.Authenticator, note, err error) {
	auth, err = r.client.o.Keychain.Resolve(repo)
	if err == nil {
		return auth, nil, nil
	}
	m := missingHelper.FindStringSubmatch(err.Error())
	if m == nil {
		return nil, nil, fmt.Errorf("%w: %q: %w", ErrCredentials, configFile(), err)
	}
	helper := m[1] + m[2]
	note = fmt.Errorf("no credentials: %q asks for %q, which cannot be run", configFile(), helper)
	if _, again := r.client.common.warned.LoadOrStore(helper, true); !again {
		r.client.o.Log.Warn("continue without credentials: the credential helper cannot be run", "file", configFile(), "helper", helper)
	}
	return authn.Anonymous, note, nil
}

// configFile returns the file that the library reads first.
func configFile() string {
	dir := os.Getenv("DOCKER_CONFIG")
	if home, err := os.UserHomeDir(); dir == "" && err == nil {
		dir = filepath.Join(home, ".docker")
	}
	return filepath.Join(dir, "config.json")
}

// refused adds the reason why there are no credentials to a registry's refusal.
func refused(err, note error) error {
	answer, ok := errors.AsType[*transport.Error](err)
	if note != nil && ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%w; %w", err, note)
	}
	return err
}
