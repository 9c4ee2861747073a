package boards

import (
	"slices"
	"strings"
)

// Seen is what a machine says of itself.
type Seen struct {
	Model      string   `json:"model"`      // of the device tree; "" if there is none
	Compatible []string `json:"compatible"` // most special first
}

// Detect recognises a machine by its device tree. t may be empty: a machine without one is a generic
// board. arch is its GOARCH. An unknown board is the generic one of its kind; seen says what was found.
func Detect(t Tree, arch string) (b *Board, seen Seen) {
	if v, ok := t.Property("/", "model"); ok {
		seen.Model = strings.TrimSpace(Strings(v)[0])
	}
	if v, ok := t.Property("/", "compatible"); ok {
		seen.Compatible = Strings(v)
	}
	for _, c := range seen.Compatible { // the special names come first
		for _, b := range all() {
			if slices.Contains(b.Compatible, c) {
				return b, seen
			}
		}
	}
	return Generic(arch), seen
}

// Generic returns the board of which nothing is known but its architecture.
func Generic(arch string) *Board {
	for _, b := range all() {
		if b.Generic() && slices.Contains(b.Arch, arch) {
			return b
		}
	}
	return Find("generic")
}
