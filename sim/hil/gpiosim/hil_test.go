//go:build hil

package gpiosim

import (
	"os"
	"testing"
)

// TestHILChip makes a chip, sees its levels from both sides, and takes it away.
func TestHILChip(t *testing.T) {
	c, err := New("hil-bank", "LAMP", "", "DOOR")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := os.Stat(c.Path); err != nil {
		t.Errorf("%s: %v", c.Path, err)
	}
	for _, want := range []bool{true, false, true} {
		if err := c.Pull(2, want); err != nil {
			t.Fatal(err)
		}
		if got, err := c.High(2); err != nil || got != want {
			t.Errorf("High(2) = %v, %v after Pull(2, %v)", got, err, want)
		}
	}
	if _, err := New("hil-bank", "A"); err == nil {
		t.Error("a second chip with the label was made")
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(c.Path); err == nil {
		t.Errorf("%s is still there", c.Path)
	}
}
