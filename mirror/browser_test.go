package mirror

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A real browser shows the home page in both languages and both colours, with buttons that copy
// commands, asks for the page and its style only, and nothing is cut off in a narrow window. `make browser` runs
// it: OFFK8S_TEST_BROWSER is a Chromium, OFFK8S_TEST_SCREENSHOTS a directory for pictures.
func TestBrowser(t *testing.T) {
	browser := os.Getenv("OFFK8S_TEST_BROWSER")
	if browser == "" {
		t.Skip("OFFK8S_TEST_BROWSER is not set")
	}
	dir := os.Getenv("OFFK8S_TEST_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	runs := t.TempDir()
	if err := os.WriteFile(filepath.Join(runs, "run.jsonl"), browserRun(), 0o600); err != nil {
		t.Fatal(err)
	}
	m := configured(t, Options{CA: testCA, Runs: []string{runs}})
	sending := &responseWriter{}
	sending.bytes.Store(12 << 20)
	sending.length.Store(90 << 20)
	m.metrics.transfers.enter(sending, "[fd00:1234:5678:9abc:def0:1234:5678:9abc]:40000", "/v2/registry.k8s.io/kube-proxy/blobs/sha256:"+strings.Repeat("0123456789abcdef", 4), time.Now())
	var asked sync.Map
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path, true)
		m.ServeHTTP(w, r)
	}))
	defer srv.Close()
	profile := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		args = append([]string{
			"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + profile,
			"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		}, args...)
		out, err := exec.CommandContext(t.Context(), browser, args...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out)
	}
	white, black := color.RGBA{0xff, 0xff, 0xff, 0xff}, color.RGBA{0x0d, 0x11, 0x17, 0xff}
	for _, tt := range []struct {
		name, page, scheme, size string
		back                     color.RGBA
		want                     string
	}{
		{"wide-en-light", "/?lang=en", "1", "1280,1600", white, "<button>Copy</button><pre"},
		{"wide-zh-dark", "/?lang=zh", "0", "1280,1600", black, "<button>复制</button><pre"},
		{"narrow-zh-light", "/?lang=zh", "1", "500,2000", white, "签名者"},
		{"narrow-en-dark", "/?lang=en&q=pause", "0", "500,2000", black, "registry.k8s.io/pause:3.10"},
		{"now-wide-en-light", "/now?lang=en", "1", "1280,900", white, "controlplane"},
		{"now-wide-zh-dark", "/now?lang=zh", "0", "1280,900", black, "运行中"},
		{"now-narrow-en-dark", "/now?lang=en", "0", "500,1600", black, "worker-3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := srv.URL + tt.page
			if dom := run("--dump-dom", url); !strings.Contains(dom, tt.want) {
				t.Errorf("no %q in the page:\n%s", tt.want, dom)
			}
			picture := filepath.Join(dir, tt.name+".png")
			run("--window-size="+tt.size, "--blink-settings=preferredColorScheme="+tt.scheme, "--screenshot="+picture, url)
			checkMargins(t, picture, tt.back)
		})
	}
	asked.Range(func(path, _ any) bool {
		if path != "/" && path != "/now" && path != "/style.css" {
			t.Errorf("the browser asked for %s", path)
		}
		return true
	})
}

// browserRun is the log of a run on six hosts that has reached the stage controlplane. Its last
// event is in the future, so that a slow browser does not find the run silent.
func browserRun() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, `{"time":%q,`+format+"}\n", append([]any{time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, args...)...)
	}
	line(`"event":"run","command":"install","cluster":"production"`)
	stages := strings.Fields("connect facts preflight mirror host time packages pki etcd loadbalancer runtime images controlplane")
	for i, stage := range stages {
		line(`"event":"stage","stage":%q,"title":"stage of the test","hosts":6`, stage)
		for h, host := range []string{"cp-1", "cp-2", "cp-3", "worker-1", "worker-2", "worker-3.site.example"} {
			switch {
			case i < 4 || stage == "etcd" && h > 2:
			case i < len(stages)-1:
				line(`"event":"host","stage":%q,"host":%q,"type":"step","id":"a","state":"changed"`, stage, host)
				line(`"event":"host","stage":%q,"host":%q,"type":"end"`, stage, host)
			case h == 1:
				line(`"event":"host","stage":%q,"host":%q,"type":"step","id":"apiserver","state":"failed"`, stage, host)
			default:
				line(`"event":"host","stage":%q,"host":%q,"type":"start","id":"apiserver"`, stage, host)
			}
		}
		if i < len(stages)-1 {
			line(`"event":"stageEnd","stage":%q`, stage)
		}
	}
	return b.Bytes()
}

// checkMargins expects the colour back on the left and right edges of a picture: text that
// does not fit would reach the right one.
func checkMargins(t *testing.T, name string, back color.RGBA) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	b := picture.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for _, p := range []image.Point{{b.Min.X, y}, {b.Max.X - 1, y}} {
			if got := color.RGBAModel.Convert(picture.At(p.X, p.Y)); got != back {
				t.Fatalf("%s: colour %v at %v, want %v", filepath.Base(name), got, p, back)
			}
		}
	}
}
