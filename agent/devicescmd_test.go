package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"minglu/agent/config"
	"minglu/agent/inventory"
	"minglu/agent/report"
)

func TestDevicesCommand(t *testing.T) {
	var out, complaint bytes.Buffer
	tree := filepath.Join(t.TempDir(), "tree.txt")
	if code := command([]string{"devices", "--json", "--local", "--board", "rock-3a", "--record", tree}, nil, &out, &complaint); code != exitGood {
		t.Fatalf("exit %d: %s", code, complaint.String())
	}
	var m inventory.Machine
	if err := json.Unmarshal(out.Bytes(), &m); err != nil || m.Board != "rock-3a" || len(m.Unverified) == 0 {
		t.Errorf("%v: board %q, %d unverified", err, m.Board, len(m.Unverified))
	}
	if b, err := os.ReadFile(tree); err != nil || !strings.Contains(string(b), "proc/cpuinfo = ") {
		t.Errorf("recorded tree: %v, %d bytes", err, len(b))
	}
	if code := command([]string{"devices", "--board", "rock-4z"}, nil, &out, &complaint); code != exitUsage || !strings.Contains(complaint.String(), "rock-3a") {
		t.Errorf("an unknown board: exit %d, %s", code, complaint.String())
	}
}

// TestListedIsYAML: what is printed can be copied: the lines without # of one item are YAML.
func TestListedIsYAML(t *testing.T) {
	m := &inventory.Machine{Board: "raspberrypi-4", Title: report.Text{Zh: "树莓派", En: "Raspberry Pi"}, Unverified: []string{"pins: somewhere"}, Problems: []string{"gpio: no"},
		Items: []inventory.Item{
			{Kind: inventory.Camera, Name: "C615", Path: "/dev/v4l/by-path/x", Node: "/dev/video0", Config: "channels:\n  - {id: room, camera: {v4l2: {device: \"/dev/v4l/by-path/x\"}}}\n"},
			{Kind: inventory.Line, Name: "GPIO4", Pin: 7, Path: "pinctrl-bcm2711:4", Unverified: true, Config: "inputs: {button: {gpio: {chip: \"pinctrl-bcm2711\", line: \"GPIO4\"}}}\n"},
		}}
	text := listed(m)
	var got map[string]any
	if err := yaml.Unmarshal([]byte(text), &got); err != nil || got["board"] != "raspberrypi-4" || got["channels"] == nil {
		t.Errorf("%v: %v\n%s", err, got, text)
	}
	for _, want := range []string{"(= /dev/video0)", "脚 pin  7  GPIO4  pinctrl-bcm2711:4  " + unverifiedMark, "line: \"GPIO4\"", "pins: somewhere " + unverifiedMark, "gpio: no"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestRecognise(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for _, tt := range []struct{ configured, want string }{
		{"sim", "sim"}, {"rock-5b", "rock-5b"}, {"raspberrypi-4", "raspberrypi-4"},
	} {
		if got, err := recognise(&config.Config{Board: tt.configured}, quiet); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v", tt.configured, got, err)
		}
	}
	for _, any := range []string{"auto", "generic"} { // on the machine of this test
		if got, err := recognise(&config.Config{Board: any}, quiet); err != nil || got == "" {
			t.Errorf("%s: %q, %v", any, got, err)
		}
	}
	if _, err := recognise(&config.Config{Board: "rock-4z"}, quiet); err == nil || !strings.Contains(err.Error(), "rock-3a") {
		t.Errorf("an unknown name: %v", err)
	}
}
