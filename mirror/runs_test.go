package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runLog is the log of a run in its third stage: cp-1 has failed, w-1 works.
const runLog = `not JSON
{"event":"run","command":"install","cluster":"prod","time":"2026-11-27T05:00:00Z"}
{"event":"stage","stage":"connect","title":"connections","hosts":2,"time":"2026-11-27T05:00:00Z"}
{"event":"stageEnd","stage":"connect","took":1,"failed":null,"time":"2026-11-27T05:00:01Z"}
{"event":"stage","stage":"host","title":"hosts","hosts":2,"time":"2026-11-27T05:00:02Z"}
{"time":"2026-11-27T05:00:02Z","event":"host","stage":"host","host":"cp-1","type":"start","id":"swap"}
{"time":"2026-11-27T05:00:02Z","event":"host","stage":"host","host":"cp-1","type":"step","id":"swap","state":"changed","took":5}
{"time":"2026-11-27T05:00:02Z","event":"host","stage":"host","host":"cp-1","type":"end"}
{"time":"2026-11-27T05:00:02Z","event":"host","stage":"host","host":"w-1","type":"step","id":"swap","state":"ok"}
{"event":"stageEnd","stage":"host","took":1,"failed":null,"time":"2026-11-27T05:00:03Z"}
{"event":"stage","stage":"packages","title":"packages","hosts":2,"time":"2026-11-27T05:00:04Z"}
{"time":"2026-11-27T05:00:05Z","event":"host","stage":"packages","host":"cp-1","type":"step","id":"packages/chrony","state":"failed","reason":"secret reason"}
{"time":"2026-11-27T05:00:05Z","event":"host","stage":"packages","host":"w-1","type":"start","id":"packages/<script>"}
`

