package hil

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Rig is what hangs on a board: kernel modules that play devices, and devices that the emulator has. What
// needs a process that plays the other side (chips on I²C, USB devices, levels of lines) is in the packages
// below this one, for programs in the guest.
type Rig struct {
	Modules []string // as of [Options]
	QEMU    []string
}

// rigs by name. What gets along is in one, so that few guests are booted.
var rigs = map[string]Rig{
	// Lines, buses and clocks: gpiosim, i2cchip on /dev/i2c-hil0, /dev/uinput, rtc-test.
	"lines": {Modules: []string{"gpio-sim", "i2c-dev", "i2c-hil", "evdev", "uinput", "rtc-test", "rtc-ds1307"}},
	// Sound and pictures: vivid with one camera (single-planar) and one output, vicodec (FWHT), a loop of
	// sound with 8 sub-devices, a card with a mixer.
	"media": {Modules: []string{"vivid n_devs=1 node_types=0x101", "vicodec", "snd-aloop", "snd-dummy"}},
	// The same cameras and encoders with more than one plane to a buffer.
	"planes": {Modules: []string{"vivid n_devs=1 node_types=0x101 multiplanar=2", "vicodec multiplanar=1"}},
	// A USB host controller that usbsim plugs cameras, microphones and serial lines into.
	"usb": {Modules: []string{"vhci-hcd", "uvcvideo", "snd-usb-audio", "cdc-acm"}},
	// A USB host controller of the emulator and the driver of USB disks; the disk is the test's to plug in.
	"stick": {Modules: []string{"xhci-pci", "usb-storage", "sd_mod", "virtio_blk", "ext4"}, QEMU: []string{"-device", "qemu-xhci"}},
	// A hardware watchdog that resets the board.
	"watchdog": {Modules: []string{"i6300esb"}, QEMU: []string{"-device", "i6300esb", "-action", "watchdog=reset"}},
}

// FindRig returns the rig of a name. Several names with + between them are one board with all of it.
func FindRig(names string) (Rig, error) {
	var all Rig
	for name := range strings.SplitSeq(names, "+") {
		r, ok := rigs[name]
		if !ok {
			return Rig{}, fmt.Errorf("hil: no rig %q: there are %v", name, slices.Sorted(maps.Keys(rigs)))
		}
		all.Modules = append(all.Modules, r.Modules...)
		all.QEMU = append(all.QEMU, r.QEMU...)
	}
	return all, nil
}
