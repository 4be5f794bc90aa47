// Command runc is the lab's runc for docker: it raises a negative oomScoreAdj, which the
// lab's machine refuses, and runs runc.real.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "runc of the lab:", err)
		os.Exit(1)
	}
}

func run() error {
	if i := slices.Index(os.Args, "--bundle"); i > 0 && i+1 < len(os.Args) {
		if err := raise(filepath.Join(os.Args[i+1], "config.json")); err != nil {
			return err
		}
	}
	return syscall.Exec("/usr/local/bin/runc.real", os.Args, os.Environ())
}

// raise writes 0 for a negative process.oomScoreAdj in the config of a container.
func raise(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var config, process map[string]json.RawMessage
	if err := json.Unmarshal(b, &config); err != nil {
		return err
	}
	var score int
	if json.Unmarshal(config["process"], &process) != nil || json.Unmarshal(process["oomScoreAdj"], &score) != nil || score >= 0 {
		return nil // runc reports what is wrong with the rest
	}
	process["oomScoreAdj"] = json.RawMessage("0")
	if config["process"], err = json.Marshal(process); err != nil {
		return err
	}
	if b, err = json.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}
