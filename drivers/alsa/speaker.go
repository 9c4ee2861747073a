package alsa

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	alsalib "github.com/gen2brain/alsa"
	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/pcm"
)

// playPeriods is the buffer of a speaker, at most: half a second may pass without a write. A stop drops it.
const playPeriods = 25

// SpeakerOptions say which device and how loud.
type SpeakerOptions struct {
	Name    string       // required: see [CheckName]
	Volume  int          // percent of the range of the mixer's control, 1 to 100; 0 leaves it as it is
	Control string       // name of that control; "": each whose name ends with "Playback Volume"
	Log     *slog.Logger // nil: none
}

// Speaker plays on one playback device. It implements [drivers.Speaker]. The device is open while something is
// played.
type Speaker struct {
	o    SpeakerOptions
	open func(name string, w wish) (*device, uint, error)
	turn chan struct{} // holds one token: who has it plays
}

// NewSpeaker returns the speaker. It opens nothing.
func NewSpeaker(o SpeakerOptions) (*Speaker, error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	if o.Volume < 0 || o.Volume > 100 {
		return nil, fmt.Errorf("alsa: %s: volume of %d: choose 1 to 100, or 0", o.Name, o.Volume)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Speaker{o: o, turn: make(chan struct{}, 1), open: func(name string, w wish) (*device, uint, error) {
		card, number, err := find("/", name)
		if err != nil {
			return nil, 0, err
		}
		d, err := openDevice(card, number, w)
		return d, card, err
	}}
	s.turn <- struct{}{}
	return s, nil
}

// Level reads how loud the speaker is in the mixer.
func (s *Speaker) Level() ([]Level, error) {
	card, _, err := find("/", s.o.Name)
	if err != nil {
		return nil, problem(speaker, s.o.Name, err)
	}
	return readLevel(card, mix{control: s.o.Control, suffix: playbackVolume})
}

// Play implements [drivers.Speaker]: what [pcm.ParseWAV] takes, at the rate the device has, mono on all its channels.
// It returns once the last frame has been played. When ctx ends, what is in the device's buffer is dropped. Two
// announcements are played one after the other. After an underrun it goes on where it was.
func (s *Speaker) Play(ctx context.Context, wav []byte) error {
	sound, err := pcm.ParseWAV(wav)
	if err != nil {
		return fmt.Errorf("alsa: %s: %w", s.o.Name, err)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	}
	d, card, err := s.open(s.o.Name, wish{play: true, rateHz: sound.RateHz, channels: 1, periods: playPeriods})
	if err != nil {
		return problem(speaker, s.o.Name, err)
	}
	defer d.Close() // drops what is still in the buffer
	if s.o.Volume > 0 {
		if levels, err := setLevel(card, mix{control: s.o.Control, suffix: playbackVolume, percent: s.o.Volume}); err != nil {
			s.o.Log.Warn("volume of the speaker not set", "name", s.o.Name, "err", err)
		} else {
			s.o.Log.Info("volume of the speaker", "name", s.o.Name, "percent", s.o.Volume, "mixer", levels)
		}
	}
	p, err := newPlayer(d, sound)
	if err == nil {
		err = d.Prepare()
	}
	if err == nil {
		err = p.play(ctx)
	}
	if err == nil {
		err = d.finish(ctx)
	}
	if ctx.Err() != nil {
		_ = d.Stop() // at once; the device is closed in any case
		return context.Cause(ctx)
	}
	if err != nil {
		return problem(speaker, s.o.Name, err)
	}
	return nil
}

// player makes of a sound what the device takes, as it is played.
type player struct {
	*device
	sound     pcm.Sound
	resampler *pcm.Resampler
	at        int // values of sound done
	values    []int16
	data      []byte // to be written
}

func newPlayer(d *device, sound pcm.Sound) (*player, error) {
	if d.channels == 1 {
		sound = sound.Mono()
	}
	r, err := pcm.NewResampler(sound.RateHz, d.rateHz, sound.Channels)
	return &player{device: d, sound: sound, resampler: r}, err
}

// fill makes the next period ready; the last one ends with silence. It reports whether there was one.
func (p *player) fill() bool {
	whole := p.period * p.sound.Channels
	for len(p.values) < whole && p.at < len(p.sound.Values) {
		n := min(len(p.sound.Values)-p.at, p.sound.RateHz/50*p.sound.Channels)
		p.values = p.resampler.Push(p.values, p.sound.Values[p.at:p.at+n])
		if p.at += n; p.at == len(p.sound.Values) {
			p.values = p.resampler.Flush(p.values)
		}
	}
	n := min(whole, len(p.values))
	p.data = p.data[:0]
	frame := make([]int16, p.channels)
	for i := 0; i < n; i += p.sound.Channels {
		for c := range frame {
			frame[c] = p.values[i+c%p.sound.Channels]
		}
		p.data = p.layout.Encode(p.data, frame)
	}
	p.values = append(p.values[:0], p.values[n:]...)
	if n > 0 {
		p.data = append(p.data, make([]byte, p.period*p.frameBytes()-len(p.data))...)
	}
	return n > 0
}

// play hands over all of the sound, at the device's pace.
func (p *player) play(ctx context.Context) error {
	for idle := 0; ctx.Err() == nil && (len(p.data) > 0 || p.fill()); {
		ready, err := p.Wait(waitMillis)
		n := 0
		if ready && err == nil {
			n, err = p.Write(p.data)
		}
		p.data = p.data[n*p.frameBytes():]
		if idle++; n > 0 {
			idle = 0
		}
		switch _, broken := xrun(err); {
		case broken:
			if err := p.Prepare(); err != nil {
				return err
			}
		case err != nil && !again(err):
			return err
		case idle > int(silentAfter/(waitMillis*time.Millisecond)):
			return errSilent
		}
	}
	return nil
}

// finish waits until what was written has been played. The device does not block, so DRAIN only begins it.
func (d *device) finish(ctx context.Context) error {
	if _, broken := xrun(d.Drain()); broken {
		return nil // it had already played all
	}
	limit := time.NewTimer(playPeriods*periodTime + silentAfter)
	defer limit.Stop()
	look := time.NewTicker(periodTime / 2)
	defer look.Stop()
	for {
		switch d.State() {
		case alsalib.SNDRV_PCM_STATE_DRAINING, alsalib.SNDRV_PCM_STATE_RUNNING:
		case alsalib.SNDRV_PCM_STATE_DISCONNECTED:
			return unix.ENODEV
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			return errSilent
		case <-look.C:
		}
	}
}

var _ drivers.Speaker = (*Speaker)(nil)
