package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestUnproven: of a disk that is back, what is sealed and has no outside proof is looked at again.
func TestUnproven(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for name, files := range map[string][]string{
		a + "/sessions/1-open":   {"log.jsonl"},
		a + "/sessions/2-old":    {"manifest.json.p7s"},
		a + "/sessions/3-bare":   {"manifest.json.p7s"},
		b + "/sessions/3-bare":   {"manifest.json.p7s"},
		b + "/sessions/4-bare":   {"manifest.json.p7s"},
		b + "/sessions/5-stamp":  {"manifest.json.p7s", "manifest.json.tsr"},
		b + "/sessions/6-anchor": {"manifest.json.p7s", "tokens/anchor-000000000003.json"},
	} {
		for _, f := range files {
			file := filepath.Join(name, f)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := unproven([]string{a, b, filepath.Join(b, "none")}, 2); !slices.Equal(got, []string{"3-bare", "4-bare"}) {
		t.Errorf("unproven() = %q", got)
	}
}
