//go:build hil

package wired

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	lampWithin = 50 * time.Millisecond // from the button's line to the lamp's
	preroll    = 2 * time.Second       // as configured
	diskA      = "/disk/a"             // of the board, mounted by it
	diskB      = "/disk/b"             // the USB stick
	stateDisk  = "/state"              // what outlives a reset of the board
)

// TestHILSession: the button begins, the lamp shows it, a long press ends, and all of it is sealed.
func TestHILSession(t *testing.T) {
	w := wire(t)
	w.configure(diskA)
	w.run()
	w.pictures(int((preroll + time.Second).Seconds() * fps))
	id, lamp := w.begin(diskA)
	t.Logf("figure: button's line to lamp's line %v, 20 ms of it debouncing", lamp.Round(100*time.Microsecond))
	if lamp > lampWithin {
		t.Errorf("from the button's line to the lamp's %v, want at most %v", lamp, lampWithin)
	}
	w.wait(startTime, "a climate line", func() bool {
		return slices.ContainsFunc(lines(t, diskA, id), func(l line) bool { return l.Type == "climate" && strings.Contains(l.Raw, "21.5 °C 43 %RH") })
	})
	w.grow(diskA, id, "face", 12)
	for _, f := range w.state().Faults {
		if f.Code != "clock.unverified" && f.Code != "disk.low" { // the guest has no network, and a small disk
			t.Errorf("fault %s", f.Code)
		}
	}
	w.end(id, diskA)
	w.stop()
	t.Logf("figure: the agent used %v of processor in %v", w.agent.ProcessState.UserTime()+w.agent.ProcessState.SystemTime(), time.Since(w.began).Round(time.Second))
	if !strings.Contains(w.said.String(), "the hardware watchdog runs") {
		t.Error("the hardware watchdog was not opened")
	}
	w.judge(id)
}

// TestHILUnplugged: camera and microphone are pulled out in a session and plugged in again: each time the other goes
// on, the gap is told with its cause, and what is back is recorded again.
func TestHILUnplugged(t *testing.T) {
	w := wire(t)
	w.configure(diskA)
	w.run()
	id, _ := w.begin(diskA)
	w.grow(diskA, id, "face", 3)
	w.grow(diskA, id, "voice", 3)
	for _, d := range []struct {
		ch, other, fault string
		pull             func() error
		plug             func()
	}{
		{"face", "voice", "camera.", func() error { return w.camera.Unplug() }, w.plugCamera},
		{"voice", "face", "microphone.", func() error { return w.mic.Unplug() }, w.plugMicrophone},
	} {
		must(t, d.pull())
		w.logged(diskA, id, "fault", d.ch, d.fault)
		w.grow(diskA, id, d.other, 3)
		d.plug()
		w.logged(diskA, id, "cleared", d.ch, d.fault)
		w.grow(diskA, id, d.ch, 3)
	}
	w.end(id, diskA)
	for _, ch := range []string{"face", "voice"} {
		longest := time.Duration(0)
		for _, l := range lines(t, diskA, id) {
			if d := time.Duration(l.To-l.From) * time.Microsecond; l.Type == "gap" && l.Ch == ch && d > longest {
				longest = d
				t.Logf("figure: %s: gap of %v: %s", ch, d.Round(time.Millisecond), l.Cause)
			}
		}
		if longest == 0 {
			t.Errorf("%s: no gap line", ch)
		}
	}
	w.stop()
	w.judge(id)
}

// TestHILStick: the USB stick is pulled out while it is written: recording goes on with the other disk. Once the
// stick is back, the copy on it is completed, and the next session is on both.
func TestHILStick(t *testing.T) {
	w := wire(t)
	mount(t, waitStick(t), diskB)
	w.configure(diskA, diskB)
	w.run()
	first, _ := w.begin(diskA)
	for _, d := range []string{diskA, diskB} {
		w.grow(d, first, "face", 4)
		w.grow(d, first, "voice", 2)
	}
	ask("pull stick")
	w.logged(diskA, first, "fault", "B", "disk.gone")
	w.grow(diskA, first, "face", 6)
	w.end(first, diskA)
	// What udev and systemd do.
	must(t, syscall.Unmount(diskB, syscall.MNT_DETACH))
	w.wait(startTime, "no USB disk", func() bool { return len(sticks()) == 0 })
	ask("plug stick")
	mount(t, waitStick(t), diskB)
	w.sealed(first, diskB)
	second, _ := w.begin(diskA)
	for _, d := range []string{diskA, diskB} {
		w.grow(d, second, "face", 4)
	}
	w.end(second, diskA, diskB)
	w.stop()
	must(t, syscall.Unmount(diskB, 0))
	w.judge(first)
}

// ask tells the host what to do with what hangs at the emulator.
func ask(what string) { fmt.Println("host: " + what) }

// sticks are the nodes of the USB disks.
func sticks() []string {
	all, _ := filepath.Glob("/dev/sd?")
	return all
}

// waitStick waits for the node of a USB disk.
func waitStick(t *testing.T) string {
	t.Helper()
	for until := time.Now().Add(startTime); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if all := sticks(); len(all) > 0 {
			return all[0]
		}
	}
	t.Fatal("no USB disk comes")
	return ""
}

// TestStall is no test of its own: in its middle the board is reset. The host lets the disk hang, so that recording
// stands still, the agent feeds the watchdog no more, and that bites.
func TestStall(t *testing.T) {
	w := wire(t)
	w.configure(diskA)
	w.run()
	id, _ := w.begin(diskA)
	w.grow(diskA, id, "face", 6)
	w.grow(diskA, id, "voice", 6)
	ask("hang disk")
	began := time.Now()
	for !strings.Contains(w.said.String(), "the watchdogs are not fed any more") {
		if time.Since(began) > 3*time.Minute {
			t.Fatal("the watchdog is fed although nothing is written")
		}
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Printf("host: not fed any more after %v\n", time.Since(began).Round(time.Millisecond))
	time.Sleep(time.Minute)
	t.Fatal("the watchdog does not bite")
}

// TestHILAfterBite: the board after that reset. What was recorded is sealed, and the room records on by itself.
func TestHILAfterBite(t *testing.T) {
	before := sessions(diskA)
	if len(before) != 1 {
		t.Fatalf("sessions %v, want the one before the reset", before)
	}
	w := wire(t)
	w.configure(diskA)
	w.run()
	w.sealed(before[0], diskA)
	var id string
	w.wait(startTime, "a session that records on", func() bool {
		for _, s := range sessions(diskA) {
			if s != before[0] {
				id = s
			}
		}
		return id != ""
	})
	w.grow(diskA, id, "face", 4)
	w.end(id, diskA)
	w.stop()
	w.judge(id)
}
