package hil

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// form is how much HIL asks for.
type form int

// The forms of `make hil`.
const (
	short form = iota // what each change runs, in 3 minutes
	usual             // from a fresh clone within 15 minutes
	long              // 50 power cuts, a Debian root, and each package whose tests make sense on a board
)

func asked(t *testing.T) form {
	t.Helper()
	switch s := os.Getenv("HIL"); s {
	case "short":
		return short
	case "", "usual":
		return usual
	case "long":
		return long
	default:
		t.Fatalf("HIL=%q: want short, usual or long", s)
		return short
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
