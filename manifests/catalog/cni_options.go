package catalog

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/offk8s/offk8s/manifests/strict"
)

// Option is a setting of a pod network. Its values are few or plain, so that none can
// mean something else in the files that templates write.
type Option struct {
	Type string `yaml:"type" json:"type,omitempty"` // "string", "integer" or "boolean"
	// Values are all values of a string; Min and Max are the limits of an integer, both
	// inclusive.
	Values []string `yaml:"values,omitempty" json:"values,omitempty"`
	Min    int64    `yaml:"min,omitempty" json:"min,omitempty"`
	Max    int64    `yaml:"max,omitempty" json:"max,omitempty"`
	// Default is used if cluster.yaml does not set the option. Without one, templates get
	// false, 0 or "", which stand for the default of the network.
	Default string `yaml:"default,omitempty" json:"default,omitempty"`
	About   string `yaml:"about" json:"about,omitempty"` // one line for users
	// Needs are values that other options must have, or else this one cannot be set.
	Needs map[string]string `yaml:"needs,omitempty" json:"needs,omitempty"`
}

// The types of options.
const (
	optionString  = "string"
	optionInteger = "integer"
	optionBoolean = "boolean"
)

// read returns v as the option's type: string, int64 or bool. Numbers of JSON are
// float64.
func (o Option) read(v any) (any, error) {
	if f, ok := v.(float64); ok && f == math.Trunc(f) {
		v = int64(f)
	}
	switch x := v.(type) {
	case string:
		if o.Type == optionString && slices.Contains(o.Values, x) {
			return x, nil
		}
	case bool:
		if o.Type == optionBoolean {
			return x, nil
		}
	case int64:
		if o.Type == optionInteger && o.Min <= x && x <= o.Max {
			return x, nil
		}
	}
	return nil, fmt.Errorf("found %v, want %s", v, o.form())
}

// parsed returns text as a value of the option's type, or as it is.
func (o Option) parsed(text string) any {
	switch n, err := strconv.ParseInt(text, 10, 64); {
	case o.Type == optionInteger && err == nil:
		return n
	case o.Type == optionBoolean && (text == "true" || text == "false"):
		return text == "true"
	}
	return text
}

func (o Option) form() string {
	switch o.Type {
	case optionString:
		return "one of " + strings.Join(o.Values, ", ")
	case optionInteger:
		return fmt.Sprintf("a number from %d to %d", o.Min, o.Max)
	}
	return "true or false"
}

// unset returns the value of an option that has no default.
func (o Option) unset() any {
	switch o.Type {
	case optionString:
		return ""
	case optionInteger:
		return int64(0)
	}
	return false
}

// Settings returns the value of every option: that of given, network.options in
// cluster.yaml, or its default. The paths of the problems are below network.options.
func (r CNIRelease) Settings(given map[string]any) (map[string]any, []strict.Problem) {
	c := &strict.Checks{}
	out := map[string]any{}
	for name, o := range r.Options {
		out[name] = o.unset()
		if v, err := o.read(o.parsed(o.Default)); err == nil {
			out[name] = v
		}
	}
	known := slices.Sorted(maps.Keys(r.Options))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		p := strict.JoinPath("network.options", name)
		o, ok := r.Options[name]
		if !ok {
			if len(known) == 0 {
				c.Add(p, "the pod network of the bundle has no options")
				continue
			}
			c.Among(p, name, known...)
			continue
		}
		v, err := o.read(given[name])
		if err != nil {
			c.Add(p, "%v", err)
			continue
		}
		out[name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		for _, other := range slices.Sorted(maps.Keys(r.Options[name].Needs)) {
			if want := r.Options[name].Needs[other]; fmt.Sprint(out[other]) != want && out[name] != r.Options[name].unset() {
				c.Add(strict.JoinPath("network.options", name), "does nothing with %s %v, want %s %s", other, out[other], other, want)
			}
		}
	}
	return out, c.Problems
}

// With returns r with its templates for hosts filled in by the settings that Settings
// returned.
func (r CNIRelease) With(settings map[string]any) (CNIRelease, error) {
	for _, list := range []*[]string{&r.Ports, &r.Protocols, &r.Modules, &r.Ready} {
		var out []string
		for _, s := range *list {
			v, err := expand(s, settings)
			if err != nil {
				return r, err
			}
			if v != "" {
				out = append(out, v)
			}
		}
		*list = out
	}
	var err error
	if r.OneSubnet, err = expand(r.OneSubnet, settings); err != nil {
		return r, err
	}
	if r.KeepsKubeProxy, err = expand(r.KeepsKubeProxy, settings); r.KeepsKubeProxy != "" {
		r.ReplacesKubeProxy, r.IPVS = false, false
	}
	return r, err
}

// expand executes a template over settings.
func expand(s string, settings map[string]any) (string, error) {
	if !strings.Contains(s, "{{") {
		return s, nil
	}
	return execute(s, settings)
}

// samples returns settings that the templates of r must work with: the defaults, and each
// other value of an option with the defaults of the others.
func (r CNIRelease) samples() []map[string]any {
	defaults, _ := r.Settings(nil)
	out := []map[string]any{defaults}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		o := r.Options[name]
		values := []any{true, o.Min, o.Max}
		for _, v := range o.Values {
			values = append(values, v)
		}
		for _, v := range values {
			if v, err := o.read(v); err == nil {
				sample := maps.Clone(defaults)
				sample[name] = v
				out = append(out, sample)
			}
		}
	}
	return out
}

func validateOptions(c *strict.Checks, options map[string]Option) {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		o, at := options[name], strict.JoinPath("options", name)
		c.Match(at, name, strict.IsOptionName, "a name of letters and digits such as directRouting")
		c.Among(at+".type", o.Type, optionString, optionInteger, optionBoolean)
		if o.About == "" {
			c.Add(at+".about", "missing")
		}
		c.OneLine(at+".about", o.About)
		if (o.Type == optionString) != (len(o.Values) > 0) || (o.Type == optionInteger) != (o.Max > 0) || o.Min > o.Max {
			c.Add(at, "want values for a string, and max for an integer")
		}
		for i, v := range o.Values {
			c.Match(fmt.Sprintf("%s.values[%d]", at, i), v, strict.IsName, "lower case letters, digits and dashes")
		}
		if _, err := o.read(o.parsed(o.Default)); err != nil && o.Default != "" {
			c.Add(at+".default", "%v", err)
		}
		for other := range o.Needs {
			if _, ok := options[other]; !ok || other == name {
				c.Add(at+".needs", "there is no other option %q", other)
			}
		}
	}
}
