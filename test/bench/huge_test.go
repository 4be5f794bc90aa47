package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/test/testenv"
)

const (
	hugeEnv  = "OFFK8S_BENCH_HUGE" // Lock and directory of the process that packs
	hugeFile = 256 << 20
)

// hugeContent is file n of the upstream, made while it is read: nothing that could be
// compressed, and no two blocks alike.
func hugeContent(n int) io.Reader {
	block := bytes.Repeat([]byte("\x1f\x8b made up "), 100<<10)[:1<<20]
	var r []io.Reader
	for i := range hugeFile / len(block) {
		head := binary.BigEndian.AppendUint32([]byte("\x1f\x8b\x08\x00"), uint32(n<<16|i))
		r = append(r, bytes.NewReader(head), bytes.NewReader(block[len(head):]))
	}
	return io.MultiReader(r...)
}

// BenchmarkHuge packs 10 GiB (OFFK8S_BENCH_GIB: another size) once, in a process of its
// own and read back, and reports the most memory of that process, and the most disk that
// cache and bundle take, in sizes of the bundle: where the temporary directory is, and on
// XFS, which shares blocks between files.
func BenchmarkHuge(b *testing.B) {
	gib, err := strconv.Atoi(os.Getenv("OFFK8S_BENCH_GIB"))
	if err != nil {
		gib = 10
	}
	room := func(b *testing.B, dir string, gib int) int64 {
		free, _, err := bundle.Space(dir)
		if err != nil {
			b.Fatal(err)
		}
		if need := int64(gib) << 30; free < need {
			b.Skipf("skipped: %d bytes are free, %d needed", free, need)
		}
		return free
	}
	b.Run("here", func(b *testing.B) {
		dir := b.TempDir()
		room(b, dir, 2*gib+4)
		benchmarkHuge(b, gib, dir, func() int64 { return blocks(dir) })
	})
	b.Run("xfs", func(b *testing.B) {
		room(b, b.TempDir(), 2*gib+4)
		dir := testenv.FileSystem(b, int64(2*gib+2)<<30, "mkfs.xfs", "-q", "-m", "reflink=1")
		before := room(b, dir, 0)
		benchmarkHuge(b, gib, dir, func() int64 { return before - room(b, dir, 0) })
	})
}

// benchmarkHuge packs into dir, which takes used bytes of the disk.
func benchmarkHuge(b *testing.B, gib int, dir string, used func() int64) {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(filepath.Base(r.URL.Path))
		w.Header().Set("Content-Length", strconv.Itoa(hugeFile))
		_, _ = io.Copy(w, hugeContent(n))
	}))
	defer server.Close()
	lock := bundletest.New(b).Lock
	lock.Distros = nil
	for n := range gib << 30 / hugeFile {
		d, err := digest.FromReader(hugeContent(n))
		if err != nil {
			b.Fatal(err)
		}
		lock.Artifacts = append(lock.Artifacts, manifests.Artifact{
			Kind: manifests.KindFile, Name: fmt.Sprintf("file-%d", n), Version: "1", Platform: "linux/amd64",
			Group: "files", Path: fmt.Sprintf("huge/%d", n), Mode: 0o644,
			Source: manifests.Source{URL: fmt.Sprintf("%s/%d", server.URL, n), Digest: d, Size: hugeFile, Trust: manifests.TrustCatalog},
		})
	}
	seconds, memory, disk := packHuge(b, lock, dir, used)
	info, err := os.Stat(filepath.Join(dir, "bundle.tar"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() { // once is enough
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(seconds, "wall-s")
	b.ReportMetric(memory, "rss-MiB")
	b.ReportMetric(float64(disk)/float64(info.Size()), "disk-x")
}

// packHuge runs this program again to pack lock into dir.
func packHuge(b *testing.B, lock *manifests.Lock, dir string, used func() int64) (seconds, memory float64, disk int64) {
	b.Helper()
	in := filepath.Join(dir, "lock.json")
	text, err := json.Marshal(lock)
	if err == nil {
		err = os.WriteFile(in, text, 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run", "^$")
	cmd.Env = append(os.Environ(), hugeEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				b.Fatalf("pack: %v\n%s", err, output.String())
			}
			usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			return time.Since(start).Seconds(), float64(usage.Maxrss) / 1024, disk
		case <-time.After(100 * time.Millisecond):
			disk = max(disk, used())
		}
	}
}

// blocks returns how many bytes of the disk the files below dir take.
func blocks(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // renamed meanwhile
		}
		if info, err := e.Info(); err == nil {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return sum
}

// TestMain is the process of BenchmarkHuge too.
func TestMain(m *testing.M) {
	dir := os.Getenv(hugeEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := packThere(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func packThere(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "lock.json"))
	if err != nil {
		return err
	}
	var lock manifests.Lock
	if err := json.Unmarshal(text, &lock); err != nil {
		return err
	}
	client, err := fetch.NewClient(fetch.Options{})
	if err != nil {
		return err
	}
	st, err := store.Open(filepath.Join(dir, "cache"))
	if err != nil {
		return err
	}
	_, err = bundle.Pack(context.Background(), &lock, bundle.PackOptions{
		Client: client, Store: st, Unsigned: true, Output: filepath.Join(dir, "bundle.tar"), VerifyAfterWrite: true,
	})
	return errors.Join(err, st.Close())
}
