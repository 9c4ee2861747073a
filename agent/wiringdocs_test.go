package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"minglu/agent/config"
	"minglu/boards"
)

// TestWiringDocs: the agent.yaml of each board in docs/wiring is one the agent takes, the same in both languages,
// and its lines are on the header and in the table beside it.
func TestWiringDocs(t *testing.T) {
	var first []string
	for _, name := range []string{"wiring.md", "wiring.zh-CN.md"} {
		b, err := os.ReadFile(filepath.Join("..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(b), "```yaml\n")
		if len(parts) != 3 {
			t.Fatalf("%s: %d configurations, want 2", name, len(parts)-1)
		}
		for i := range 2 {
			text, _, _ := strings.Cut(parts[i+1], "```")
			cfg, err := config.Parse("agent.yaml", []byte(text))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			board := boards.Find(cfg.Board)
			if board == nil {
				t.Fatalf("%s: board %q", name, cfg.Board)
			}
			lines := [][2]string{{cfg.Inputs.Button.GPIO.Chip, cfg.Inputs.Button.GPIO.Line}, {cfg.Inputs.Door.GPIO.Chip, cfg.Inputs.Door.GPIO.Line}, {cfg.Inputs.Presence.GPIO.Chip, cfg.Inputs.Presence.GPIO.Line},
				{cfg.Lamp.GPIO.Chip, cfg.Lamp.GPIO.Red}, {cfg.Lamp.GPIO.Chip, cfg.Lamp.GPIO.Amber}, {cfg.Lamp.GPIO.Chip, cfg.Lamp.GPIO.Green}}
			for _, l := range lines {
				n, err := strconv.Atoi(l[1])
				pin := board.PinOf(l[0], n)
				if err != nil || pin == nil {
					t.Errorf("%s: %s: line %q is not on the header", name, cfg.Board, l)
					continue
				}
				if row := "| " + strconv.Itoa(pin.Pin) + " | " + pin.Name + " | " + l[0] + " | " + l[1] + " |"; !strings.Contains(parts[i], row) {
					t.Errorf("%s: %s: no row %q in the table", name, cfg.Board, row)
				}
			}
			if name == "wiring.md" {
				first = append(first, text)
			} else if text != first[i] {
				t.Errorf("%s: %s: another configuration than in English", name, cfg.Board)
			}
		}
	}
}
