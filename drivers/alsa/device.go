package alsa

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"
	"unsafe"

	alsalib "github.com/gen2brain/alsa"
	"golang.org/x/sys/unix"

	"minglu/drivers/pcm"
)

// stream is what this package does with an open PCM device; tests have their own.
type stream interface {
	Wait(timeoutMs int) (ready bool, err error)
	Read(data any) (frames int, err error)
	Write(data any) (frames int, err error)
	Prepare() error
	Start() error
	Stop() error
	Drain() error
	State() alsalib.PcmState
	Close() error
	moment() (moment, error)
}

// moment is where a stream stands, read in one step by the kernel.
type moment struct {
	running bool
	ago     time.Duration // since the kernel looked at the card
	delay   int           // PCM frames between what was read (or written) and what was heard (or played) then
	started time.Duration // ago
}

// device is an open PCM device and what was agreed with it.
type device struct {
	stream
	rateHz, channels int
	layout           pcm.Layout
	period           int // PCM frames
}

func (d *device) frameBytes() int { return d.channels * d.layout.Bytes() }

// periodTime is how often the card reports; it bounds how long a stop takes, and how late sound comes.
const periodTime = 20 * time.Millisecond

// wish is what a device is opened for.
type wish struct {
	play     bool
	rateHz   int // best: the nearest that can be had is taken
	channels int // at least
	periods  int // of the buffer, at most
}

// rates in order of preference, behind the one that was asked for.
var rates = []int{48000, 24000, 16000, 96000, 44100, 32000, 192000, 88200, 22050, 12000, 11025, 8000}

var layouts = []struct {
	kernel alsalib.PcmFormat
	layout pcm.Layout
}{{alsalib.SNDRV_PCM_FORMAT_S16_LE, pcm.S16}, {alsalib.SNDRV_PCM_FORMAT_S32_LE, pcm.S32}, {alsalib.SNDRV_PCM_FORMAT_S24_LE, pcm.S24}, {alsalib.SNDRV_PCM_FORMAT_S24_3LE, pcm.S24x3}}

