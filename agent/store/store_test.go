package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"minglu/agent/evidence"
)

const idA, idB, idC = "20260301T080000Z-0000000a", "20260301T090000Z-0000000b", "20260302T080000Z-0000000c"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openTest(t testing.TB) *Store {
	t.Helper()
	s, _, err := Open(Options{Path: filepath.Join(t.TempDir(), "cata log?.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func row(id string) Session {
	opened, _ := time.Parse("20060102T150405Z", id[:16])
	return Session{ID: id, Body: evidence.Body{Name: "某局", USCC: "11140"}, Case: "2026-17", Matter: "询问", Flags: []string{},
		Officers: []evidence.Officer{{Name: "张三", Credential: "1234"}}, Trigger: "button", Reason: "button",
		Opened: opened, Closed: opened.Add(time.Hour), Duration: time.Hour, State: Sealed,
		Channels: []Channel{{"face", "camera", []string{"avc1.64001f"}, 12}}, Disks: []string{"a", "b"}, Bytes: 1 << 40}
}

func TestStore(t *testing.T) {
	ctx, s := t.Context(), openTest(t)
	a, b, c := row(idA), row(idB), row(idC)
	b.Case, b.State, b.Body.USCC, b.Officers = "2026-18", Recovered, "220", []evidence.Officer{{Name: "李%四"}}
	for _, r := range []Session{b, a, c} {
		if err := s.Put(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		rule          string
		f             Filter
		limit, offset int
		want          []string
	}{
		{"everything, newest first", Filter{}, 0, 0, []string{idC, idB, idA}},
		{"no more than asked for", Filter{}, 2, 0, []string{idC, idB}},
		{"an offset skips the newest", Filter{}, 2, 1, []string{idB, idA}},
		{"an offset past the end gives none", Filter{}, 2, 9, nil},
		{"the page after an id", Filter{Before: idB}, 0, 0, []string{idA}},
		{"of one body", Filter{Body: "220"}, 0, 0, []string{idB}},
		{"of one case", Filter{Case: "2026-17"}, 0, 0, []string{idC, idA}},
		{"in one state", Filter{State: Recovered}, 0, 0, []string{idB}},
		{"from and until a moment", Filter{From: b.Opened, Until: c.Opened}, 0, 0, []string{idB}},
		{"by an officer's name", Filter{Text: "李%"}, 0, 0, []string{idB}},
		{"a wildcard is only a character", Filter{Text: "%"}, 0, 0, []string{idB}},
		{"a quote is only a character", Filter{Text: "' OR 1=1 --"}, 0, 0, nil},
	} {
		got, err := s.List(ctx, tt.f, tt.limit, tt.offset)
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
		}
		var ids []string
		for _, r := range got {
			ids = append(ids, r.ID)
		}
		if !reflect.DeepEqual(ids, tt.want) {
			t.Errorf("%s: List() = %q, want %q", tt.rule, ids, tt.want)
		}
	}
	if got, err := s.Get(ctx, idA); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("Get() = %+v, %v; want what Put got", got, err)
	}
	if _, err := s.Get(ctx, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get(x) = %v, want ErrNotFound", err)
	}
	v := Verified{Exit: 3, Grade: 1, At: time.Unix(1e9, 0).UTC()}
	if err := s.SetVerified(ctx, idA, v); err != nil {
		t.Error(err)
	}
	if err := s.SetVerified(ctx, "x", v); !errors.Is(err, ErrNotFound) {
		t.Errorf("SetVerified(x) = %v, want ErrNotFound", err)
	}
	a.Reason = "changed"
	if err := s.Put(ctx, a); err != nil {
		t.Error(err)
	}
	a.Verified = v
	if got, err := s.Get(ctx, idA); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("Get() after a second Put = %+v, %v; want the new row with the verification kept", got, err)
	}
}

func TestOpenSetsAside(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		spoil   func(t *testing.T, path string)
		rebuild bool
		bad     bool
	}{
		{"a sound file is used", func(*testing.T, string) {}, false, false},
		{"a missing file is due to be rebuilt", func(t *testing.T, p string) { must(t, os.Remove(p)) }, true, false},
		{"a file of something else is set aside", func(t *testing.T, p string) {
			must(t, os.WriteFile(p, bytes.Repeat([]byte("minglu"), 5000), 0o600))
		}, true, true},
		{"a damaged page is set aside", func(t *testing.T, p string) {
			b, err := os.ReadFile(p)
			must(t, err)
			for i := 4096; i < len(b); i++ {
				b[i] ^= 0x55
			}
			must(t, os.WriteFile(p, b, 0o600))
		}, true, true},
		{"a file cut short is set aside", func(t *testing.T, p string) { must(t, os.Truncate(p, 5000)) }, true, true},
		{"an empty file is a new one", func(t *testing.T, p string) { must(t, os.Truncate(p, 0)) }, true, false},
		{"another version is set aside", func(t *testing.T, p string) {
			s, _, err := Open(Options{Path: p})
			must(t, err)
			_, err = s.write.Exec("PRAGMA user_version = 99")
			must(t, errors.Join(err, s.Close()))
		}, true, true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalogue.db")
			s, rebuild, err := Open(Options{Path: path})
			must(t, err)
			if !rebuild {
				t.Error("a new catalogue must be rebuilt")
			}
			for i := range 50 {
				must(t, s.Put(t.Context(), row(fmt.Sprintf("20260301T080000Z-%08x", i))))
			}
			must(t, s.Close())
			tt.spoil(t, path)
			s, rebuild, err = Open(Options{Path: path})
			must(t, err)
			if rebuild != tt.rebuild {
				t.Errorf("rebuild = %v, want %v", rebuild, tt.rebuild)
			}
			if _, err := os.Stat(path + ".bad-1"); (err == nil) != tt.bad {
				t.Errorf("set aside: %v, want %v", err == nil, tt.bad)
			}
			must(t, s.Put(t.Context(), row(idA)))
			must(t, s.Close())
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func manifest(id string) *evidence.Manifest {
	return &evidence.Manifest{Type: "manifest", V: 1, Session: id, Origin: "minglu/d/g/" + id, Case: "2026-17",
		Officers: []evidence.Officer{{Name: "张三", Credential: "1"}}, Opened: evidence.Moment{T: 1e15, Src: "chrony"}, Closed: evidence.Moment{T: 1e15 + 9e6, Src: "chrony"},
		Channels: []evidence.ManifestChannel{{ID: "face", Kind: "camera", Codec: []string{"avc1.64001f"}, Segments: []evidence.ManifestSegment{{N: 1, File: "face-00001.mp4", Size: 1000, To: 9e6}}}},
		Gaps:     []evidence.GapSpan{{Ch: "face", From: 1, To: 2, Cause: "lost"}}, Marks: []evidence.MarkPoint{{At: 5, Text: "x"}},
		Logs: []evidence.LogDigest{{File: "log.jsonl"}}}
}

func writeManifest(t testing.TB, disk Disk, m *evidence.Manifest) string {
	t.Helper()
	dir := filepath.Join(disk.Dir, "sessions", m.Session)
	must(t, os.MkdirAll(dir, 0o755))
	b, err := m.Marshal()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "manifest.json"), b, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "manifest.json.p7s"), []byte("x"), 0o644))
	return dir
}

