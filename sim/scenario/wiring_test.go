package scenario

import (
	"slices"
	"testing"
	"time"
)

// TestMissingChips starts a room whose lamp and button hang on a chip that is not there: the room works, the page
// says what does not answer, and the log says what to do.
func TestMissingChips(t *testing.T) {
	t.Parallel()
	a := lab.Start(t, Room{Channels: map[string]string{"face": SimCamera}, Disks: []string{t.TempDir()}, Postroll: "0s",
		Extra: "inputs: {button: {gpio: {chip: no-such-chip, line: BUTTON}}}\nlamp: {gpio: {chip: no-such-chip, line: LAMP}}\n"})
	for _, want := range []Fault{{Code: "input.failed", Ch: "button"}, {Code: "lamp.failed"}} {
		Wait(t, 20*time.Second, "the page tells of "+want.Code, func() bool {
			return slices.ContainsFunc(a.State().Faults, func(f Fault) bool { return f.Code == want.Code && f.Ch == want.Ch })
		})
	}
	a.End(a.Begin())
}
