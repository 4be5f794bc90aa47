package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/reader"
	"github.com/offk8s/offk8s/bundle/registry"
)

// openPushed opens a bundle in a registry.
func (r *reloader) openPushed(ctx context.Context, address string) (*bundle.Bundle, error) {
	trust := r.options.trust
	open, err := trust.open()
	if err != nil {
		return nil, err
	}
	options, err := r.options.registry.options()
	if err != nil {
		return nil, err
	}
	r.pushed[address] = ""
	t, err := registry.Open(ctx, address, r.cache, options)
	if err != nil {
		return nil, err
	}
	open.Name = t.Reference
	b, err := bundle.OpenReader(ctx, t, t.Size, open)
	if errors.Is(err, reader.ErrUnavailable) {
		return nil, err
	}
	r.pushed[address] = t.Manifest // a bad one is not tried again
	if err != nil {
		return nil, explainOpen(fmt.Errorf("bundle %q: %w", t.Reference, err))
	}
	return r.app.acceptSigner(trust, b)
}

// askTimeout bounds the question for the bundle of a registry.
const askTimeout = 10 * time.Second

// pushedAnother reports whether a registry has another bundle than the one that was
// opened. A registry that does not answer has the same.
func (r *reloader) pushedAnother(ctx context.Context) bool {
	options, err := r.options.registry.options()
	if err != nil {
		r.app.log().Error("look for a newer bundle", "error", err)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, address := range r.options.from {
		d, err := registry.Latest(ctx, address, options)
		if err != nil {
			r.app.log().Info("look for a newer bundle", "error", err)
			continue
		}
		if d != r.pushed[address] {
			return true
		}
	}
	return false
}
