package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minglu/agent/config"
)

// TestRotateWaitsForDisks: the key so far is kept while a disk may hold a session that only it can seal.
func TestRotateWaitsForDisks(t *testing.T) {
	cfg := &config.Config{State: t.TempDir()}
	cfg.Storage.Disks = []string{t.TempDir(), filepath.Join(t.TempDir(), "not", "used", "yet")}
	disk, id := cfg.Storage.Disks[0], strings.Repeat("a", 32)
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	known, err := json.Marshal(map[string]string{disk: id, "/gone": strings.Repeat("b", 32)})
	if err != nil {
		t.Fatal(err)
	}
	put(filepath.Join(cfg.State, config.DisksFile), string(known))
	open := filepath.Join(disk, "sessions", "20260301T013000Z-0123abcd")
	for _, c := range []struct {
		rule   string
		before func()
		want   string // "": the key may be changed
	}{
		{"an empty folder where a disk was", func() {}, "is away"},
		{"another disk in its place", func() { put(filepath.Join(disk, "ledger", "disk.json"), `{"id":"`+strings.Repeat("c", 32)+`"}`) }, "another disk"},
		{"the disk, and an open session", func() {
			put(filepath.Join(disk, "ledger", "disk.json"), `{"id":"`+id+`"}`)
			put(filepath.Join(open, "log.jsonl"), "")
		}, "is not sealed"},
		{"all is sealed", func() { put(filepath.Join(open, "manifest.json.p7s"), "") }, ""},
	} {
		c.before()
		if err := allSealed(cfg); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.rule, err, c.want)
		}
	}
}
