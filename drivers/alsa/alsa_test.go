package alsa

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	alsalib "github.com/gen2brain/alsa"
	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/pcm"
)

// fake is a card in synthetic time, as the kernel has them: it fills (or empties) a buffer at its rate while it
// runs, and stops when that is full (or empty).
type fake struct {
	mu     sync.Mutex
	play   bool
	rate   int
	buffer int // frames

	state   alsalib.PcmState
	began   time.Time     // of the running under way
	taken   int           // frames since then
	heard   []int16       // what was played
	fault   error         // of the next Wait
	stall   time.Duration // the next Wait comes so late
	dead    bool          // runs, but without a clock
	closed  int
	starts  int
	dropped bool
}

func (f *fake) device(rate, channels int) *device {
	f.rate = rate
	return &device{f, rate, channels, pcm.S16, rate / 50}
}

// passed is how many frames the clock has made since the start.
func (f *fake) passed() int {
	if f.state != alsalib.SNDRV_PCM_STATE_RUNNING && f.state != alsalib.SNDRV_PCM_STATE_DRAINING || f.dead {
		return 0
	}
	return int(time.Since(f.began) * time.Duration(f.rate) / time.Second)
}

func (f *fake) avail() int {
	if f.play {
		return f.buffer - (f.taken - f.passed())
	}
	return f.passed() - f.taken
}

func (f *fake) Wait(ms int) (bool, error) {
	f.mu.Lock()
	stall := f.stall
	f.stall = 0
	f.mu.Unlock()
	time.Sleep(stall)
	for range ms {
		f.mu.Lock()
		if err := f.fault; err != nil {
			f.fault = nil
			f.mu.Unlock()
			return false, err
		}
		if f.state == alsalib.SNDRV_PCM_STATE_RUNNING && f.avail() > f.buffer {
			f.state = alsalib.SNDRV_PCM_STATE_XRUN
			f.mu.Unlock()
			return false, fmt.Errorf("stream xrun: %w", unix.EPIPE)
		}
		ready := f.avail() >= f.rate/50
		f.mu.Unlock()
		if ready {
			return true, nil
		}
		time.Sleep(time.Millisecond)
	}
	return false, nil
}

// Read gives the number of each frame since the start, in each channel.
func (f *fake) Read(data any) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := data.([]byte)
	size := len(b) / (f.rate / 50)
	n := 0
	for ; n*size < len(b) && f.avail() > 0; n++ {
		for c := 0; c < size; c += 2 {
			b[n*size+c], b[n*size+c+1] = byte(f.taken), byte(f.taken>>8)&0x3F|byte(c/2)<<6
		}
		f.taken++
	}
	if n*size < len(b) {
		return n, unix.EAGAIN
	}
	return n, nil
}

func (f *fake) Write(data any) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := data.([]byte)
	n := min(len(b)/2, f.avail())
	f.heard = pcm.S16.Decode(f.heard, b[:2*n])
	f.taken += n
	if f.state == alsalib.SNDRV_PCM_STATE_PREPARED && f.taken >= f.buffer/2 {
		f.state, f.began = alsalib.SNDRV_PCM_STATE_RUNNING, time.Now()
	}
	if n < len(b)/2 {
		return n, unix.EAGAIN
	}
	return n, nil
}

func (f *fake) Prepare() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.taken = alsalib.SNDRV_PCM_STATE_PREPARED, 0
	return nil
}

func (f *fake) Start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.began = alsalib.SNDRV_PCM_STATE_RUNNING, time.Now()
	f.starts++
	return nil
}

func (f *fake) Stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.dropped = alsalib.SNDRV_PCM_STATE_SETUP, true
	return nil
}

func (f *fake) Drain() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == alsalib.SNDRV_PCM_STATE_PREPARED {
		f.began = time.Now()
	}
	f.state = alsalib.SNDRV_PCM_STATE_DRAINING
	return unix.EAGAIN
}

