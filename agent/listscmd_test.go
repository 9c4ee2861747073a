package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minglu/agent/config"
	"minglu/agent/lists"
)

// TestListsByHand: a room without a network takes its lists from a file; those of another room are refused.
func TestListsByHand(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("agent.yaml", string(config.Demo(config.DemoOptions{Listen: "127.0.0.1:0"})))
	for _, disk := range []string{"disk-a", "disk-b"} {
		if err := os.Mkdir(filepath.Join(dir, disk), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load("agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		t.Fatal(err)
	}
	const officers = `"bodies":[],"matters":[],"bookings":[],"cases":[],"t":"2026-11-23T01:00:00Z","officers":[{"name":"王某","credential":"A1","body":"11110000MA01AAAA0D"}]}`
	write("good.json", `{"v":1,`+officers)
	write("other.json", `{"v":1,"device":"elsewhere",`+officers)
	write("bad.json", `{"v":1,`+strings.Replace(officers, "A1", "", 1))
	for _, tt := range []struct {
		file string
		code int
		says string
	}{
		{"other.json", exitUsage, "elsewhere"}, {"bad.json", exitFailed, "officers[0].credential"}, {"none.json", exitUsage, "none.json"}, {"good.json", exitGood, "人员 1"},
	} {
		var out, errs bytes.Buffer
		if code := command([]string{"lists", "import", "--config", "agent.yaml", tt.file}, nil, &out, &errs); code != tt.code || !strings.Contains(out.String()+errs.String(), tt.says) {
			t.Errorf("import %s = %d, %s%s; want %d and %q", tt.file, code, &out, &errs, tt.code, tt.says)
		}
	}
	b := lists.Open(lists.Options{Path: filepath.Join(cfg.State, listsFile), Device: cfg.Device.Name})
	if o := b.Officers("", ""); len(o) != 1 || o[0].Name != "王某" || b.Version() == "" {
		t.Errorf("the room holds %+v, version %q", o, b.Version())
	}
}
