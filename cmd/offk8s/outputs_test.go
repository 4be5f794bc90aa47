package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/registry"
	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
	"github.com/offk8s/offk8s/installer/step"
	"github.com/offk8s/offk8s/manifests/fields"
)

// output is a section of docs/output.md: the result of a command, or of a command with a
// flag or an argument that has another result.
type output struct {
	command, flag  string // an argument is in capitals
	value          any    // of the type that is printed
	about, chinese string
}

// outputs has every result with --format json, in the order of the page.
var outputs = []output{
	{"versions", "", []versionInfo{}, "One object for each minor.", "每个次版本一个对象。"},
	{"pack", "", packed{}, "", ""},
	{"pack", "dry-run", packPlan{}, "", ""},
	{"pack", "list-hosts", []upstreamHost{}, "", ""},
	{"lock", "", writtenLock{}, "With `-o -`, it prints the Lock itself.", "使用 `-o -` 时打印 Lock 本身。"},
	{"sign", "", signed{}, "", ""},
	{"merge", "", merged{}, "", ""},
	{"verify", "", bundle.Summary{}, "Printed only if the bundle is good, or intact.", "只有离线包完好（good 或 intact）才会打印。"},
	{"inspect", "", bundle.Listing{}, "", ""},
	{"extract", "", []string{}, "The paths that were written, relative to `--output`.", "已写出的路径，相对于 `--output`。"},
	{"why", "", []bundle.Reason{}, "One object for each artifact with the name.", "同名的每一项一个对象。"},
	{"diff", "", bundle.Difference{}, "", ""},
	{"inventory", "", bundle.Inventory{}, "The file for `offk8s pack --since`.", "供 `offk8s pack --since` 使用的文件。"},
	{"push", "", registry.Pushed{}, "", ""},
	{"keys generate", "", writtenKey{}, "", ""},
	{"keys rotate", "", writtenKey{}, "The new key.", "新的密钥。"},
	{"keys revoke", "", revocation{}, "", ""},
	{"keys show", "", []shownKey{}, "One object for each key in the file.", "文件中的每个密钥一个对象。"},
	{"serve", "", announcement{}, "Printed when the mirror is ready, before the first request.", "镜像服务器就绪、收到第一个请求之前打印。"},
	{"serve", "install-unit", installedUnit{}, "", ""},
	{"serve init", "", mirrorCA{}, "", ""},
	{"plan", "", installer.Plan{}, "The stages and steps are those of this version of offk8s; their names may change.", "阶段和步骤属于当前版本的 offk8s，名称可能改变。"},
	{"plan", "ports", stage.Ports{}, "", ""},
	{"doctor", "", diagnosis{}, "", ""},
	{"install", "", runOutput{}, "", ""},
	{"reset", "", runOutput{}, "", ""},
	{"ticket", "", []writtenTicket{}, "One object for each host.", "每台主机一个对象。"},
	{"drill", "", drillOutput{}, "", ""},
	{"rotate", "", rotated{}, "", ""},
	{"state export", "", exportedState{}, "", ""},
	{"state import", "", importedState{}, "", ""},
	{"state show", "", shownState{}, "", ""},
	{"explain", "", map[string][]fields.Field{}, "The fields of each file, `cluster` and `pack`.", "`cluster` 和 `pack` 两个文件的字段。"},
	{"explain", "FIELD", fields.Field{}, "", ""},
	{"version", "", ownVersion{}, "", ""},
}

// failureOutput is what every command prints on standard error if it fails.
var failureOutput = output{value: failure{}}

// documentOutputs are the commands that print a document in a form of its own, whatever the
// format.
var documentOutputs = []struct{ command, about, chinese string }{
	{"sbom", "CycloneDX 1.6, with `--spdx` SPDX 2.3", "CycloneDX 1.6；使用 `--spdx` 时为 SPDX 2.3"},
	{"provenance", "an in-toto statement v1 with the predicate of SLSA v1", "in-toto statement v1，谓词为 SLSA v1"},
	{"config schema", "a JSON Schema, draft 2020-12", "JSON Schema（draft 2020-12）"},
	{"kubeconfig", "a kubeconfig, YAML", "kubeconfig（YAML）"},
	{"init", "the name of the file that it wrote, or with `-o -` the file", "所写文件的名称；使用 `-o -` 时为文件本身"},
	{"logs", "lines of the host's journal", "主机 journal 的日志行"},
}

// stepInPlan describes a step.Item, which writes its own JSON.
type stepInPlan struct {
	ID     string `json:"id"`
	Why    string `json:"why,omitempty"`
	Unless string `json:"unless,omitempty"`
	Kind   string `json:"kind"`
	Spec   any    `json:"spec"`
}

var stepComments = map[string]string{
	"ID": "unique in the plan", "Why": "reason, for people", "Unless": "id of the step that makes this one needless if it changes nothing",
	"Kind": "kind of the step, such as file or unit", "Spec": "settings of the step, by its kind",
}

const module = "github.com/offk8s/offk8s/"

// outputTypes describes the types of results.
var outputTypes = fields.Types{
	Tag: "json", Time: "time",
	Shown: map[reflect.Type]reflect.Type{reflect.TypeFor[step.Item](): reflect.TypeFor[stepInPlan]()},
	Comment: func(t reflect.Type, field string) string {
		if t == reflect.TypeFor[stepInPlan]() {
			return stepComments[field]
		}
		dir := strings.TrimPrefix(t.PkgPath(), module)
		if dir == "main" {
			dir = "cmd/offk8s"
		}
		text := commentsIn(dir)[t.Name()+"."+field]
		for i := range t.NumField() { // other fields by their names in JSON
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && f.Name != field {
				text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(text, "`"+name+"`")
			}
		}
		return text
	},
}

