package evidence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"minglu/agent/evidence"
)

// answer verifies one session folder with the golden device trusted and grade 1 required.
func answer(id string, files fs.FS) evidence.Result {
	return evidence.Verify(files, evidence.VerifyOptions{Path: id, Require: 1, Trust: goldenTrust})
}

var goldenTrust = must(evidence.ReadTrust(fstest.MapFS{
	"room-3.pem": {Data: evidence.MarshalCertsPEM(newDevice("golden-room-3", nil).cert)},
}))

func asJSON(t *testing.T, r evidence.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGolden holds the committed sessions against the writer (same facts, same bytes) and the verifier
// (same bytes, same answer).
func TestGolden(t *testing.T) {
	made := goldenSessions()
	if os.Getenv("MINGLU_GOLDEN") == "write" {
		writeGolden(t, made)
	}
	for name, f := range goldenTrustFolder() {
		file := filepath.Join("testdata", "golden", "trust", filepath.FromSlash(name))
		if os.Getenv("MINGLU_GOLDEN") == "write" {
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, f.Data, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, f.Data) {
			t.Errorf("%s: is not what the generator makes (%v)", file, err)
		}
	}
	root := os.DirFS("testdata/golden/sessions")
	for id, files := range made {
		dir := must(fs.Sub(root, id))
		for name, f := range files {
			if b, err := fs.ReadFile(dir, name); err != nil || !bytes.Equal(b, f.Data) {
				t.Errorf("%s/%s: is not what the writer makes of the same facts (%v)", id, name, err)
			}
		}
		r := answer(id, dir)
		if grade := map[string]int{goldenStamped: 2, goldenWitnessed: 3}[id]; grade > 0 {
			r = evidence.Verify(dir, evidence.VerifyOptions{Path: id, Require: grade, Trust: must(evidence.ReadTrust(os.DirFS("testdata/golden/trust")))})
		}
		got := asJSON(t, r)
		beside := "testdata/golden/" + id + ".json"
		if os.Getenv("MINGLU_GOLDEN") == "write" {
			if err := os.WriteFile(beside, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(beside); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v: the verifier says\n%s", beside, err, got)
		}
	}
}

func TestExitCodes(t *testing.T) {
	sessions := goldenSessions()
	whole, breaks, recovered, cut := sessions[goldenID], sessions["20260301T023000Z-0123abce"],
		sessions["20260301T033000Z-0123abcf"], sessions["20260301T043000Z-0123abd0"]
	other := must(evidence.ReadTrust(fstest.MapFS{"x.pem": {Data: evidence.MarshalCertsPEM(newDevice("another", nil).cert)}}))
	for _, tt := range []struct {
		rule  string
		id    string
		files fs.FS
		trust *evidence.Trust
		req   int
		want  int
		says  string
	}{
		{"an honest session of a trusted device is good", goldenID, whole, goldenTrust, 1, 0, `"finding":"intact"`},
		{"without an anchor it is sound, and the answer says what is missing", goldenID, whole, nil, 1, 3, "no trust anchor was given"},
		{"another device's certificate is no anchor", goldenID, whole, other, 1, 3, "none of the trust anchors"},
		{"whoever asks for no grade needs no anchor", goldenID, whole, nil, 0, 0, `"grade":0`},
		{"grade 2 needs outside times", goldenID, whole, goldenTrust, 2, 3, "no outside time"},
		{"breaks and gaps are told", "20260301T023000Z-0123abce", breaks, goldenTrust, 1, 3, `"finding":"break","cause":"证人休息"`},
		{"a gap has its cause", "20260301T023000Z-0123abce", breaks, goldenTrust, 1, 3, `"finding":"gap","cause":"no signal"`},
		{"recovered spans are told", "20260301T033000Z-0123abcf", recovered, goldenTrust, 1, 3, `"finding":"recovered"`},
		{"a session without its end is open", "20260301T043000Z-0123abd0", cut, goldenTrust, 0, 3, "open, end unknown"},
		{"the folder's name is part of what is signed", "20260301T013000Z-ffffffff", whole, goldenTrust, 0, 2, "the folder is called"},
		{"nothing is no session", "x", fstest.MapFS{}, goldenTrust, 0, 2, "no session found"},
	} {
		r := evidence.Verify(tt.files, evidence.VerifyOptions{Path: tt.id, Require: tt.req, Trust: tt.trust})
		b := must(json.Marshal(r))
		if r.Exit != tt.want || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.want, tt.says, b)
		}
	}
}

