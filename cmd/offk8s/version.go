package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of offk8s",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := ownVersion{version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return a.result(v, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, versionLine())
				return err
			})
		},
	}
}

// ownVersion is the result of version.
type ownVersion struct {
	Version  string `json:"version"`
	Go       string `json:"go"`       // version of Go that built it
	Platform string `json:"platform"` // such as linux/amd64
}

// version returns the module version in the build info, or "0.0.0-dev" if there is none.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return "0.0.0-dev"
}

// versionLine is the output of offk8s version and offk8s --version.
func versionLine() string {
	return fmt.Sprintf("offk8s %s (%s, %s/%s)", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