func jsonLine(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return append(b, '\n')
}

func testLog(t testing.TB, id string) []byte {
	type c = evidence.Common
	return bytes.Join([][]byte{
		jsonLine(t, evidence.Open{Common: c{Type: "open", T: 1e15}, Session: id, Trigger: "door", Body: evidence.Body{USCC: "220"}, Continues: idA}),
		jsonLine(t, evidence.Details{Common: c{Type: "details"}, Case: "2026-18", Officers: []evidence.Officer{{Name: "李四"}}}),
		jsonLine(t, evidence.SegmentOpen{Common: c{Type: "segment.open"}, Ch: "voice", Seg: 1, Codec: []string{"opus"}}),
		jsonLine(t, evidence.Fragment{Common: c{Type: "fragment"}, Ch: "voice", To: 3e6}),
		jsonLine(t, evidence.Pause{Common: c{Type: "pause"}}),
		jsonLine(t, evidence.Mark{Common: c{Type: "mark"}, Text: "here"}),
	}, nil)
}

func TestRebuildOfFolders(t *testing.T) {
	type summary struct {
		State    State
		Case     string
		Duration time.Duration
		Bytes    int64
		Disks    string
		Channels int
	}
	for _, tt := range []struct {
		rule string
		make func(t *testing.T, a, b Disk)
		want summary
		note string // part of it
	}{
		{"a sealed session on two disks", func(t *testing.T, a, b Disk) {
			writeManifest(t, a, manifest(idB))
			writeManifest(t, b, manifest(idB))
		}, summary{Sealed, "2026-17", 9 * time.Second, 1000, "ab", 1}, ""},
		{"a recovery file makes it recovered", func(t *testing.T, a, b Disk) {
			m := manifest(idB)
			m.Logs = append(m.Logs, evidence.LogDigest{File: "recovery-1.jsonl"})
			writeManifest(t, b, m)
		}, summary{Recovered, "2026-17", 9 * time.Second, 1000, "b", 1}, ""},
		{"without its signature it is still being sealed", func(t *testing.T, a, b Disk) {
			must(t, os.Remove(filepath.Join(writeManifest(t, a, manifest(idB)), "manifest.json.p7s")))
		}, summary{Sealing, "2026-17", 9 * time.Second, 1000, "a", 1}, ""},
		{"a disk with the manifest is better than one with a log", func(t *testing.T, a, b Disk) {
			dir := filepath.Join(a.Dir, "sessions", idB)
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "log.jsonl"), testLog(t, idB), 0o644))
			writeManifest(t, b, manifest(idB))
		}, summary{Sealed, "2026-17", 9 * time.Second, 1000, "ab", 1}, ""},
		{"without a manifest the log tells", func(t *testing.T, a, b Disk) {
			writeLog(t, a, testLog(t, idB))
			must(t, os.WriteFile(filepath.Join(a.Dir, "sessions", idB, "voice-00001.mp4"), make([]byte, 77), 0o644))
		}, summary{Recording, "2026-18", 3 * time.Second, 77, "a", 1}, ""},
		{"a torn log tells up to its end", func(t *testing.T, a, b Disk) {
			l := testLog(t, idB)
			writeLog(t, a, append(l[:len(l)-10], make([]byte, 5000)...))
		}, summary{Recording, "2026-18", 3 * time.Second, 0, "a", 1}, ""},
		{"a closed log is being sealed", func(t *testing.T, a, b Disk) {
			writeLog(t, a, append(testLog(t, idB), jsonLine(t, evidence.Close{Common: evidence.Common{Type: "close"}})...))
		}, summary{Sealing, "2026-18", 3 * time.Second, 0, "a", 1}, ""},
		{"an empty folder", func(t *testing.T, a, b Disk) {
			must(t, os.MkdirAll(filepath.Join(a.Dir, "sessions", idB), 0o755))
		}, summary{State: Damaged, Disks: "a"}, "log.jsonl"},
		{"an empty log", func(t *testing.T, a, b Disk) { writeLog(t, a, nil) }, summary{State: Damaged, Disks: "a"}, "line 0"},
		{"a log of zeros", func(t *testing.T, a, b Disk) { writeLog(t, a, make([]byte, 1<<20)) }, summary{State: Damaged, Disks: "a"}, "line 0"},
		{"one line without end", func(t *testing.T, a, b Disk) { writeLog(t, a, bytes.Repeat([]byte("["), 1<<20)) }, summary{State: Damaged, Disks: "a"}, "line 0"},
		{"the log of another session", func(t *testing.T, a, b Disk) { writeLog(t, a, testLog(t, idA)) }, summary{State: Damaged, Disks: "a"}, "of session"},
		{"a log too long to read", func(t *testing.T, a, b Disk) {
			writeLog(t, a, nil)
			must(t, os.Truncate(filepath.Join(a.Dir, "sessions", idB, "log.jsonl"), maxLogBytes+1))
		}, summary{State: Damaged, Disks: "a"}, "more than"},
		{"a manifest that is no JSON", func(t *testing.T, a, b Disk) {
			must(t, os.WriteFile(filepath.Join(writeManifest(t, a, manifest(idB)), "manifest.json"), []byte("{"), 0o644))
		}, summary{State: Damaged, Disks: "a"}, "manifest.json"},
		{"a manifest too long to read", func(t *testing.T, a, b Disk) {
			must(t, os.Truncate(filepath.Join(writeManifest(t, a, manifest(idB)), "manifest.json"), evidence.MaxJSON+1))
		}, summary{State: Damaged, Disks: "a"}, "more than"},
		{"the manifest of another session", func(t *testing.T, a, b Disk) {
			must(t, os.Rename(writeManifest(t, a, manifest(idA)), filepath.Join(a.Dir, "sessions", idB)))
		}, summary{State: Damaged, Disks: "a"}, "is of session"},
		{"a manifest that is a pipe", func(t *testing.T, a, b Disk) {
			dir := filepath.Join(a.Dir, "sessions", idB)
			must(t, os.MkdirAll(dir, 0o755))
			must(t, syscall.Mkfifo(filepath.Join(dir, "manifest.json"), 0o644))
		}, summary{State: Damaged, Disks: "a"}, "not a regular file"},
		{"a log that is a link", func(t *testing.T, a, b Disk) {
			dir := filepath.Join(a.Dir, "sessions", idB)
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "log.jsonl")))
		}, summary{State: Damaged, Disks: "a"}, "not a regular file"},
		{"a manifest that is a folder", func(t *testing.T, a, b Disk) {
			must(t, os.MkdirAll(filepath.Join(a.Dir, "sessions", idB, "manifest.json"), 0o755))
		}, summary{State: Damaged, Disks: "a"}, "not a regular file"},
		{"a file in place of the folder", func(t *testing.T, a, b Disk) {
			must(t, os.WriteFile(filepath.Join(a.Dir, "sessions", idB), nil, 0o644))
		}, summary{State: Damaged, Disks: "a"}, "not a folder"},
		{"a damaged copy does not hide a good one", func(t *testing.T, a, b Disk) {
			writeLog(t, a, nil)
			writeManifest(t, b, manifest(idB))
		}, summary{Sealed, "2026-17", 9 * time.Second, 1000, "ab", 1}, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a, b := Disk{"a", t.TempDir()}, Disk{"b", t.TempDir()}
			for _, d := range []Disk{a, b} {
				must(t, os.MkdirAll(filepath.Join(d.Dir, "sessions", "lost+found"), 0o755))
			}
			tt.make(t, a, b)
			s := openTest(t)
			var last Progress
			must(t, s.Rebuild(t.Context(), []Disk{a, b}, nil, func(p Progress) { last = p }))
			rows, err := s.List(t.Context(), Filter{}, 0, 0)
			must(t, err)
			if len(rows) != 1 || rows[0].ID != idB || last != (Progress{1, 1}) {
				t.Fatalf("rows %+v, progress %v; want one row", rows, last)
			}
			r := rows[0]
			got := summary{r.State, r.Case, r.Duration, r.Bytes, strings.Join(r.Disks, ""), len(r.Channels)}
			if got != tt.want || !strings.Contains(r.Note, tt.note) || (r.Note == "") != (r.State != Damaged) {
				t.Errorf("row %+v, note %q; want %+v, note with %q", got, r.Note, tt.want, tt.note)
			}
			if r.Opened.IsZero() {
				t.Error("no time of opening: the list cannot place it")
			}
		})
	}
}

