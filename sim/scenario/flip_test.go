package scenario

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"minglu/agent/evidence"
)

const (
	randomFlips = 2000 // in the media, beside all structural bytes
	binaryFlips = 20   // through the real program
)

// flip is one bit of one file.
type flip struct {
	file string
	at   int
	bit  byte
}

// TestFlip takes a recording of a real camera and changes it in every way that a byte, a file or a
// folder allows: the verifier never calls it good, and says where.
func TestFlip(t *testing.T) {
	t.Parallel()
	relay := lab.Relay(t)
	relay.Publish("cam1", Stream{Codec: "h264", Size: "160x120", Rate: 10, GOP: 10, Sound: "aac", Length: time.Hour})
	disks := Disks(t, 2, 400)
	a := lab.Start(t, Room{Channels: map[string]string{"face": relay.URL("cam1")}, Disks: []string{disks[0].Dir, disks[1].Dir}, Preroll: "500ms", Postroll: "0s"})
	a.WaitLive(20 * time.Second)
	pause(1600 * time.Millisecond)
	var ids []string
	for range 2 {
		id := a.Begin()
		ids = append(ids, id)
		pause(600 * time.Millisecond)
		Wait(t, 10*time.Second, "a keyframe begins a file", func() bool { return len(Segments(t, a.Session(0, id), "face")) > 0 })
		a.End(id)
	}
	trust := a.Trust()
	if code := a.Stop(); code != 0 {
		t.Errorf("the agent exits %d after SIGTERM", code)
	}
	honest, other := a.Session(0, ids[0]), a.Session(0, ids[1])
	t.Run("honest", func(t *testing.T) { flipHonest(t, honest, trust) })
	t.Run("bytes", func(t *testing.T) { flipBytes(t, honest, trust) })
	t.Run("files", func(t *testing.T) { flipFiles(t, honest, other, trust) })
}

// flipHonest: the session as it is.
func flipHonest(t *testing.T, folder, trust string) {
	for _, tt := range []struct {
		rule string
		args []string
		want int
		says string
	}{
		{"whoever asks for no grade is told that it is good", []string{"--require", "0"}, evidence.ExitGood, ""},
		{"without an anchor it is sound and nobody vouches", nil, evidence.ExitSound, "no trust anchor was given"},
		{"with the device's certificate it is good", []string{"--trust", trust}, evidence.ExitGood, ""},
	} {
		code, out := lab.Verify(t, append(tt.args, folder)...)
		if code != tt.want || !strings.Contains(out, tt.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s", tt.rule, code, tt.want, tt.says, out)
		}
	}
}

// readFolder holds a session folder in memory.
func readFolder(t *testing.T, folder string) fstest.MapFS {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	m := fstest.MapFS{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = &fstest.MapFile{Data: b, Mode: 0o644}
	}
	return m
}

// structure lists the bytes of a media file that are not samples: all boxes but the insides of mdat
// and of the zero-filled rest of the reserve.
func structure(b []byte) (all []int) {
	for i := 0; i+8 <= len(b); {
		n := int(binary.BigEndian.Uint32(b[i:]))
		if n < 8 || i+n > len(b) {
			return all
		}
		upto := n
		if kind := string(b[i+4 : i+8]); kind == "mdat" || kind == "free" {
			upto = min(n, 8)
		}
		for j := range upto {
			all = append(all, i+j)
		}
		i += n
	}
	return all
}

