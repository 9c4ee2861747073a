package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minglu/boards"
)

// TestDrawingsAreOfTheFacts: drawings and tables in docs are what the boards' files say today.
func TestDrawingsAreOfTheFacts(t *testing.T) {
	for _, r := range reference {
		svg, err := draw(r)
		if err != nil {
			t.Fatal(err)
		}
		docs := filepath.Join("..", "..", "docs")
		if kept, err := os.ReadFile(filepath.Join(docs, r.File+".svg")); err != nil || string(kept) != string(svg) {
			t.Errorf("docs/%s.svg is not what the boards say (%v): go run ./tools/wiring", r.File, err)
		}
		text, err := table(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"wiring.md", "wiring.zh-CN.md"} {
			kept, err := os.ReadFile(filepath.Join(docs, name))
			if err != nil || !strings.Contains(string(kept), text) {
				t.Errorf("docs/%s lacks the table of %s (%v): go run ./tools/wiring prints it", name, r.Board, err)
			}
		}
	}
}

// TestWrongWiringIsRefused: what would break a board or not work does not get into a drawing.
func TestWrongWiringIsRefused(t *testing.T) {
	for rule, w := range map[string]wire{
		"a signal on 5 V":             {"A", 2, signal},
		"a supply on a line":          {"VCC", 11, power5},
		"ground on a line":            {"GND", 11, ground},
		"3.3 V where 5 V is":          {"3V3", 4, power},
		"no such pin":                 {"A", 41, signal},
		"a bus where none is":         {"SDA", 11, bus},
		"a bus the wrong way round":   {"SDA", 5, bus},
		"a pin that is taken already": {"A", 13, signal},
	} {
		r := room{Board: "raspberrypi-4", Parts: []part{{En: "first", Wires: []wire{{"A", 13, signal}}}, {En: "second", Wires: []wire{w}}}}
		if _, err := check(r); err == nil {
			t.Errorf("%s: accepted", rule)
		}
	}
	if _, err := check(room{Board: "no"}); err == nil {
		t.Error("no such board: accepted")
	}
	for _, r := range reference {
		if boards.Find(r.Board) == nil {
			t.Errorf("no board %q", r.Board)
		}
	}
}
