package alsa

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	alsalib "github.com/gen2brain/alsa"
	"golang.org/x/sys/unix"
)

// Level is how a control of a card's mixer stands.
type Level struct {
	Control string // its name in the mixer, such as "Mic Capture Volume"
	Percent []int  // of its range, for each of its channels
}

// ErrNoControl means that the card has no such control in its mixer: it cannot be set from here.
var ErrNoControl = errors.New("no such control in the card's mixer")

// The ends of names of controls, by the kernel's Documentation/sound/designs/control-names.rst.
const (
	captureVolume  = "Capture Volume"
	playbackVolume = "Playback Volume"
)

// mix is a control to set, or several with one end of the name.
type mix struct {
	control string // exact name; "" means all whose names end with suffix
	suffix  string
	channel int // from 1; 0 all of them
	percent int
}

// mixer is a card's mixer. The library lists its controls; values go through [elemValue], for the library takes them
// for 32 bits wide where they are C's long, and so gets the second channel of each control wrong on 64 bits.
type mixer struct {
	ctls []*alsalib.MixerCtl
	lib  *alsalib.Mixer
	file *os.File
}

func openMixer(card uint) (*mixer, error) {
	lib, err := alsalib.MixerOpen(card)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(fmt.Sprintf("/dev/snd/controlC%d", card), os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, lib.Close())
	}
	return &mixer{lib.Ctls, lib, file}, nil
}

func (x *mixer) Close() error { return errors.Join(x.lib.Close(), x.file.Close()) }

// elemValue is struct snd_ctl_elem_value of include/uapi/sound/asound.h, for integers and switches. C's long is Go's
// int on Linux; the union before it is aligned to 8 bytes on ARM with 32 bits too.
type elemValue struct {
	NumID    uint32
	ID       [60]byte // the kernel goes by NumID
	Indirect uint32
	_        uint32
	Value    [128]int
	Reserved [128]byte
}

const (
	elemRead  = 0x12
	elemWrite = 0x13
)

// values reads a control; at most 128 channels.
func (x *mixer) values(ctl *alsalib.MixerCtl) ([]int, *elemValue, error) {
	v := &elemValue{NumID: ctl.ID()}
	if err := x.ioctl(elemRead, v); err != nil {
		return nil, nil, fmt.Errorf("%s: read: %w", ctl.Name(), err)
	}
	return v.Value[:min(int(ctl.NumValues()), len(v.Value))], v, nil
}

// set changes a control and returns what it holds then.
func (x *mixer) set(ctl *alsalib.MixerCtl, change func(values []int)) ([]int, error) {
	values, v, err := x.values(ctl)
	if err != nil {
		return nil, err
	}
	change(values)
	if err := x.ioctl(elemWrite, v); err != nil {
		return nil, fmt.Errorf("%s: write: %w", ctl.Name(), err)
	}
	values, _, err = x.values(ctl)
	return values, err
}

func (x *mixer) ioctl(number uintptr, v *elemValue) error {
	request := 3<<30 | unsafe.Sizeof(*v)<<16 | 'U'<<8 | number // _IOWR
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, x.file.Fd(), request, uintptr(unsafe.Pointer(v))); errno != 0 {
		return errno
	}
	return nil
}

// setLevel sets controls, switches them on, and returns what they say of themselves then.
func setLevel(card uint, m mix) (levels []Level, err error) {
	x, err := openMixer(card)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	for _, ctl := range x.ctls {
		if !m.means(ctl) {
			continue
		}
		low, high, err := span(ctl)
		if err != nil {
			return levels, err
		}
		value := low + (2*(high-low)*m.percent+100)/200
		chosen := func(i, n int) bool { return m.channel == 0 || m.channel > n || i == m.channel-1 }
		back, err := x.set(ctl, func(values []int) {
			for i := range values {
				if chosen(i, len(values)) {
					values[i] = value
				}
			}
		})
		if err != nil {
			return levels, err
		}
		for i, v := range back {
			if off := v - value; chosen(i, len(back)) && (off > 1+(high-low)/50 || -off > 1+(high-low)/50) {
				return levels, fmt.Errorf("%s: set to %d of %d to %d, but it says %d", ctl.Name(), value, low, high, v)
			}
		}
		if err := x.switchOn(ctl.Name()); err != nil {
			return levels, err
		}
		l, err := x.level(ctl)
		if err != nil {
			return levels, err
		}
		levels = append(levels, l)
	}
	if len(levels) == 0 {
		return nil, fmt.Errorf("%q: %w; it has %s", m.name(), ErrNoControl, x.names())
	}
	return levels, nil
}

// readLevel returns how controls stand.
func readLevel(card uint, m mix) (levels []Level, err error) {
	x, err := openMixer(card)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	for _, ctl := range x.ctls {
		if m.means(ctl) {
			l, err := x.level(ctl)
			if err != nil {
				return levels, err
			}
			levels = append(levels, l)
		}
	}
	if len(levels) == 0 {
		return nil, fmt.Errorf("%q: %w; it has %s", m.name(), ErrNoControl, x.names())
	}
	return levels, nil
}

// span is the range of a control.
func span(ctl *alsalib.MixerCtl) (low, high int, err error) {
	low, err = ctl.RangeMin()
	high, err2 := ctl.RangeMax()
	if err = errors.Join(err, err2); err == nil && high <= low {
		err = fmt.Errorf("range of %d to %d", low, high)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", ctl.Name(), err)
	}
	return low, high, nil
}

func (m mix) means(ctl *alsalib.MixerCtl) bool {
	if ctl.Type() != alsalib.SNDRV_CTL_ELEM_TYPE_INTEGER {
		return false
	}
	if m.control != "" {
		return ctl.Name() == m.control
	}
	return strings.HasSuffix(ctl.Name(), m.suffix)
}

func (m mix) name() string {
	if m.control != "" {
		return m.control
	}
	return "… " + m.suffix
}

// switchOn turns on the switch that belongs to a volume, if there is one.
func (x *mixer) switchOn(volume string) error {
	name := strings.TrimSuffix(volume, "Volume") + "Switch"
	for _, ctl := range x.ctls {
		if ctl.Name() != name || ctl.Type() != alsalib.SNDRV_CTL_ELEM_TYPE_BOOLEAN {
			continue
		}
		if _, err := x.set(ctl, func(values []int) {
			for i := range values {
				values[i] = 1
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

func (x *mixer) level(ctl *alsalib.MixerCtl) (Level, error) {
	l := Level{Control: ctl.Name()}
	low, high, err := span(ctl)
	if err != nil {
		return l, err
	}
	values, _, err := x.values(ctl)
	if err != nil {
		return l, err
	}
	for _, v := range values {
		l.Percent = append(l.Percent, (200*(v-low)+(high-low))/(2*(high-low)))
	}
	return l, nil
}

// names are the controls that could have been meant.
func (x *mixer) names() string {
	var all []string
	for _, ctl := range x.ctls {
		if ctl.Type() == alsalib.SNDRV_CTL_ELEM_TYPE_INTEGER && len(all) < 20 {
			all = append(all, fmt.Sprintf("%q", ctl.Name()))
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
