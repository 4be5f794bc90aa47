package trust

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "***"

// Secret are bytes that never reach a log, an error or a report: every way of
// printing them gives "***".
type Secret []byte

// String returns "***".
func (Secret) String() string { return redacted }

// GoString returns "***".
func (Secret) GoString() string { return redacted }

// Format writes "***" for every verb, %x and %d too.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue returns "***".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "***", in JSON and YAML too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