// openDevice opens a device in the first way it takes.
func openDevice(card, number uint, w wish) (*device, error) {
	// Without NORESTART the library mends overruns itself, without a word and without restarting capture's clock.
	flags := alsalib.PCM_OUT | alsalib.PCM_NONBLOCK | alsalib.PCM_NORESTART | alsalib.PCM_MONOTONIC
	if !w.play {
		flags |= alsalib.PCM_IN
	}
	can, err := alsalib.PcmParamsGet(card, number, flags)
	if err != nil {
		return nil, err
	}
	for _, rate := range slices.Compact(append([]int{w.rateHz}, rates...)) {
		if !within(can, alsalib.SNDRV_PCM_HW_PARAM_RATE, rate) {
			continue
		}
		for _, channels := range channelCounts(can, w.channels) {
			for _, l := range layouts {
				if !can.FormatIsSupported(l.kernel) {
					continue
				}
				p, err := openPeriods(card, number, flags, alsalib.Config{Channels: uint32(channels), Rate: uint32(rate), Format: l.kernel}, w.periods)
				if errors.Is(err, unix.EINVAL) {
					continue
				} else if err != nil {
					return nil, err
				}
				// What the kernel agreed to, not what was asked for: a wrong rate would run away from the picture.
				return &device{&kernelStream{p}, int(p.Rate()), int(p.Channels()), l.layout, int(p.PeriodSize())}, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: %d channels or more; it has %s", errFormat, w.channels, can)
}

// openPeriods opens with as long a buffer as the device takes.
func openPeriods(card, number uint, flags alsalib.PcmFlag, cfg alsalib.Config, most int) (*alsalib.PCM, error) {
	cfg.PeriodSize = cfg.Rate * uint32(periodTime/time.Millisecond) / 1000
	for count := most; ; count /= 2 {
		cfg.PeriodCount = uint32(max(count, 2))
		// The library's default is ten times the buffer for capture: the kernel then writes over what was not read
		// and says nothing.
		cfg.StopThreshold = cfg.PeriodSize * cfg.PeriodCount
		p, err := alsalib.PcmOpen(card, number, flags, &cfg)
		if errors.Is(err, unix.EINVAL) && count > 2 {
			continue
		} else if err != nil {
			return nil, err
		}
		if p.BufferSize() != cfg.StopThreshold { // the card has longer periods
			cfg.PeriodSize, cfg.StopThreshold = p.PeriodSize(), p.BufferSize()
			if err := p.SetConfig(&cfg); err != nil {
				return nil, errors.Join(err, p.Close())
			}
		}
		return p, nil
	}
}

func within(can *alsalib.PcmParams, what alsalib.PcmParam, v int) bool {
	low, err := can.Min(what)
	high, err2 := can.Max(what)
	return err == nil && err2 == nil && v >= int(low) && v <= int(high)
}

// channelCounts are the numbers of channels to try: as few as are enough, for the rest are thrown away.
func channelCounts(can *alsalib.PcmParams, least int) (counts []int) {
	low, err := can.Min(alsalib.SNDRV_PCM_HW_PARAM_CHANNELS)
	high, err2 := can.Max(alsalib.SNDRV_PCM_HW_PARAM_CHANNELS)
	if err != nil || err2 != nil {
		return nil
	}
	for n := max(least, int(low), 1); n <= min(int(high), maxChannels); n++ {
		counts = append(counts, n)
	}
	return counts
}

// kernelStream is a stream of the kernel.
type kernelStream struct{ *alsalib.PCM }

// pcmStatus is struct snd_pcm_status of include/uapi/sound/asound.h; C's long is Go's int on Linux. On 32 bits it is
// the layout from before time64_t, which kernels go on to serve.
type pcmStatus struct {
	State               int32
	TriggerTstamp       [2]int // s, ns of CLOCK_MONOTONIC
	Tstamp              [2]int
	ApplPtr, HwPtr      uint
	Delay               int
	Avail, AvailMax     uint
	Overrange           uint
	SuspendedState      int32
	AudioTstampData     uint32
	AudioTstamp         [2]int
	DriverTstamp        [2]int
	AudioTstampAccuracy uint32
	Reserved            [52 - 4*unsafe.Sizeof(int(0))]byte
}

func (k *kernelStream) moment() (moment, error) {
	var s pcmStatus
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, k.Fd(), alsalib.SNDRV_PCM_IOCTL_STATUS, uintptr(unsafe.Pointer(&s))); errno != 0 {
		return moment{}, fmt.Errorf("ioctl STATUS: %w", errno)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return moment{}, err
	}
	since := func(t [2]int) time.Duration {
		return time.Duration(now.Nano()) - time.Duration(t[0])*time.Second - time.Duration(t[1])
	}
	return moment{running: alsalib.PcmState(s.State) == alsalib.SNDRV_PCM_STATE_RUNNING, ago: since(s.Tstamp), delay: s.Delay, started: since(s.TriggerTstamp)}, nil
}

// again reports an error that says only: not now.
func again(err error) bool { return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) }

// xrun reports that the card stopped because nobody read (or wrote) in time, or because the board slept; why in words.
func xrun(err error) (cause string, ok bool) {
	switch {
	case errors.Is(err, unix.EPIPE):
		return CauseOverrun, true
	case errors.Is(err, unix.ESTRPIPE):
		return CauseSuspended, true
	}
	return "", false
}

// find looks a name up now.
func find(root, name string) (card, number uint, err error) {
	p, err := parseName(name)
	if err != nil {
		return 0, 0, err
	}
	if card, err = p.find(root); err != nil {
		return 0, 0, fmt.Errorf("%w (%w)", fs.ErrNotExist, err)
	}
	return card, p.device, nil
}