// TestTime holds the spans of channel face against what happened, in ms (V9).
func TestTime(t *testing.T) {
	for _, tt := range []struct {
		rule string
		make func(*script)
		want string
	}{
		{"an unbroken session is one span", func(*script) {}, "intact 0-800"},
		{"a pause is a break, whatever lies around it", func(s *script) { s.pause = map[int]int{2: 2} }, "intact 0-400, break 400-800, intact 800-1200"},
		{"a declared loss has its cause", func(s *script) { s.gap = map[int]int{1: 1} }, "intact 0-200, gap no signal 200-400, intact 400-1000"},
		{"a loss that nobody declared is found", func(s *script) { s.hole = map[int]int{3: 2} }, "intact 0-600, gap undeclared 600-1000, intact 1000-1200"},
		{"a channel that ends early without a word", func(s *script) { s.late = 11 }, "intact 0-800, gap undeclared 800-3000"},
		{"a post-roll without pictures of up to 2 s is none", func(s *script) { s.late = 10 }, "intact 0-800"},
		{"a session may end in a pause", func(s *script) { s.paused, s.late = true, 20 }, "intact 0-800, break 800-4800"},
	} {
		s := goldenScript()
		tt.make(&s)
		r := answer(goldenID, s.make().files)
		var got []string
		for _, sp := range r.Sessions[0].Spans {
			if sp.Channel != "voice" {
				cause := ""
				if sp.Finding == evidence.FindingGap {
					cause = " " + sp.Cause
				}
				got = append(got, fmt.Sprintf("%s%s %d-%d", sp.Finding, cause, sp.From/1000, sp.To/1000))
			}
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %q, want %q\n%s", tt.rule, got, tt.want, asJSON(t, r))
		}
	}
}

// TestLimits: what is beyond a limit of V1 is not checkable, or not the file that was signed.
func TestLimits(t *testing.T) {
	files := goldenSessions()[goldenID]
	many := maps.Clone(files)
	for i := range evidence.MaxFiles {
		many[fmt.Sprintf("x/%d", i)] = &fstest.MapFile{}
	}
	for _, tt := range []struct {
		rule  string
		files fstest.MapFS
		place string
	}{
		{"a certificate of more than 64 KiB", with(files, "device.pem", make([]byte, 64<<10+1)), "device.pem"},
		{"a signature of more than 64 KiB", with(files, "manifest.json.p7s", make([]byte, 64<<10+1)), "manifest.json.p7s"},
		{"a line of more than 16 KiB", with(files, "log.jsonl", append(bytes.Clone(files["log.jsonl"].Data), append(bytes.Repeat([]byte("a"), 16385), '\n')...)), "log.jsonl"},
		{"too many files", many, "more than 100000 files"},
		{"a named pipe", func() fstest.MapFS {
			m := maps.Clone(files)
			m["pipe"] = &fstest.MapFile{Mode: fs.ModeNamedPipe}
			return m
		}(), "pipe"},
		{"a folder in the place of a segment", func() fstest.MapFS {
			m := maps.Clone(with(files, "face-00001.mp4", nil))
			m["face-00001.mp4/x"] = &fstest.MapFile{}
			return m
		}(), "face-00001.mp4"},
	} {
		if r := answer(goldenID, tt.files); !caught(r, tt.place) {
			t.Errorf("%s: exit %d\n%s", tt.rule, r.Exit, asJSON(t, r))
		}
	}
}

// TestProgress: long work tells how far it is, and ends at all of it.
func TestProgress(t *testing.T) {
	var last evidence.Progress
	r := evidence.Verify(goldenSessions()[goldenID], evidence.VerifyOptions{Path: goldenID, Progress: func(p evidence.Progress) {
		if p.Done < last.Done || p.Done > p.Total {
			t.Errorf("progress goes from %+v to %+v", last, p)
		}
		last = p
	}})
	if last.Done != last.Total || last.Done != r.Sessions[0].Bytes || last.Session != goldenID {
		t.Errorf("progress ends at %+v, %d bytes were read", last, r.Sessions[0].Bytes)
	}
}

