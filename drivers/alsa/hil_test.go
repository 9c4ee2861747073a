//go:build hil

package alsa

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	alsalib "github.com/gen2brain/alsa"
	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/pcm"
)

// boottime is the uptime as the agent counts it.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// descriptors are how many this process has open, those of Go's poller included from the start.
func descriptors(t *testing.T) int {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	f, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(f)
}

// recorded is a drivers.Sink.
type recorded struct {
	mu      sync.Mutex
	desc    []drivers.Description
	samples []drivers.Sample
	lost    []int
	causes  []string
	more    chan struct{}
}

func newRecorded() *recorded { return &recorded{more: make(chan struct{}, 1)} }

func (r *recorded) Open(d drivers.Description) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.desc = append(r.desc, d)
}

func (r *recorded) Sample(s drivers.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *recorded) SenderReport(drivers.SenderReport) {}

func (r *recorded) Lost(_, n int, cause string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost, r.causes = append(r.lost, n), append(r.causes, cause)
}

func (r *recorded) frames() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.samples {
		n += s.Duration
	}
	return n
}

// wait waits until so many frames have come.
func (r *recorded) wait(t *testing.T, frames int64) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for r.frames() < frames {
		select {
		case <-r.more:
		case <-limit:
			t.Fatalf("%d frames of %d", r.frames(), frames)
		}
	}
}

// channel is what channel c heard, from the n-th frame on.
func (r *recorded) channel(c, from int) (v []float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.samples {
		for i := c; i < len(s.Data)/2; i += s.Format.Channels {
			v = append(v, float64(int16(binary.LittleEndian.Uint16(s.Data[2*i:]))))
		}
	}
	return v[min(from, len(v)):]
}

// tone is the amplitude of a frequency (Goertzel).
func tone(x []float64, hz, rateHz float64) float64 {
	re, im := 0.0, 0.0
	n := int(float64(int(float64(len(x))*hz/rateHz)) * rateHz / hz)
	for i := range n {
		re += x[i] * math.Cos(2*math.Pi*hz*float64(i)/rateHz)
		im += x[i] * math.Sin(2*math.Pi*hz*float64(i)/rateHz)
	}
	return 2 * math.Hypot(re, im) / float64(max(n, 1))
}

// run starts a microphone; stop ends it and says how long that took.
func run(t *testing.T, m *Microphone, r *recorded) (stop func() time.Duration) {
	t.Helper()
	cause := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		err := m.Run(ctx, r)
		if ctx.Err() == nil {
			t.Errorf("Run() = %v", err)
		}
		done <- err
	}()
	return func() time.Duration {
		t.Helper()
		began := time.Now()
		cancel(cause)
		select {
		case err := <-done:
			if !errors.Is(err, cause) {
				t.Errorf("Run() = %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Run does not end")
		}
		return time.Since(began)
	}
}

