package hil

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// long reports whether HIL asks for the whole, not for the short form that each change runs.
func long(t *testing.T) bool {
	t.Helper()
	switch s := os.Getenv("HIL"); s {
	case "", "long":
		return true
	case "short":
		return false
	default:
		t.Fatalf("HIL=%q: want long or short", s)
		return false
	}
}

// tree is the folder of this module.
func tree(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func kernel(t *testing.T) *Kernel {
	t.Helper()
	k, err := Prepare(cmp.Or(os.Getenv("HIL_CACHE"), filepath.Join(tree(t), "out/cache/hil")))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// figure prints one measured value, in the log of the test and where a script finds it.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format, args...)
	fmt.Printf("figure: "+format+"\n", args...)
}
