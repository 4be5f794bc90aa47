package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/offk8s/offk8s/manifests/fields"
)

// language has the words of the pages about fields.
type language struct {
	chinese                      bool
	intro, header, failure       string
	documents, optional, linksTo string
	example, required            string // of the page of a file
	types                        *strings.Replacer
	descriptions                 map[string]string // by the comments in Go; nil for English
}

func (l language) describe(f fields.Field) string {
	text := f.Description
	if l.descriptions != nil {
		text = l.descriptions[text]
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(text)
}

func (l language) about(o output) string {
	if l.chinese {
		return o.chinese
	}
	return o.about
}

// writeOutputPage writes docs/output.md or its twin.
func writeOutputPage(w io.Writer, l language) error {
	var b strings.Builder
	b.WriteString(l.intro + "\n")
	table := func(list []fields.Field) {
		b.WriteString("\n" + l.header + "\n|---|---|---|\n")
		eachField(list, func(f fields.Field) {
			name := l.types.Replace(f.Type)
			if !f.Required {
				name += l.optional
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Path, name, l.describe(f))
		})
	}
	b.WriteString("\n" + l.failure + "\n")
	table(failureOutput.fields())
	var shown []output
	for _, o := range outputs {
		fmt.Fprintf(&b, "\n## %s\n", o.name())
		if text := l.about(o); text != "" {
			b.WriteString("\n" + text + "\n")
		}
		list := o.fields()
		same := slices.IndexFunc(shown, func(s output) bool { return s.typ() == o.typ() })
		switch {
		case len(list) == 0: // the text says all
		case same >= 0:
			first := shown[same].name()
			fmt.Fprintf(&b, "\n"+l.linksTo+"\n", first, strings.NewReplacer(" ", "-").Replace(first))
		default:
			table(list)
		}
		shown = append(shown, o)
	}
	b.WriteString("\n" + l.documents + "\n\n| | |\n|---|---|\n")
	for _, d := range documentOutputs {
		text := d.about
		if l.chinese {
			text = d.chinese
		}
		fmt.Fprintf(&b, "| `offk8s %s` | %s |\n", d.command, text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeFieldsPage writes a page in Markdown with all fields of a file.
func writeFieldsPage(w io.Writer, d document, l language) error {
	var b strings.Builder
	fmt.Fprintf(&b, l.example+"\n\n%[3]s\n|---|---|---|\n", d.file, d.name, l.header)
	eachField(d.fields(), func(f fields.Field) {
		name := l.types.Replace(f.Type)
		if f.Required {
			name += l.required
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Path, name, l.describe(f))
	})
	_, err := io.WriteString(w, b.String())
	return err
}

var english = language{
	intro: `# Output for scripts

<!-- Written by make golden from the types of the results. -->

[中文](zh-CN/output.md)

With ` + "`--format json`" + ` a command prints its result as one JSON value on standard output, and with ` + "`--format yaml`" + ` the same fields as YAML. Progress, notes and
warnings are on standard error, as is an error. The exit status says how it ended ([README](../README.md#exit-status)); a result can be printed with one that is
not 0, such as that of ` + "`offk8s install`" + ` with hosts that failed.

The names, types and meanings of the fields on this page are stable, and so are the exit statuses. A newer offk8s may add fields and values: ignore those that
you do not know. A field that is not called optional is always there. Lists without elements are ` + "`[]`" + ` or, if they are optional, left out. Times are
RFC 3339 in UTC, sizes and counts of bytes are integers, and digests are ` + "`sha256:`" + ` and 64 digits. In the paths below, ` + "`[]`" + ` stands for each element of a list, as in
` + "`jq`" + `, and ` + "`*`" + ` for each key of a map.

Not stable is text for people: ` + "`message`, `hint`, `notes`, `title`, `describe`, `why`, `reason`, `because`, `use`, `found`, `want` and `error`" + `, and what ` + "`--progress json`" + ` and
` + "`--log-format json`" + ` write to standard error.`,
	header:    "| field | type | |",
	failure:   "## Errors\n\nA command that fails prints this object on standard error.",
	documents: "## Documents of their own form\n\nThese print the same with every format, but for `offk8s sbom` and `offk8s provenance`, which `--format yaml` turns into YAML.",
	required:  ", required", example: "# Fields of %[1]s\n\n<!-- Written by make golden from the types. -->\n\n[中文](zh-CN/%[2]s-yaml.md)\n\n`offk8s init %[2]s` writes a commented example, and `offk8s explain` shows this page on a terminal.",
	optional: ", optional", linksTo: "The fields of [%s](#%s).", types: strings.NewReplacer(),
}

var chinese = language{
	chinese: true,
	intro: `# 供脚本使用的输出

<!-- Written by make golden from the types of the results. -->

[English](../output.md)

使用 ` + "`--format json`" + ` 时，命令把结果作为一个 JSON 值写到标准输出；` + "`--format yaml`" + ` 以 YAML 写出同样的字段。进度、提示、警告和错误都写到标准错误。
命令如何结束由退出码表示（见 [README](../../README.zh-CN.md)）；退出码不为 0 时也可能有结果，例如部分主机失败的 ` + "`offk8s install`" + `。

本页字段的名称、类型和含义是稳定的，退出码也是。新版本的 offk8s 可能增加字段和取值：请忽略不认识的。没有标明“可选”的字段总是存在。
空列表写作 ` + "`[]`" + `，可选的空列表则省略。时间采用 RFC 3339 格式（UTC），大小以字节为单位、为整数，摘要为 ` + "`sha256:`" + ` 加 64 位十六进制数字。
在字段路径中，` + "`[]`" + ` 表示列表的每个元素（与 ` + "`jq`" + ` 相同），` + "`*`" + ` 表示映射的每个键。

供人阅读的文字不稳定：` + "`message`、`hint`、`notes`、`title`、`describe`、`why`、`reason`、`because`、`use`、`found`、`want` 和 `error`" + `；` + "`--progress json`" + ` 和
` + "`--log-format json`" + ` 写到标准错误的内容也不稳定。`,
	header:       "| 字段 | 类型 | |",
	failure:      "## 错误\n\n失败的命令在标准错误上打印这个对象。",
	documents:    "## 自有格式的文档\n\n无论使用哪种格式，这些命令都打印同样的内容；只有 `offk8s sbom` 和 `offk8s provenance` 会由 `--format yaml` 转换成 YAML。",
	descriptions: fieldsChinese,
	required:     "，必填", example: "# %[1]s 的字段\n\n<!-- Written by make golden from the types. -->\n\n[English](../%[2]s-yaml.md)\n\n`offk8s init %[2]s` 写出带注释的示例，`offk8s explain` 在终端上显示本页（英文）。",
	optional: "，可选", linksTo: "字段同 [%s](#%s)。",
	types: strings.NewReplacer(
		"list of ", "列表：", "lists of ", "列表：", "map of ", "映射：", "objects", "对象", "object", "对象", "strings", "字符串", "string", "字符串",
		"integers", "整数", "integer", "整数", "number", "数", "boolean", "布尔", "times", "时间", "time", "时间", "any values", "任意值", "any value", "任意值", "date", "日期",
	),
}