// play plays values of one channel after the other on the loop, in a layout of the kernel, until the test ends. They
// may repeat themselves every 20 ms.
func play(t *testing.T, cfg alsalib.Config, repeats bool, value func(frame int64, channel int) int16) {
	t.Helper()
	card, _, err := find("/", "hw:CARD=Loopback")
	if err != nil {
		t.Fatal(err)
	}
	cfg.PeriodSize, cfg.PeriodCount, cfg.StartThreshold = cfg.Rate/50, 50, cfg.Rate/10 // a second, for the board is slow
	p, err := alsalib.PcmOpen(card, 0, alsalib.PCM_OUT, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	layout := map[alsalib.PcmFormat]pcm.Layout{alsalib.SNDRV_PCM_FORMAT_S16_LE: pcm.S16, alsalib.SNDRV_PCM_FORMAT_S32_LE: pcm.S32, alsalib.SNDRV_PCM_FORMAT_S24_LE: pcm.S24, alsalib.SNDRV_PCM_FORMAT_S24_3LE: pcm.S24x3}[cfg.Format]
	at := int64(0)
	same := []byte(nil)
	write := func() error {
		if same != nil {
			_, err := p.Write(same)
			return err
		}
		var values []int16
		for range cfg.PeriodSize {
			for c := range cfg.Channels {
				values = append(values, value(at, int(c)))
			}
			at++
		}
		b := layout.Encode(nil, values)
		if repeats {
			same = b // the board is slow
		}
		_, err := p.Write(b)
		return err
	}
	if err := write(); err != nil { // from now on the other end of the loop must have the same layout
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := write(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestHILLayouts records what the loop plays, in the layouts, rates and numbers of channels cards have.
func TestHILLayouts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		format   alsalib.PcmFormat
		rate, ch uint32
		seats    [][]int
		hz       int // of the recording
	}{
		{"S16 mono", alsalib.SNDRV_PCM_FORMAT_S16_LE, 48000, 1, [][]int{{1}}, 48000},
		{"S32, 8 channels, two seats", alsalib.SNDRV_PCM_FORMAT_S32_LE, 48000, 8, [][]int{{3}, {8, 1}}, 48000},
		{"S24 in three bytes", alsalib.SNDRV_PCM_FORMAT_S24_3LE, 48000, 2, [][]int{{1, 2}}, 48000},
		{"S24 in four bytes", alsalib.SNDRV_PCM_FORMAT_S24_LE, 16000, 2, [][]int{{2}}, 16000},
		{"44.1 kHz", alsalib.SNDRV_PCM_FORMAT_S16_LE, 44100, 2, [][]int{{1, 2}}, 48000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := descriptors(t)
			t.Cleanup(func() {
				if now := descriptors(t); now > before {
					t.Errorf("%d descriptors, %d before", now, before)
				}
			})
			tones := func(c int) float64 { return 500 + 250*float64(c) }
			play(t, alsalib.Config{Rate: tt.rate, Channels: tt.ch, Format: tt.format}, true, func(frame int64, c int) int16 {
				return int16(16000 * math.Sin(2*math.Pi*tones(c)*float64(frame)/float64(tt.rate)))
			})
			card, err := NewCard(CardOptions{Name: "hw:CARD=Loopback,DEV=1", Uptime: boottime})
			if err != nil {
				t.Fatal(err)
			}
			var all []*recorded
			var stops []func() time.Duration
			for _, seat := range tt.seats {
				m, err := card.Microphone(Seat{Channels: seat})
				if err != nil {
					t.Fatal(err)
				}
				r := newRecorded()
				all, stops = append(all, r), append(stops, run(t, m, r))
			}
			began := boottime()
			for _, r := range all {
				r.wait(t, int64(tt.hz))
			}
			for _, stop := range stops {
				if took := stop(); took > 500*time.Millisecond {
					t.Errorf("Run took %v to end", took)
				}
			}
			for i, r := range all {
				f := r.desc[0].Formats[0]
				if f.Codec != drivers.PCM || f.SampleRateHz != tt.hz || f.ClockHz != tt.hz || f.Channels != len(tt.seats[i]) {
					t.Errorf("format %+v", f)
				}
				for k, c := range tt.seats[i] {
					if a := tone(r.channel(k, tt.hz/2), tones(c-1), float64(tt.hz)); math.Abs(a-16000) > 500 {
						t.Errorf("seat %v: the tone of channel %d has amplitude %.0f, want 16000", tt.seats[i], c, a)
					}
				}
				for j, s := range r.samples[1:] {
					if last := r.samples[j]; s.PTS != last.PTS+last.Duration || s.Arrival < last.Arrival || s.Arrival > boottime() {
						t.Fatalf("sample %d: PTS %d at %v after %d+%d at %v", j+1, s.PTS, s.Arrival, last.PTS, last.Duration, last.Arrival)
					}
				}
				last := r.samples[len(r.samples)-1]
				// The loop's clock is the kernel's: PTS passes as time does.
				if passed, by := last.Arrival-r.samples[0].Arrival, time.Duration(last.PTS-r.samples[0].PTS)*time.Second/time.Duration(tt.hz); (passed - by).Abs() > 30*time.Millisecond {
					t.Errorf("%v of sound were heard in %v", by, passed)
				}
				if len(r.lost) > 0 || r.samples[0].Arrival < began-50*time.Millisecond {
					t.Errorf("lost %v; the first block of %v was heard before the start at %v", r.lost, r.samples[0].Arrival, began)
				}
			}
		})
	}
}

// TestHILOverrun reads too late: the loss is as long as it was, and the stream goes on.
func TestHILOverrun(t *testing.T) {
	// Each frame says which one it is, in steps of 2 (a loop of 1.36 s at 48 kHz).
	play(t, alsalib.Config{Rate: 48000, Channels: 1, Format: alsalib.SNDRV_PCM_FORMAT_S16_LE}, false, func(frame int64, _ int) int16 { return int16(frame % 65536) })
	card, number, err := find("/", "hw:CARD=Loopback,DEV=1")
	if err != nil {
		t.Fatal(err)
	}
	d, err := openDevice(card, number, wish{rateHz: 48000, channels: 1, periods: 4}) // 80 ms
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := errors.Join(d.Prepare(), d.Start()); err != nil {
		t.Fatal(err)
	}
	var blocks []block
	c := capturing{device: d, uptime: boottime, buf: make([]byte, d.period*d.frameBytes()), deliver: func(b block, _ int64) { blocks = append(blocks, b) }}
	c.last = boottime()
	take := func(n int) block {
		for want := len(blocks) + n; len(blocks) < want; {
			if err := c.step(); err != nil {
				t.Fatal(err)
			}
		}
		return blocks[len(blocks)-1]
	}
	take(20) // the player has begun by then
	for range 3 {
		before := take(10)
		time.Sleep(400 * time.Millisecond)
		var after block
		for after = take(1); after.lost == 0; after = take(1) { // what was in the buffer may come first
			before = after
		}
		end, begin := before.at+int64(len(before.values)), after.at
		true_ := int64(uint16(after.values[0]-before.values[len(before.values)-1])) - 1
		if off := begin - end - true_; after.lost != begin-end || off > 960 || off < -960 {
			t.Errorf("lost %d, frames %d to %d; the frames themselves say %d", after.lost, end, begin, true_)
		}
		if after.cause != CauseOverrun || after.lost < 48000/4 || (after.heard-before.heard-c.lasts(after.lost+int64(len(after.values)))).Abs() > 25*time.Millisecond {
			t.Errorf("%q: %d frames, heard %v after %v", after.cause, after.lost, after.heard, before.heard)
		}
	}
	// An overrun that a read comes upon is told too: left to itself, the library starts the stream again and says nothing.
	take(1)
	time.Sleep(400 * time.Millisecond)
	if n, err := d.Read(c.buf); n != 0 || !errors.Is(err, unix.EPIPE) {
		t.Errorf("Read() after an overrun = %d, %v; want EPIPE", n, err)
	}
}

// TestHILAnnouncement plays an announcement: it is heard in the room, and so recorded.
func TestHILAnnouncement(t *testing.T) {
	before := descriptors(t)
	s, err := NewSpeaker(SpeakerOptions{Name: "hw:CARD=Loopback,DEV=0"})
	if err != nil {
		t.Fatal(err)
	}
	card, err := NewCard(CardOptions{Name: "hw:CARD=Loopback,DEV=1", Uptime: boottime})
	if err != nil {
		t.Fatal(err)
	}
	m, err := card.Microphone(Seat{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRecorded()
	stop := run(t, m, r)
	r.wait(t, 4800)
	second := beep(16000, 1, time.Second)
	began := time.Now()
	if err := s.Play(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 950*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("a second was played in %v", took)
	}
	r.wait(t, r.frames()+9600)
	heard := r.channel(0, 0)
	loud := 0
	for i := 0; i+480 <= len(heard); i += 480 { // windows of 10 ms
		if a := tone(heard[i:i+480], 1000, 48000); a > 6000 {
			loud++
		}
	}
	if loud < 95 || loud > 102 {
		t.Errorf("of a second's beep %d ms were recorded", loud*10)
	}

	// A stop ends it at once, in the middle of the sound, and the next one plays.
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("asked to stop")
	long := beep(48000, 2, 10*time.Second)
	time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
	began = time.Now()
	if err := s.Play(ctx, long); !errors.Is(err, cause) || time.Since(began) > time.Second {
		t.Errorf("Play() = %v after %v", err, time.Since(began))
	}
	var both sync.WaitGroup
	short := beep(44100, 1, 300*time.Millisecond)
	began = time.Now()
	for range 2 {
		both.Go(func() {
			if err := s.Play(t.Context(), short); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("two announcements at once: over after %v", took)
	}
	stop()
	if now := descriptors(t); now > before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}

// beep is a WAV file of 1 kHz.
func beep(rateHz, channels int, length time.Duration) []byte {
	n := int(int64(length) * int64(rateHz) / int64(time.Second))
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(rateHz))
	b = append(b, 0, 0, 0, 0, 0, 0, 16, 0)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(2*n*channels))
	for i := range n {
		for range channels {
			b = binary.LittleEndian.AppendUint16(b, uint16(int16(12000*math.Sin(2*math.Pi*1000*float64(i)/float64(rateHz)))))
		}
	}
	return b
}

// TestHILConformance tests the loop's two ends as any microphone and speaker.
func TestHILConformance(t *testing.T) {
	card, err := NewCard(CardOptions{Name: "hw:CARD=Loopback,DEV=1", Uptime: boottime})
	if err != nil {
		t.Fatal(err)
	}
	m, err := card.Microphone(Seat{})
	if err != nil {
		t.Fatal(err)
	}
	driverstest.Microphone(t, driverstest.MicrophoneOptions{Microphone: m, Uptime: boottime})
	s, err := NewSpeaker(SpeakerOptions{Name: "hw:CARD=Loopback,DEV=0"})
	if err != nil {
		t.Fatal(err)
	}
	driverstest.Speaker(t, driverstest.SpeakerOptions{Speaker: s})
}

// TestHILGain sets the mixer and reads it back.
func TestHILGain(t *testing.T) {
	card, err := NewCard(CardOptions{Name: "hw:CARD=Dummy", Uptime: boottime, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, gain := range []int{20, 90} {
		m, err := card.Microphone(Seat{Control: "Mic Volume", Gain: gain, Channels: []int{1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		r := newRecorded()
		stop := run(t, m, r)
		r.wait(t, 4800)
		stop()
		levels, err := m.Level()
		if err != nil || len(levels) != 1 || levels[0].Control != "Mic Volume" || len(levels[0].Percent) != 2 {
			t.Fatalf("%+v, %v", levels, err)
		}
		for _, p := range levels[0].Percent {
			if p < gain-1 || p > gain+1 {
				t.Errorf("gain %d reads back as %d", gain, p)
			}
		}
	}
	m, err := card.Microphone(Seat{Gain: 50}) // no such control: recording goes on all the same
	if err != nil {
		t.Fatal(err)
	}
	r := newRecorded()
	stop := run(t, m, r)
	r.wait(t, 4800)
	stop()
	if _, err := m.Level(); !errors.Is(err, ErrNoControl) {
		t.Errorf("Level() = %v", err)
	}
}

// TestHILList finds the cards that are there.
func TestHILList(t *testing.T) {
	all, err := List()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hw:CARD=Loopback,DEV=0", "hw:CARD=Loopback,DEV=1", "hw:CARD=Dummy,DEV=0"} {
		i := slices.IndexFunc(all, func(d Device) bool { return d.Name == want })
		if i < 0 || !all[i].Capture || !all[i].Play || all[i].Card == "" {
			t.Errorf("%s is not in %+v", want, all)
		}
	}
}

// TestHILFaults: what is wrong is told in words.
func TestHILFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		seat Seat
		code string
	}{
		{"hw:CARD=Nowhere", Seat{}, "not-found"}, {"usb:1-9.9", Seat{}, "not-found"}, {"/dev/snd/by-id/usb-none-00", Seat{}, "not-found"}, {"hw:31,0", Seat{}, "not-found"},
		{"hw:CARD=Dummy,DEV=7", Seat{}, "not-found"}, {"hw:CARD=Dummy", Seat{Channels: []int{31}}, "codec"},
	} {
		card, err := NewCard(CardOptions{Name: tt.name, Uptime: boottime})
		if err != nil {
			t.Fatal(err)
		}
		m, err := card.Microphone(tt.seat)
		if err != nil {
			t.Fatal(err)
		}
		var p *drivers.Problem
		if err := m.Run(t.Context(), newRecorded()); !errors.As(err, &p) || p.Code != tt.code || p.Zh == "" || p.En == "" {
			t.Errorf("%s: Run() = %v, want problem %q", tt.name, err, tt.code)
		}
	}
	s, err := NewSpeaker(SpeakerOptions{Name: "hw:CARD=Nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	var p *drivers.Problem
	if err := s.Play(t.Context(), beep(16000, 1, time.Second)); !errors.As(err, &p) || p.Code != "not-found" {
		t.Errorf("Play() = %v", err)
	}
}