func writeLog(t testing.TB, d Disk, b []byte) {
	t.Helper()
	dir := filepath.Join(d.Dir, "sessions", idB)
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "log.jsonl"), b, 0o644))
}

func TestRebuildKeeps(t *testing.T) {
	ctx, s, d := t.Context(), openTest(t), Disk{"a", t.TempDir()}
	writeManifest(t, d, manifest(idB))
	writeManifest(t, d, manifest(idC))
	running := row(idC)
	running.State = Recording
	for _, r := range []Session{row(idA), row(idB), running} {
		must(t, s.Put(ctx, r))
	}
	must(t, s.SetVerified(ctx, idB, Verified{Exit: 3, At: time.Unix(5, 0)}))
	must(t, s.Rebuild(ctx, []Disk{d, {"gone", filepath.Join(d.Dir, "gone")}}, func(id string) bool { return id == idC }, nil))
	rows, err := s.List(ctx, Filter{}, 0, 0)
	must(t, err)
	if len(rows) != 3 {
		t.Fatalf("%d rows, want 3: the row of an absent disk stays", len(rows))
	}
	if rows[0].State != Recording {
		t.Errorf("the running session was rebuilt: %v", rows[0].State)
	}
	if rows[1].Verified.Exit != 3 || rows[1].Bytes != 1000 {
		t.Errorf("row %+v; want it rebuilt with its verification kept", rows[1])
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Rebuild(ended, []Disk{d}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Rebuild() = %v, want the reason it was stopped", err)
	}
}

// TestComplete: a cut between a seal and its row loses the session from no list.
func TestComplete(t *testing.T) {
	ctx, s, d := t.Context(), openTest(t), Disk{"a", t.TempDir()}
	for _, id := range []string{idA, idB, idC} {
		writeManifest(t, d, manifest(id))
	}
	known, behind := row(idA), row(idB)
	known.State, known.Case, behind.State = Sealed, "as it was entered", Recording
	must(t, s.Put(ctx, known))
	must(t, s.Put(ctx, behind))
	entered, err := s.Complete(ctx, []Disk{d}, nil)
	must(t, err)
	if want := []string{idB, idC}; !slices.Equal(entered, want) {
		t.Errorf("entered %v, want %v", entered, want)
	}
	for id, want := range map[string]string{idA: "as it was entered", idB: "2026-17", idC: "2026-17"} {
		if r, err := s.Get(ctx, id); err != nil || r.State != Sealed || r.Case != want {
			t.Errorf("%s: %+v, %v; want case %q, sealed", id, r, err, want)
		}
	}
	if entered, err := s.Complete(ctx, []Disk{d}, nil); err != nil || len(entered) > 0 {
		t.Errorf("a second time: %v, %v", entered, err)
	}
	must(t, s.Put(ctx, behind))
	if entered, err := s.Complete(ctx, []Disk{d}, func(string) bool { return true }); err != nil || len(entered) > 0 {
		t.Errorf("a session in use was entered: %v, %v", entered, err)
	}
}

func BenchmarkRebuild1000(b *testing.B) {
	d := Disk{"a", b.TempDir()}
	for i := range 1000 {
		m := manifest(fmt.Sprintf("20260301T080000Z-%08x", i))
		for n := range 100 { // 8 h of two channels
			for range 2 {
				m.Channels[0].Segments = append(m.Channels[0].Segments, evidence.ManifestSegment{N: int64(n), File: "face-00001.mp4",
					Size: 1, SHA256: strings.Repeat("0", 64), Init: strings.Repeat("0", 64)})
			}
		}
		writeManifest(b, d, m)
	}
	s := openTest(b)
	for b.Loop() {
		must(b, s.Rebuild(b.Context(), []Disk{d}, nil, nil))
	}
}

func BenchmarkList(b *testing.B) {
	s := openTest(b)
	tx, err := s.write.Begin()
	must(b, err)
	for i := range 10_000 {
		must(b, put(b.Context(), tx, row(fmt.Sprintf("20260301T080000Z-%08x", i))))
	}
	must(b, tx.Commit())
	for _, bb := range []struct {
		name string
		f    Filter
	}{{"newest", Filter{}}, {"text", Filter{Text: "nobody"}}, {"case", Filter{Case: "nothing"}}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				_, err := s.List(b.Context(), bb.f, 100, 0)
				must(b, err)
			}
		})
	}
}
