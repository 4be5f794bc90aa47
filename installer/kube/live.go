package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/installer/step"
)

// liveList has objects as they are in the API, by their keys in a manifest. Those that do
// not exist are missing.
type liveList map[ObjectKey]any

// readers is the number of objects that are read at the same time.
const readers = 8

// getLive returns those of the objects that exist.
func getLive(ctx context.Context, env *step.Env, objects []json.RawMessage) (liveList, error) {
	a, err := admin(env).connect()
	if err != nil {
		return nil, err
	}
	defer a.close()
	kinds, err := a.kindsOf(ctx, objects)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	live := liveList{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, o := range objects {
		g.Go(func() error {
			k, path, err := kinds.place(o)
			if err != nil {
				return err
			}
			var v any
			if err := a.get(ctx, &v, path); notFound(err) {
				return nil
			} else if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			live[k] = v
			return nil
		})
	}
	return live, g.Wait()
}

// typeMeta identifies the type of an object.
type typeMeta struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// resource is how the API serves a type.
type resource struct {
	name       string // "daemonsets"
	namespaced bool
}

// kinds are the types that the API serves.
type kinds map[typeMeta]resource

// kindsOf asks which types the API serves in the versions of the objects.
func (a *api) kindsOf(ctx context.Context, objects []json.RawMessage) (kinds, error) {
	out, asked := kinds{}, map[string]bool{}
	for _, o := range objects {
		var t typeMeta
		if err := json.Unmarshal(o, &t); err != nil {
			return nil, err
		}
		if asked[t.APIVersion] {
			continue
		}
		asked[t.APIVersion] = true
		var list struct {
			Resources []struct {
				Name       string `json:"name"`
				Kind       string `json:"kind"`
				Namespaced bool   `json:"namespaced"`
			} `json:"resources"`
		}
		if err := a.get(ctx, &list, apiPath(t.APIVersion, "", "", "")); err != nil {
			return nil, err
		}
		for _, r := range list.Resources {
			if !strings.Contains(r.Name, "/") { // "pods/log" is a part of one
				out[typeMeta{t.APIVersion, r.Kind}] = resource{r.Name, r.Namespaced}
			}
		}
	}
	return out, nil
}

// place returns the key and the path of an object.
func (k kinds) place(object []byte) (ObjectKey, string, error) {
	key, err := keyOf(object)
	if err != nil {
		return key, "", err
	}
	var t typeMeta
	if err := json.Unmarshal(object, &t); err != nil {
		return key, "", err
	}
	r, ok := k[t]
	if !ok {
		return key, "", fmt.Errorf("the API has no %s in %s", t.Kind, t.APIVersion)
	}
	namespace := ""
	if r.namespaced {
		namespace = cmp.Or(key.Namespace, "default")
	}
	return key, apiPath(t.APIVersion, namespace, r.name, key.Name), nil
}