func flipBytes(t *testing.T, folder, trust string) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	base := readFolder(t, folder)
	anchors, err := evidence.ReadTrust(os.DirFS(trust))
	if err != nil {
		t.Fatal(err)
	}
	options := evidence.VerifyOptions{Path: folder, Trust: anchors}
	if r := evidence.Verify(base, options); r.Exit != evidence.ExitGood {
		t.Fatalf("unchanged: exit %d\n%s", r.Exit, Text(r))
	}
	var flips []flip
	add := func(file string, at int) { flips = append(flips, flip{file, at, 1 << rng.IntN(8)}) }
	for _, name := range slices.Sorted(maps.Keys(base)) {
		data := base[name].Data
		if filepath.Ext(name) != ".mp4" {
			for at := range data {
				add(name, at)
			}
			continue
		}
		for _, at := range structure(data) {
			add(name, at)
		}
		for range randomFlips {
			add(name, rng.IntN(len(data)))
		}
	}
	began := time.Now()
	work := make(chan flip)
	var wg sync.WaitGroup
	var mu sync.Mutex
	exits, bad := map[int]int{}, 0
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			// Beside the tests that run in real time this one takes what is left of the processor.
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19); err != nil {
				t.Logf("setpriority: %v", err)
			}
			m := fstest.MapFS{}
			for name, f := range base {
				m[name] = &fstest.MapFile{Data: bytes.Clone(f.Data), Mode: f.Mode}
			}
			for f := range work {
				m[f.file].Data[f.at] ^= f.bit
				r := evidence.Verify(m, options)
				m[f.file].Data[f.at] ^= f.bit
				err := caught(r, f.file)
				mu.Lock()
				exits[r.Exit]++
				if err != nil {
					if bad++; bad <= 10 {
						t.Errorf("%s byte %d bit %#x (seed %d): %v\n%s", f.file, f.at, f.bit, seed, err, Text(r))
					}
				}
				mu.Unlock()
			}
		})
	}
	for _, f := range flips {
		work <- f
	}
	close(work)
	wg.Wait()
	figure(t, "%d flipped bits in %v: exit 1 %d times, exit 2 %d times, missed or without a place %d", len(flips), time.Since(began).Round(100*time.Millisecond), exits[1], exits[2], bad)

	for range binaryFlips {
		f := flips[rng.IntN(len(flips))]
		copied := copyFolder(t, folder)
		name := filepath.Join(copied, f.file)
		data := bytes.Clone(base[f.file].Data)
		data[f.at] ^= f.bit
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		code, out := lab.Verify(t, "--require", "0", "--trust", trust, copied)
		if code != evidence.ExitBad && code != evidence.ExitUnchecked || !strings.Contains(out, f.file) {
			t.Errorf("%s byte %d bit %#x (seed %d): minglu-agent verify exits %d\n%s", f.file, f.at, f.bit, seed, code, out)
		}
	}
}

// caught wants exit code 1 or 2 and the file named.
func caught(r evidence.Result, file string) error {
	if r.Exit != evidence.ExitBad && r.Exit != evidence.ExitUnchecked {
		return fmt.Errorf("exit %d", r.Exit)
	}
	for _, s := range r.Sessions {
		if strings.Contains(s.Unchecked, file) {
			return nil
		}
		for _, sp := range s.Spans {
			if sp.Finding != evidence.FindingIntact && (sp.File == file || strings.Contains(sp.Cause, file)) {
				return nil
			}
		}
	}
	return fmt.Errorf("exit %d, the place is not named", r.Exit)
}

// copyFolder copies a session folder under its own name.
func copyFolder(t *testing.T, folder string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(folder))
	if err := os.CopyFS(to, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	return to
}

// flipFiles deletes, adds and swaps files.
func flipFiles(t *testing.T, folder, other, trust string) {
	base := readFolder(t, folder)
	type attack struct {
		rule, file string
		do         func(dir string) error
	}
	from := func(dir, file string, cut int64) func(string) error {
		return func(to string) error {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, file), b[:int64(len(b))-cut], 0o644)
		}
	}
	attacks := []attack{
		{"a file is added", "notes.txt", func(d string) error { return os.WriteFile(filepath.Join(d, "notes.txt"), []byte("x"), 0o644) }},
		{"a second media file is added", "face-00002.mp4", func(d string) error {
			return os.WriteFile(filepath.Join(d, "face-00002.mp4"), base["face-00001.mp4"].Data, 0o644)
		}},
		{"manifest and signature are those of another session", "manifest.json", func(d string) error {
			if err := from(other, "manifest.json", 0)(d); err != nil {
				return err
			}
			return from(other, "manifest.json.p7s", 0)(d)
		}},
	}
	for _, name := range slices.Sorted(maps.Keys(base)) {
		attacks = append(attacks,
			attack{"a file is deleted", name, func(d string) error { return os.Remove(filepath.Join(d, name)) }},
			attack{"a file is shorter", name, from(folder, name, 1)})
		if name != "device.pem" { // which is the same in both
			attacks = append(attacks, attack{"a file is that of another session", name, from(other, name, 0)})
		}
	}
	for _, x := range attacks {
		copied := copyFolder(t, folder)
		if err := x.do(copied); err != nil {
			t.Fatal(err)
		}
		code, out := lab.Verify(t, "--require", "0", "--trust", trust, copied)
		if code != evidence.ExitBad && code != evidence.ExitUnchecked || !strings.Contains(out, x.file) {
			t.Errorf("%s (%s): minglu-agent verify exits %d\n%s", x.rule, x.file, code, out)
		}
	}
}