func (f *fake) State() alsalib.PcmState {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == alsalib.SNDRV_PCM_STATE_DRAINING && f.passed() >= f.taken {
		f.state = alsalib.SNDRV_PCM_STATE_SETUP
	}
	return f.state
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fake) moment() (moment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.avail() > f.buffer {
		f.state = alsalib.SNDRV_PCM_STATE_XRUN
	}
	return moment{running: f.state == alsalib.SNDRV_PCM_STATE_RUNNING, delay: f.avail(), started: time.Since(f.began)}, nil
}

func (f *fake) hold(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stall = d
}

func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = err
}

// sink is a drivers.Sink; hold makes it slow.
type sink struct {
	mu      sync.Mutex
	format  *drivers.Format
	samples []drivers.Sample
	lost    int
	causes  []string
	hold    time.Duration
}

func (s *sink) Open(d drivers.Description)        { s.format = d.Formats[0] }
func (s *sink) SenderReport(drivers.SenderReport) {}
func (s *sink) Lost(_, n int, cause string)       { s.lost, s.causes = s.lost+n, append(s.causes, cause) }
func (s *sink) Sample(x drivers.Sample) {
	s.mu.Lock()
	hold := s.hold
	s.hold = 0
	s.samples = append(s.samples, x)
	s.mu.Unlock()
	time.Sleep(hold)
}

// frames are how many came, and how far they reach.
func (s *sink) frames() (n, end int64) {
	for _, x := range s.samples {
		n += x.Duration
		end = x.PTS + x.Duration
	}
	return n, end
}

type room struct {
	card  *Card
	fakes []*fake // in the order they were opened
}

// newRoom is a card of fakes with a buffer of 400 ms, at a rate whatever was asked for. Call in a synctest bubble.
func newRoom(t *testing.T, rate int, opened func(*fake) error) *room {
	t.Helper()
	began := time.Now()
	c, err := NewCard(CardOptions{Name: "hw:CARD=Fake", Uptime: func() time.Duration { return time.Minute + time.Since(began) }})
	if err != nil {
		t.Fatal(err)
	}
	r := &room{card: c}
	c.open = func(_ string, w wish) (*device, uint, error) {
		f := &fake{buffer: rate * 2 / 5}
		if opened != nil {
			if err := opened(f); err != nil {
				return nil, 0, err
			}
		}
		r.fakes = append(r.fakes, f)
		return f.device(rate, w.channels), 99, nil
	}
	return r
}

func (r *room) microphone(t *testing.T, channels ...int) *Microphone {
	t.Helper()
	m, err := r.card.Microphone(Seat{Channels: channels})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// record runs a microphone for a while.
func record(m *Microphone, d time.Duration, s *sink) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return m.Run(ctx, s)
}

// TestTwoSeats: seats share a card, each has its own channels, and the last one to leave closes it.
func TestTwoSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 48000, nil)
		a, b := r.microphone(t, 2), r.microphone(t, 1, 3)
		var wg sync.WaitGroup
		var sa, sb sink
		wg.Go(func() { _ = record(a, time.Second, &sa) })
		wg.Go(func() { _ = record(b, 2*time.Second, &sb) })
		time.Sleep(1500 * time.Millisecond)
		if len(r.fakes) != 1 || r.fakes[0].closed != 0 {
			t.Errorf("%d opened, closed while one microphone runs", len(r.fakes))
		}
		wg.Wait()
		if r.fakes[0].closed != 1 {
			t.Errorf("closed %d times", r.fakes[0].closed)
		}
		if n, end := sa.frames(); n < 46000 || n > 48000 || end != n || sa.format.Channels != 1 || sa.samples[0].Data[1]>>6 != 1 {
			t.Errorf("channel 2: %d frames up to %d, %+v", n, end, sa.format)
		}
		if n, end := sb.frames(); n < 94000 || end != n || sb.format.Channels != 2 || sb.samples[0].Data[1]>>6 != 0 || sb.samples[0].Data[3]>>6 != 2 {
			t.Errorf("channels 1 and 3: %d frames up to %d, %+v", n, end, sb.format)
		}
		for _, x := range sb.samples { // by the card's clock: each block was heard when it ended
			if want := time.Minute + time.Duration(x.PTS+x.Duration)*time.Second/48000; (x.Arrival - want).Abs() > 2*time.Millisecond {
				t.Fatalf("frames up to %d were heard at %v, want %v", x.PTS+x.Duration, x.Arrival, want)
			}
		}
		if err := record(a, time.Second, &sink{}); !errors.Is(err, context.DeadlineExceeded) || len(r.fakes) != 2 {
			t.Errorf("again: %v, %d opened", err, len(r.fakes))
		}
	})
}