// following returns a mirror that shows the runs of a directory with a log, and its page
// as a browser or curl gets it two seconds after the last line.
func following(t *testing.T, log string) (name string, page func(accept, query string) string) {
	t.Helper()
	dir := t.TempDir()
	name = filepath.Join(dir, "20261127T050000.000Z.jsonl")
	if err := os.WriteFile(name, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	m := configured(t, Options{PublicURL: "https://dmz:8443", Runs: []string{dir}})
	m.pageData.now = func() time.Time { return time.Date(2026, 11, 27, 5, 0, 7, 0, time.UTC) }
	return name, func(accept, query string) string {
		t.Helper()
		r := get(m, "GET", "/now"+query, "Accept", accept)
		if r.StatusCode != 200 {
			t.Fatalf("status %d", r.StatusCode)
		}
		return body(t, r)
	}
}

// A copy of a log begins empty, and the file may be another one.
func TestRunWithoutEvents(t *testing.T) {
	for _, log := range []string{"", "not a log\n", "{}\n", `{"time":"2026-11-27T05:00`} {
		_, page := following(t, log)
		if got := page("*/*", ""); !strings.Contains(got, "There is no run yet.") || strings.Contains(got, "0001") {
			t.Errorf("%q: %s", log, got)
		}
	}
}

func TestRunOnThePage(t *testing.T) {
	name, page := following(t, runLog)
	golden(t, "now.html", page("text/html", ""))
	golden(t, "now.txt", page("*/*", ""))
	if got := page("text/html", "?lang=zh"); !strings.Contains(got, "运行中") || strings.Contains(got, "secret reason") {
		t.Errorf("in Chinese:\n%s", got)
	}
	// What comes later is shown, the rest of a line too.
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	add(`{"event":"stageEnd","stage":"packages","failed":["cp-1"],"time":"2026-11-27T05:00:06Z"}` + "\n" + `{"event":"end","co`)
	if got := page("*/*", ""); !strings.Contains(got, "packages       ✗ 1") || !strings.Contains(got, "install prod (2026-11-27 05:00 UTC): running") {
		t.Errorf("half a line:\n%s", got)
	}
	add(`de":3,"time":"2026-11-27T05:00:06Z"}` + "\n")
	if got := page("*/*", ""); !strings.Contains(got, "failed with exit status 3") {
		t.Errorf("the end:\n%s", got)
	}
	// A newer run takes its place, and a log that was written anew.
	newer := filepath.Join(filepath.Dir(name), "20261127T060000.000Z.jsonl")
	for _, cluster := range []string{"second", "again"} {
		if err := os.WriteFile(newer, fmt.Appendf(nil, `{"event":"run","command":"reset","cluster":%q,"time":"2026-11-27T05:00:06Z"}`+"\n", cluster), 0o600); err != nil {
			t.Fatal(err)
		}
		late := time.Now().Add(time.Hour)
		if err := os.Chtimes(newer, late, late); err != nil {
			t.Fatal(err)
		}
		if got := page("*/*", ""); !strings.Contains(got, "reset "+cluster) || strings.Contains(got, "cp-1") {
			t.Errorf("a newer run:\n%s", got)
		}
	}
}

func TestRunWithoutNews(t *testing.T) {
	_, page := following(t, `{"event":"run","command":"install","cluster":"prod","time":"2026-11-27T04:00:00Z"}`+"\n")
	if got := page("*/*", ""); !strings.Contains(got, "no event for 60 minutes") {
		t.Errorf("%s", got)
	}
	_, page = following(t, "")
	if got := page("text/html", ""); !strings.Contains(got, "Nobody downloads") {
		t.Errorf("%s", got)
	}
}

func TestRunIsBounded(t *testing.T) {
	var log strings.Builder
	log.WriteString(strings.Repeat("x", 3*maxRunLine) + "\n")
	for i := range maxRunHosts + 5 {
		fmt.Fprintf(&log, `{"event":"host","stage":"host","host":"h-%d","type":"start","id":"%s"}`+"\n", i, strings.Repeat("é", maxRunName))
	}
	for i := range maxRunStages + 5 {
		fmt.Fprintf(&log, `{"event":"stage","stage":"s-%d"}`+"\n", i)
	}
	r := newRun()
	if n, err := r.read(strings.NewReader(log.String())); err != nil || n != int64(log.Len()) {
		t.Fatalf("read %d of %d bytes: %v", n, log.Len(), err)
	}
	if len(r.Hosts) != maxRunHosts || len(r.Stages) != maxRunStages {
		t.Errorf("%d hosts, %d stages", len(r.Hosts), len(r.Stages))
	}
	if got := r.Hosts[0].cells["host"].Now; got != strings.Repeat("é", maxRunName/2-2)+"…" {
		t.Errorf("name %q", got)
	}
	v := r.view(languages["en"], time.Now())
	if len(v.Hosts) != maxShownHosts || v.More != maxRunHosts-maxShownHosts {
		t.Errorf("%d hosts on the page, %d more", len(v.Hosts), v.More)
	}
}

func FuzzRun(f *testing.F) {
	f.Add([]byte(runLog))
	f.Add([]byte(`{"event":"stageEnd","stage":"a","failed":["\u001b[0m"]}` + "\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		r := newRun()
		n, err := r.read(strings.NewReader(string(log)))
		if err != nil || n > int64(len(log)) || n < int64(strings.LastIndexByte(string(log), '\n')+1) {
			t.Fatalf("%d of %d bytes: %v", n, len(log), err)
		}
		v := nowView{Runs: []runView{r.view(languages["zh"], time.Now())}}
		if text := string(v.text(languages["en"])); strings.ContainsAny(text, "\x1b\x00\r") {
			t.Errorf("control characters: %q", text)
		}
		d := pageData{}
		if typ, page := d.render("now", view{T: languages["zh"], Now: &v}); typ != typeHTML || strings.Contains(strings.ToLower(string(page)), "<script") {
			t.Errorf("page: %s", page)
		}
	})
}
