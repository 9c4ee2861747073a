package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"minglu/agent/config"
	"minglu/agent/evidence"
	"minglu/agent/mirror"
	"minglu/agent/record"
	"minglu/agent/report"
)

// put writes a file of a disk or a state folder.
func put(t *testing.T, text string, name ...string) {
	t.Helper()
	path := filepath.Join(name...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestForeignDisk: whose a disk is, by what is on it and what the state folder remembers (R12).
func TestForeignDisk(t *testing.T) {
	const id, own, other = "0123456789abcdef0123456789abcdef", "aa", "bb"
	open := func(device string) string {
		b, err := evidence.MarshalLine(evidence.Open{Common: evidence.Common{Type: "open", Salt: strings.Repeat("0", 32)}, Device: evidence.Device{ID: device}, Disks: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	for _, tt := range []struct {
		rule string
		make func(t *testing.T, state, disk string)
		want bool
	}{
		{"an empty disk", func(*testing.T, string, string) {}, false},
		{"a disk with a name and nothing else", func(t *testing.T, _, disk string) { put(t, "{}", disk, "ledger", "disk.json") }, false},
		{"sessions of another device", func(t *testing.T, _, disk string) { put(t, open(other), disk, "sessions", "s1", "log.jsonl") }, true},
		{"a ledger of another device", func(t *testing.T, _, disk string) { put(t, "x\n", disk, "ledger", "00ff", "log.jsonl") }, true},
		{"a ledger that was set aside here", func(t *testing.T, _, disk string) { put(t, "x\n", disk, "ledger", "00ff.foreign-1", "log.jsonl") }, false},
		{"one's own ledger", func(t *testing.T, state, disk string) {
			put(t, "x\n", disk, "ledger", "00ff", "log.jsonl")
			put(t, "x\n", state, "ledger", "00ff", "log.jsonl")
		}, false},
		{"one session of one's own among others, and a state that remembers nothing", func(t *testing.T, _, disk string) {
			put(t, "x\n", disk, "ledger", "00ff", "log.jsonl")
			put(t, open(other), disk, "sessions", "s1", "log.jsonl")
			put(t, open(own), disk, "sessions", "s2", "log.jsonl")
		}, false},
		{"sessions of another, and the disk is known", func(t *testing.T, state, disk string) {
			put(t, open(other), disk, "sessions", "s1", "log.jsonl")
			put(t, `{"/elsewhere":"`+id+`"}`, state, config.DisksFile)
		}, false},
		{"sessions of another, and another disk is known", func(t *testing.T, state, disk string) {
			put(t, open(other), disk, "sessions", "s1", "log.jsonl")
			put(t, `{"/elsewhere":"`+strings.Repeat("f", 32)+`"}`, state, config.DisksFile)
		}, true},
		{"a log without an end of line", func(t *testing.T, _, disk string) {
			put(t, strings.Repeat("x", 1<<20), disk, "sessions", "s1", "log.jsonl")
		}, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			state, disk := t.TempDir(), t.TempDir()
			tt.make(t, state, disk)
			if got := foreignDisk(state, own, disk, id); got != tt.want {
				t.Errorf("foreignDisk() = %t, want %t", got, tt.want)
			}
		})
	}
}

// TestDiskFaults: what people are told as disks go and come: one fault a disk, of its newest cause; a word of
// the other only while it works; and that nothing can be recorded, in an idle room too.
func TestDiskFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agent{cfg: &config.Config{}, failed: map[string]bool{}}
		a.cfg.Storage.Disks = []string{"/a", "/b"}
		l, did := loopOf(t)
		a.loop = l
		m, err := mirror.New(mirror.Options{Disks: func() []mirror.Disk { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		a.mirror = m
		for _, tt := range []struct {
			disk, cause string // "" cause: it is back
			want        string
			words       string // of disk A's fault, in part
			state       string
		}{
			{"/a", "unplugged", "disk.gone A", "disk B works", "idle"},
			{"/a", "foreign", "disk.other A", "disk B works", "idle"},
			{"/b", "hung", "disk.none, disk.other A, disk.slow B", "", "fault"},
			{"/b", "", "disk.other A", "disk B works", "idle"},
			{"/b", "full", "disk.full B, disk.none, disk.other A", "", "fault"},
			{"/a", "", "disk.full B", "", "idle"},
			{"/b", "", "", "", "idle"},
		} {
			a.onDisk(record.DiskEvent{Disk: tt.disk, Failed: tt.cause != "", Cause: tt.cause})
			did()
			got := map[string]bool{}
			for _, f := range a.shownFaults() {
				got[strings.TrimSpace(f.Code+" "+f.Ch)] = true
				if f.Ch == "A" && strings.Contains(f.Text.En, "works") != (tt.words != "") || f.Ch == "A" && !strings.Contains(f.Text.En, tt.words) {
					t.Errorf("%+v: %q", tt, f.Text)
				}
			}
			if s := strings.Join(sortedKeys(got), ", "); s != tt.want || shownState(l.State()) != tt.state {
				t.Errorf("after %s %q: %q, %s; want %q, %s", tt.disk, tt.cause, s, shownState(l.State()), tt.want, tt.state)
			}
		}
		for _, c := range append([]string{"disk.none"}, diskCodes...) {
			if report.Find(c).Severity == report.Warning || strings.Contains(report.Find(c).Text.In("A").En, "with the other") {
				t.Errorf("%s: %+v", c, report.Find(c))
			}
		}
	})
}