// TestOverrun: nobody reads for a while. The card is prepared and started again, and the loss is as long as it was.
func TestOverrun(t *testing.T) {
	for _, rate := range []int{48000, 44100, 16000} {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, rate, nil)
			m := r.microphone(t)
			var s sink
			go func() {
				time.Sleep(time.Second)
				r.fakes[0].hold(time.Second)
				time.Sleep(2 * time.Second)
				r.fakes[0].hold(300 * time.Millisecond)
				r.fakes[0].fail(fmt.Errorf("asleep: %w", unix.ESTRPIPE))
			}()
			if err := record(m, 5*time.Second, &s); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			hz := int64(s.format.SampleRateHz)
			n, end := s.frames()
			if want := 5 * hz; end < want-hz/20 || end > want || end-n-int64(s.lost) > hz/200 || n+int64(s.lost)-end > hz/200 {
				t.Errorf("%d Hz: after five seconds %d frames up to %d, %d lost", rate, n, end, s.lost)
			}
			if len(s.causes) != 2 || s.causes[0] != CauseOverrun || s.causes[1] != CauseSuspended || int64(s.lost) < hz || r.fakes[0].starts != 3 {
				t.Errorf("%d Hz: causes %q, %d lost, %d starts", rate, s.causes, s.lost, r.fakes[0].starts)
			}
			for i, x := range s.samples[1:] {
				if last := s.samples[i]; x.PTS < last.PTS+last.Duration || x.Arrival < last.Arrival {
					t.Fatalf("frame %d at %v after %d at %v", x.PTS, x.Arrival, last.PTS, last.Arrival)
				}
			}
		})
	}
}

// TestRateIsTheCards: a card that has another rate than was asked for is taken at its word, or the sound would run
// away from the picture.
func TestRateIsTheCards(t *testing.T) {
	for rate, want := range map[int]int{48000: 48000, 44100: 48000, 96000: 48000, 16000: 16000, 8000: 8000, 32000: 48000} {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, rate, nil)
			var s sink
			if err := record(r.microphone(t), 10*time.Second, &s); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if n, end := s.frames(); s.format.SampleRateHz != want || s.format.ClockHz != want || n != end || n < int64(want)*99/10 || n > int64(want)*10 {
				t.Errorf("%d Hz: %d frames up to %d in 10 s of %+v", rate, n, end, s.format)
			}
		})
	}
}

// TestDead: a card whose clock stands still delivers nothing. That is no silence: it is a fault.
func TestDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 48000, func(f *fake) error { f.dead = true; return nil })
		began := time.Now()
		err := record(r.microphone(t), time.Minute, &sink{})
		var p *drivers.Problem
		if !errors.As(err, &p) || p.Code != "no-frames" || time.Since(began) > 3*time.Second || r.fakes[0].closed != 1 {
			t.Errorf("Run() = %v after %v", err, time.Since(began))
		}
	})
}