// BenchmarkVerify verifies a session of 2000 cycles: 4000 fragment lines, small media.
func BenchmarkVerify(b *testing.B) {
	s := goldenScript()
	s.cycles, s.segment = 2000, 10
	files := s.make().files
	b.SetBytes(int64(len(files["log.jsonl"].Data)))
	for b.Loop() {
		if r := answer(goldenID, files); r.Exit != 0 {
			b.Fatal(r.Exit)
		}
	}
}

// caught tells whether an answer is 1 or 2 and names the file.
func caught(r evidence.Result, file string) bool {
	if r.Exit != 1 && r.Exit != 2 {
		return false
	}
	for _, s := range r.Sessions {
		if strings.Contains(s.Unchecked, path.Base(file)) {
			return true
		}
		for _, sp := range s.Spans {
			if sp.File == file && sp.Finding != evidence.FindingIntact {
				return true
			}
		}
	}
	return false
}

// with returns the files with one changed; nil data removes it.
func with(files fstest.MapFS, name string, data []byte) fstest.MapFS {
	m := maps.Clone(files)
	if data == nil {
		delete(m, name)
	} else {
		m[name] = &fstest.MapFile{Data: data, Mode: 0o644}
	}
	return m
}

// TestEveryByte flips one bit in every single byte of every file of a sealed session, and in every
// third byte of one that recovery sealed.
func TestEveryByte(t *testing.T) {
	sessions := goldenSessions()
	for id, step := range map[string]int{goldenID: 1, "20260301T033000Z-0123abcf": 3} {
		files := sessions[id]
		if testing.Short() {
			step = 17
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			t.Run(id+"/"+name, func(t *testing.T) {
				t.Parallel()
				data := files[name].Data
				for i := 0; i < len(data); i += step {
					flipped := bytes.Clone(data)
					flipped[i] ^= 1 << (i % 8)
					if r := answer(id, with(files, name, flipped)); !caught(r, name) {
						t.Fatalf("byte %d of %s flipped from %#02x to %#02x: exit %d\n%s", i, name, data[i], flipped[i], r.Exit, asJSON(t, r))
					}
				}
			})
		}
	}
}

func TestFilesRemovedTruncatedAddedSwapped(t *testing.T) {
	sessions := goldenSessions()
	for _, id := range []string{goldenID, "20260301T023000Z-0123abce", "20260301T033000Z-0123abcf"} {
		files := sessions[id]
		names := slices.Sorted(maps.Keys(files))
		for _, name := range names {
			if r := answer(id, with(files, name, nil)); !caught(r, name) {
				t.Errorf("%s: %s removed: exit %d\n%s", id, name, r.Exit, asJSON(t, r))
			}
			data := files[name].Data
			for _, n := range []int{0, 1, len(data) / 3, len(data) / 2, len(data) * 9 / 10, len(data) - 1} {
				if r := answer(id, with(files, name, data[:n:n])); !caught(r, name) {
					t.Errorf("%s: %s cut to %d of %d bytes: exit %d\n%s", id, name, n, len(data), r.Exit, asJSON(t, r))
				}
			}
			if r := answer(id, with(files, name, append(bytes.Clone(data), 0))); !caught(r, name) {
				t.Errorf("%s: a byte added to %s: exit %d\n%s", id, name, r.Exit, asJSON(t, r))
			}
			for _, other := range names {
				if name >= other {
					continue
				}
				m := with(with(files, name, files[other].Data), other, data)
				if r := answer(id, m); !caught(r, name) && !caught(r, other) {
					t.Errorf("%s: %s and %s swapped: exit %d\n%s", id, name, other, r.Exit, asJSON(t, r))
				}
			}
		}
		for _, added := range []string{"face-00009.mp4", "notes.txt", "aside/x", "tokens/anchor-000000000001.json", "manifest.json.tsr",
			"amendment-1.json", "recovery-9.jsonl", "chain.pem", "sub/log.jsonl"} {
			if r := answer(id, with(files, added, evidence.MarshalCertsPEM(newDevice("x", nil).cert))); !caught(r, added) {
				t.Errorf("%s: %s added: exit %d\n%s", id, added, r.Exit, asJSON(t, r))
			}
		}
		for _, added := range []string{".DS_Store", "._face-00001.mp4", "Thumbs.db", "desktop.ini"} {
			r := answer(id, with(files, added, []byte("x")))
			if want := answer(id, files).Exit; r.Exit != want || len(r.Sessions[0].Notes) == 0 {
				t.Errorf("%s: litter %s: exit %d, want %d and a note", id, added, r.Exit, want)
			}
		}
	}
}