var commentSources sync.Map // by directory

func commentsIn(dir string) map[string]string {
	if m, ok := commentSources.Load(dir); ok {
		return m.(map[string]string)
	}
	m, err := fields.Comments(os.DirFS(filepath.Join(repository, dir)))
	if err != nil {
		panic(err) // a test reads its own sources
	}
	commentSources.Store(dir, m)
	return m
}

func (o output) typ() reflect.Type      { return reflect.TypeOf(o.value) }
func (o output) fields() []fields.Field { return outputTypes.Of(o.typ()) }

// name is the command line of a section.
func (o output) name() string {
	switch {
	case o.flag == "":
		return "offk8s " + o.command
	case o.isArgument():
		return "offk8s " + o.command + " " + o.flag
	}
	return "offk8s " + o.command + " --" + o.flag
}

func (o output) isArgument() bool { return o.flag != "" && o.flag == strings.ToUpper(o.flag) }

// compareOutput compares what a command printed with its section in docs/output.md.
func compareOutput(t *testing.T, name string, printed []byte) {
	t.Helper()
	for _, o := range outputs {
		if o.name() == name {
			if err := o.check(printed, false); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
	}
	t.Errorf("%s has no section in docs/output.md", name)
}

// The results of commands that need hosts or root.
func TestOutputsOfHosts(t *testing.T) {
	var out bytes.Buffer
	a := newApp(nil, &out, io.Discard)
	a.format = "json"
	report := siteReport()
	report.Mode = agent.ModeUndo
	report.Hosts[0].Steps = []installer.StepReport{{ID: "etcd/unit", State: step.Failed, Reason: "busy"}}
	report.Hosts[0].Stays, report.Hosts[0].Gone = []string{"chrony"}, []string{"systemd-timesyncd"}
	for name, print := range map[string]func() error{
		"offk8s reset":                func() error { return a.runResult(report, &clusterRun{}, closing{}) },
		"offk8s serve --install-unit": a.unitRuns,
	} {
		out.Reset()
		if err := print(); err != nil {
			t.Fatal(err)
		}
		compareOutput(t, name, out.Bytes())
	}
}

// seenElsewhere are the results that scripts cannot make: they need root. The named test
// calls compareOutput.
var seenElsewhere = map[string]string{
	"offk8s serve --install-unit": "TestOutputsOfHosts",
}

// checkSeen returns an error unless all sections were compared with real outputs, which
// left their names in a directory.
func checkSeen(dir string) error {
	var errs []error
	for _, o := range outputs {
		_, err := os.Stat(filepath.Join(dir, strings.ReplaceAll(o.name(), " ", "_")))
		if (err == nil) == (seenElsewhere[o.name()] != "") {
			errs = append(errs, fmt.Errorf("%s: seen in a script: %t, in a test: %q", o.name(), err == nil, seenElsewhere[o.name()]))
		}
	}
	return errors.Join(errs...)
}

// Every command has its section, or is named as one with another form.
func TestEveryOutputIsDocumented(t *testing.T) {
	root := newApp(strings.NewReader(""), io.Discard, io.Discard).command()
	known := map[string]bool{"offk8s": true}
	for _, o := range outputs {
		known["offk8s "+o.command] = true
		cmd, _, err := root.Find(strings.Fields(o.command))
		if err != nil || "offk8s "+o.command != cmd.CommandPath() || o.flag != "" && !o.isArgument() && cmd.Flags().Lookup(o.flag) == nil {
			t.Errorf("%s: there is no such command: %v", o.name(), err)
		}
	}
	for _, d := range documentOutputs {
		known["offk8s "+d.command] = true
	}
	err := eachCommand(root, func(cmd *cobra.Command) error {
		if cmd.Runnable() && !cmd.HasSubCommands() && !known[cmd.CommandPath()] {
			t.Errorf("%s has --format json and no section in docs/output.md", cmd.CommandPath())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The comparison finds each kind of difference.
func TestOutputCheck(t *testing.T) {
	o := output{value: []shownKey{}}
	for text, want := range map[string]string{
		`[{"file":"k"}]`:                  "<nil>",
		`[{"file":"k","history":[{}]}]`:   `"[].history[].created" is not there`,
		`[{"file":"k","fingerprnt":"x"}]`: `"[].fingerprnt" is not in docs/output.md`,
		`[{"file":1}]`:                    `"[].file": found 1, want string`,
		`[{}]`:                            `"[].file" is not there`,
		`null`:                            `want a list`,
		`{"file":"k"}`:                    `want a list`,
		`[{"file":"k","history":null}]`:   `"[].history": found <nil>, want a list`,
		`[] []`:                           "more than one value",
		`[{"file":"k","history":[{"created":"soon","signer":"s"}]}]`: `want time`,
	} {
		if err := o.check([]byte(text), false); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: found %v, want %s", text, err, want)
		}
	}
	o = output{value: map[string][]fields.Field{}}
	for text, want := range map[string]string{
		`{"pack":[{"path":"a","type":"object","fields":[{"path":"a.b","type":"string"}]}]}`: "<nil>",
		`{"pack":[{"path":"a","type":"object","required":"yes"}]}`:                          `"*[].required": found yes, want boolean`,
	} {
		if err := o.check([]byte(text), false); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: found %v, want %s", text, err, want)
		}
	}
}
