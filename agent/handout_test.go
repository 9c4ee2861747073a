package main

import (
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/agent/access"
	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/identity"
	"minglu/agent/ledger"
	"minglu/agent/record"
	"minglu/agent/store"
	"minglu/agent/web"
)

// TestRecordAccess: a look into the idle room is on the ledger, and the verifier takes such a ledger.
func TestRecordAccess(t *testing.T) {
	state := t.TempDir()
	id, err := identity.Load(state, "room-3")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := evidence.NewSigner(id.Key)
	if err != nil {
		t.Fatal(err)
	}
	now := func() clock.Reading {
		return clock.Reading{T: time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC), Error: -1, Source: "unverified", Up: time.Hour}
	}
	l, _, err := ledger.Open(ledger.Options{State: state, Device: id.D, Signer: signer, Now: now, Boot: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := &agent{ledger: l, recorder: new(record.Recorder)}
	for _, tt := range []struct {
		rule string
		e    access.Entry
		want bool
	}{
		{"a look into the idle room", access.Entry{Who: "du", Action: access.Watch}, true},
		{"a recording is played", access.Entry{Who: "du", Action: access.Play, Session: "20260301T013000Z-0123abcd"}, true},
		{"which one must be said", access.Entry{Who: "du", Action: access.Play}, false},
	} {
		if err := a.recordAccess(t.Context(), tt.e); (err == nil) != tt.want {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(state, "ledger", l.Generation(), "log.jsonl"))
	if err != nil || strings.Count(string(b), `"type":"access"`) != 2 || !strings.Contains(string(b), `"session":""`) {
		t.Errorf("ledger: %v\n%s", err, b)
	}

	r := evidence.VerifyPlaces([]evidence.Place{{Path: "disk", FS: os.DirFS(state)}}, evidence.VerifyOptions{Trust: &evidence.Trust{Devices: []*x509.Certificate{id.Cert}}})
	if len(r.Ledgers) != 1 || r.Ledgers[0].Unchecked != "" || r.Ledgers[0].Finding != "" || r.Ledgers[0].Lines < 4 {
		t.Errorf("verified: %+v", r.Ledgers)
	}
}

// TestOpenFolder: the copy that is handed out is the sealed one, and the one the verifier judged by.
func TestOpenFolder(t *testing.T) {
	const name = "20260301T013000Z-0123abcd"
	a, b, results := t.TempDir(), t.TempDir(), t.TempDir()
	for _, d := range []string{a, b} {
		if err := os.CopyFS(filepath.Join(d, "sessions", name), os.DirFS(goldenSession)); err != nil {
			t.Fatal(err)
		}
	}
	// Copy a was cut before its seal, and something large was left in it.
	cut := filepath.Join(a, "sessions", name)
	if err := os.Remove(filepath.Join(cut, "manifest.json.p7s")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cut, "tail"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &sessions{disks: func() []store.Disk { return []store.Disk{{ID: "1", Dir: a}, {ID: "2", Dir: b}} }, results: results, files: durable.In(t.TempDir()),
		trust: func() *evidence.Trust { return nil }, verified: func() {}}
	holds := func(f fs.FS, file string) bool {
		_, err := fs.Stat(f, file)
		return err == nil
	}
	if f, err := s.OpenFolder(t.Context(), name); err != nil || !holds(f, "manifest.json.p7s") {
		t.Errorf("OpenFolder() = %v, %v; want the sealed copy", f, err)
	}
	if err := os.WriteFile(filepath.Join(results, name+".json"), []byte(`{"sessions":[{"paths":["`+cut+`"]}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := s.OpenFolder(t.Context(), name); err != nil || !holds(f, "tail") {
		t.Errorf("OpenFolder() = %v, %v; want the copy that was judged by", f, err)
	}
	for _, bad := range []string{"20260301T013000Z-ffffffff", "../sessions/" + name, ""} {
		if f, err := s.OpenFolder(t.Context(), bad); err != web.ErrNotFound {
			t.Errorf("OpenFolder(%q) = %v, %v", bad, f, err)
		}
	}
}

// TestSignedAgo: each row is what a tile says of channel a, in ms; -1 nothing.
func TestSignedAgo(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		rule                 string
		a, b                 time.Duration
		segment              int64
		unsynced, resumed, m time.Duration
		want                 int64
	}{
		{"all is signed up to the last fragment", 9 * s, 9 * s, 1, 0, 0, 10 * s, 1000},
		{"what is not on a disk yet does not count", 9 * s, 9 * s, 1, 2 * s, 0, 10 * s, 3000},
		{"a channel that delivers nothing gets older, though others are signed", 3 * s, 9 * s, 1, 0, 0, 10 * s, 7000},
		{"after a break only what came since is owed", 3 * s, 3 * s, 1, 0, 9 * s, 10 * s, 1000},
		{"a channel that never delivered has nothing signed", 0, 9 * s, 0, 0, 0, 10 * s, -1},
	} {
		st := record.Status{Media: tt.m, Unsynced: tt.unsynced, Channels: []record.ChannelStatus{{Ch: "a", To: tt.a, Segment: tt.segment}, {Ch: "b", To: tt.b, Segment: 1}}}
		got, ok := signedAgo(st, tt.resumed)["a"]
		if !ok {
			got = -1
		}
		if got != tt.want {
			t.Errorf("%s: %d ms, want %d", tt.rule, got, tt.want)
		}
	}
}