// TestUnplugged: both seats hear of it in words; the next Run finds the card anew.
func TestUnplugged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone error
		r := newRoom(t, 48000, func(*fake) error { return gone })
		a, b := r.microphone(t, 1), r.microphone(t, 2)
		errs := make(chan error, 2)
		for _, m := range []*Microphone{a, b} {
			go func() { errs <- record(m, time.Hour, &sink{}) }()
		}
		time.Sleep(time.Second)
		gone = fmt.Errorf("open: %w", os.ErrNotExist)
		r.fakes[0].fail(fmt.Errorf("device disconnected: %w", unix.ENODEV))
		for range 2 {
			var p *drivers.Problem
			if err := <-errs; !errors.As(err, &p) || p.Code != "gone" {
				t.Errorf("Run() = %v", err)
			}
		}
		var p *drivers.Problem
		if err := record(a, time.Hour, &sink{}); !errors.As(err, &p) || p.Code != "not-found" {
			t.Errorf("while it is out: %v", err)
		}
		gone = nil
		var s sink
		if err := record(b, time.Second, &s); !errors.Is(err, context.DeadlineExceeded) || len(s.samples) == 0 {
			t.Errorf("plugged in again: %v, %d samples", err, len(s.samples))
		}
		for i, f := range r.fakes {
			if f.closed != 1 {
				t.Errorf("device %d closed %d times", i, f.closed)
			}
		}
	})
}

// TestSlowSink: a sink that holds up its caller loses sound of its own seat only, and is told how much.
func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 48000, nil)
		a, b := r.microphone(t, 1), r.microphone(t, 1)
		slow, quick := sink{hold: 3 * time.Second}, sink{}
		var wg sync.WaitGroup
		wg.Go(func() { _ = record(a, 6*time.Second, &slow) })
		wg.Go(func() { _ = record(b, 6*time.Second, &quick) })
		wg.Wait()
		if n, end := slow.frames(); n+int64(slow.lost) != end || slow.lost < 48000 || slow.causes[0] != CauseSlow || end < 280000 {
			t.Errorf("slow: %d frames up to %d, %d lost: %q", n, end, slow.lost, slow.causes)
		}
		if n, end := quick.frames(); n != end || quick.lost > 0 || n < 280000 {
			t.Errorf("quick: %d frames up to %d, %d lost", n, end, quick.lost)
		}
	})
}

func TestStopWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 48000, func(*fake) error { time.Sleep(10 * time.Second); return nil })
		began := time.Now()
		if err := record(r.microphone(t), time.Second, &sink{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second || r.fakes[0].closed != 1 {
			t.Errorf("Run() = %v after %v", err, time.Since(began))
		}
	})
}

func newSpeaker(t *testing.T, f *fake, rate int) *Speaker {
	t.Helper()
	s, err := NewSpeaker(SpeakerOptions{Name: "hw:CARD=Fake"})
	if err != nil {
		t.Fatal(err)
	}
	s.open = func(string, wish) (*device, uint, error) {
		f.play, f.buffer = true, rate*4/25
		return f.device(rate, 1), 99, nil
	}
	return s
}

// file is a WAV file of n frames of one value, mono, 16 kHz.
func file(n int, v int16) []byte {
	b := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\x3e\x00\x00\x00\x7d\x00\x00\x02\x00\x10\x00data")
	b = append(b, byte(2*n), byte(2*n>>8), byte(2*n>>16), 0)
	for range n {
		b = append(b, byte(v), byte(v>>8))
	}
	return b
}

// TestPlay: it returns when the last frame has been played, not when it was written; after an underrun it goes on.
func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fake
		s := newSpeaker(t, &f, 48000)
		for _, frames := range []int{16000, 100} { // the second is shorter than what starts the card
			f = fake{}
			began := time.Now()
			if err := s.Play(t.Context(), file(frames, 1000)); err != nil {
				t.Fatal(err)
			}
			length := time.Duration(frames) * time.Second / 16000
			if took := time.Since(began); took < length || took > length+60*time.Millisecond || f.closed != 1 {
				t.Errorf("%v were played in %v, closed %d", length, took, f.closed)
			}
			loud := 0
			for _, v := range f.heard {
				if v > 900 {
					loud++
				}
			}
			if loud < 3*frames-60 || loud > 3*frames {
				t.Errorf("of %d frames at 48 kHz %d were played", 3*frames, loud)
			}
		}
		f = fake{}
		time.AfterFunc(300*time.Millisecond, func() { f.fail(fmt.Errorf("stream xrun: %w", unix.EPIPE)) })
		if err := s.Play(t.Context(), file(16000, 1000)); err != nil || len(f.heard) < 48000 {
			t.Errorf("with an underrun: %v, %d frames", err, len(f.heard))
		}
	})
}

func TestPlayStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fake
		s := newSpeaker(t, &f, 48000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := s.Play(ctx, file(5*16000, 1000))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 1200*time.Millisecond || !f.dropped || f.closed != 1 {
			t.Errorf("Play() = %v after %v, dropped %v", err, time.Since(began), f.dropped)
		}
		f = fake{}
		time.AfterFunc(100*time.Millisecond, func() { f.fail(fmt.Errorf("unplugged: %w", unix.ENODEV)) })
		var p *drivers.Problem
		if err := s.Play(t.Context(), file(16000, 1)); !errors.As(err, &p) || p.Code != "gone" {
			t.Errorf("unplugged: %v", err)
		}
		f = fake{dead: true}
		if err := s.Play(t.Context(), file(16000, 1)); !errors.As(err, &p) || p.Code != "no-frames" {
			t.Errorf("a card whose clock stands still: %v", err)
		}
		if err := s.Play(t.Context(), []byte("no sound")); err == nil || errors.As(err, &p) && p.Code == "gone" {
			t.Errorf("no WAV: %v", err)
		}
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]place{
		"hw:0,0": {}, "hw:2": {number: 2}, "hw:2,1": {number: 2, device: 1}, "hw:CARD=PCH,DEV=0": {id: "PCH"}, "hw:CARD=Mic_1": {id: "Mic_1"}, "plughw:CARD=U0x46d0x825,DEV=2": {id: "U0x46d0x825", device: 2},
		"hw:PCH,1": {id: "PCH", device: 1}, "sysdefault:CARD=Device": {id: "Device"}, "usb:1-1.4": {usb: "1-1.4"}, "usb:3-2,1": {usb: "3-2", device: 1},
		"/dev/snd/by-path/platform-fd500000.pcie-usb-0:1.4:1.0": {link: "by-path/platform-fd500000.pcie-usb-0:1.4:1.0"}, "/dev/snd/by-id/usb-X-00,1": {link: "by-id/usb-X-00", device: 1},
	} {
		if got, err := parseName(name); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "default", "dsnoop:0", "hw:", "hw:CARD=", "hw:0,x", "hw:CARD=../../etc", "hw:999", "usb:", "usb:x", "usb:11", "usb:1-1,999", "/dev/snd/by-path/../../etc", "/dev/snd/controlC0", "hw:CARD=0123456789abcdefgh", "pulse"} {
		if err := CheckName(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// tree is what the kernel and udev show of a card of the board and two USB microphones of one make.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/asound/cards": " 0 [vc4hdmi        ]: vc4-hdmi - vc4-hdmi\n                      vc4-hdmi\n 1 [Mic            ]: USB-Audio - USB Microphone\n" +
			"                      Maker USB Microphone at usb-1.4, full speed\n 2 [Mic_1          ]: USB-Audio - USB Microphone\n                      Maker USB Microphone at usb-1.3, full speed\n",
		"proc/asound/card0/pcm0p/info": "", "proc/asound/card1/pcm0c/info": "", "proc/asound/card1/pcm0p/info": "", "proc/asound/card2/pcm0c/info": "", "proc/asound/card2/pcm1c/info": "",
		"sys/devices/platform/hdmi/x": "", "sys/devices/usb1/1-1/1-1.4/1-1.4:1.0/x": "", "sys/devices/usb1/1-1/1-1.3/1-1.3:1.0/x": "",
		"sys/class/sound/card0/id": "vc4hdmi\n", "sys/class/sound/card1/id": "Mic\n", "sys/class/sound/card2/id": "Mic_1\n", "dev/snd/by-path/x": "", "dev/snd/by-id/x": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"proc/asound/vc4hdmi": "card0", "proc/asound/Mic": "card1", "proc/asound/Mic_1": "card2", "sys/class/sound/card0/device": "../../../devices/platform/hdmi",
		"sys/class/sound/card1/device": "../../../devices/usb1/1-1/1-1.4/1-1.4:1.0", "sys/class/sound/card2/device": "../../../devices/usb1/1-1/1-1.3/1-1.3:1.0",
		"dev/snd/by-path/platform-usb-0:1.3:1.0": "../controlC2", "dev/snd/by-id/usb-Maker-00": "../controlC1",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFind(t *testing.T) {
	root := tree(t)
	for name, want := range map[string]uint{"hw:CARD=Mic_1": 2, "hw:CARD=vc4hdmi": 0, "hw:1,0": 1, "usb:1-1.4": 1, "usb:1-1.3,1": 2, "/dev/snd/by-path/platform-usb-0:1.3:1.0": 2, "/dev/snd/by-id/usb-Maker-00,0": 1} {
		if card, _, err := find(root, name); err != nil || card != want {
			t.Errorf("%q: card %d, %v; want %d", name, card, err, want)
		}
	}
	for _, gone := range []string{"hw:CARD=Mic_2", "hw:7", "usb:1-1", "usb:1-1.2", "/dev/snd/by-id/usb-Other-00"} {
		if card, _, err := find(root, gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: card %d, %v", gone, card, err)
		}
	}
	all, err := list(root)
	want := []Device{
		{Name: "hw:CARD=Mic,DEV=0", USB: "usb:1-1.4,0", Card: "USB Microphone", Capture: true, Play: true},
		{Name: "hw:CARD=Mic_1,DEV=0", USB: "usb:1-1.3,0", Card: "USB Microphone", Capture: true},
		{Name: "hw:CARD=Mic_1,DEV=1", USB: "usb:1-1.3,1", Card: "USB Microphone", Capture: true},
		{Name: "hw:CARD=vc4hdmi,DEV=0", Card: "vc4-hdmi", Play: true},
	}
	if err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("list: %+v, %v", all, err)
	}
}

func TestOptions(t *testing.T) {
	uptime := func() time.Duration { return 0 }
	for i, o := range []CardOptions{{Name: "default", Uptime: uptime}, {Name: "hw:0"}, {Name: "hw:0", Uptime: uptime, RateHz: 4000}} {
		if _, err := NewCard(o); err == nil {
			t.Errorf("card options %d were accepted", i)
		}
	}
	c, err := NewCard(CardOptions{Name: "hw:0", Uptime: uptime})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Seat{{Channels: []int{0}}, {Channels: []int{1, 2, 3}}, {Channels: []int{99}}, {Gain: 101}, {Gain: -1}} {
		if _, err := c.Microphone(s); err == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
	for i, o := range []SpeakerOptions{{Name: "pulse"}, {Name: "hw:0", Volume: 101}} {
		if _, err := NewSpeaker(o); err == nil {
			t.Errorf("speaker options %d were accepted", i)
		}
	}
}

// TestStruct: the kernel's structures have the sizes the kernel gives its requests.
func TestStruct(t *testing.T) {
	size := func(request uintptr) uintptr { return request >> 16 & 0x3FFF }
	if got, want := reflect.TypeFor[pcmStatus]().Size(), size(alsalib.SNDRV_PCM_IOCTL_STATUS); got != want {
		t.Errorf("struct snd_pcm_status has %d bytes, want %d", got, want)
	}
	if got, want := reflect.TypeFor[elemValue]().Size(), uintptr(200+128*reflect.TypeFor[int]().Size()); got != want {
		t.Errorf("struct snd_ctl_elem_value has %d bytes, want %d", got, want)
	}
}

func TestConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 48000, nil)
		driverstest.Microphone(t, driverstest.MicrophoneOptions{Microphone: r.microphone(t, 1, 2), Uptime: r.card.o.Uptime})
		s := newSpeaker(t, &fake{}, 48000)
		open := s.open
		s.open = func(name string, w wish) (*device, uint, error) {
			d, card, err := open(name, w)
			f := d.stream.(*fake)
			*f = fake{play: true, buffer: f.buffer, rate: f.rate}
			return d, card, err
		}
		driverstest.Speaker(t, driverstest.SpeakerOptions{Speaker: s})
	})
}
