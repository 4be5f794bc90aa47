package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The two languages of a page name the same code and the same numbers in their texts and
// tables, so that a mistake in one of them is found by the other.
func TestLanguagesSayTheSame(t *testing.T) {
	pages := map[string]page{}
	for _, p := range readPages(t) {
		pages[p.name] = p
	}
	compared := 0
	for name, p := range pages {
		twin, ok := pages[chineseTwin(name)]
		if !ok || filepath.Dir(name) != "docs" {
			continue
		}
		compared++
		if diff := cmp.Diff(saidIn(p), saidIn(twin)); diff != "" {
			t.Errorf("%s (-) and %s (+) differ:\n%s", name, twin.name, diff)
		}
	}
	if compared < 15 {
		t.Errorf("only %d pages were compared", compared)
	}
	one := saidIn(page{text: "`a` in November 2026, 1.5 of 2\n\n    `block` 7\n"})
	if diff := cmp.Diff([]string{"1.5", "2", "2026", "`a`"}, one); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(one, saidIn(page{text: "2026 年 11 月，`a`：2 个中的 1.5 个\n```sh\n8\n```\n"})); diff != "" {
		t.Errorf("the same in Chinese:\n%s", diff)
	}
}

var (
	number       = regexp.MustCompile(`\d+(?:[.,:/]\d+)*`)
	chineseMonth = regexp.MustCompile(`\d+ 月`)
)

// saidIn returns the inline code and the numbers of a page without its blocks, each once,
// sorted.
func saidIn(p page) []string {
	var out []string
	fenced := false
	for line := range strings.SplitSeq(p.text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if fenced || strings.HasPrefix(line, "    ") {
			continue
		}
		out = append(out, inlineCode.FindAllString(line, -1)...)
		line = chineseMonth.ReplaceAllString(inlineCode.ReplaceAllString(line, ""), "")
		out = append(out, number.FindAllString(line, -1)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
