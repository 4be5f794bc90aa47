package step

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// purge empties the directory at path: it unmounts file systems below it and then
// removes everything. It follows no link, and removes nothing if something stays
// mounted.
func (e *Env) purge(ctx context.Context, path string) error {
	if err := errors.Join(checkPath("path", path), e.checkParents(path)); err != nil {
		return err
	}
	if err := e.unmountBelow(ctx, path); err != nil {
		return err
	}
	left, err := e.mountsBelow(path)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%q is still mounted, nothing removed", left[0])
	}
	// os.Root resolves every name inside the directory, so that a link that appears
	// meanwhile cannot lead elsewhere.
	root, err := os.OpenRoot(e.Path(path))
	if err != nil {
		return err
	}
	defer root.Close()
	names, err := readNames(e.Path(path))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := root.RemoveAll(n); err != nil {
			return err
		}
	}
	return nil
}

// unmountBelow unmounts the deepest mounts first.
func (e *Env) unmountBelow(ctx context.Context, path string) error {
	mounts, err := e.mountsBelow(path)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if _, err := e.Run.Run(ctx, Cmd{Argv: []string{"umount", "--", m}}); err != nil {
			return fmt.Errorf("unmount %q: %w", m, err)
		}
	}
	return nil
}

// mountsBelow lists the mount points below path, deepest first. proc(5),
// /proc/pid/mountinfo: the fifth field is the mount point, octal-escaped.
func (e *Env) mountsBelow(path string) ([]string, error) {
	b, err := e.ReadFile("/proc/self/mountinfo")
	if absent(err) && e.Root != "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	prefix := filepath.Clean(path) + "/"
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if m := unescapeMount(f[4]); strings.HasPrefix(m, prefix) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out, nil
}

// unescapeMount decodes the \040 escapes of mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
