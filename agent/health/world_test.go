package health

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/clock"
	"minglu/agent/standard"
	"minglu/drivers"
)

// reel is the keyframes of a clip, one a second, by what they show.
type reel struct {
	format *drivers.Format
	usual  [][]byte
	odd    map[string][][]byte // "black", "covered", "frozen"
}

// studio keeps what was shot, for all tests.
var studio struct {
	sync.Mutex
	decoder *memoryDecoder
	reel    *reel
}

// shoot renders and decodes, once, all that a camera of a world can show.
func shoot(t *testing.T) (*reel, *memoryDecoder) {
	t.Helper()
	studio.Lock()
	defer studio.Unlock()
	if studio.reel == nil {
		studio.decoder = &memoryDecoder{pictures: map[string][]byte{}}
		studio.reel = film(t, studio.decoder)
	}
	return studio.reel, studio.decoder
}

func film(t *testing.T, d *memoryDecoder) *reel {
	t.Helper()
	r := &reel{odd: map[string][][]byte{}}
	keys := func(source string, seconds int) (out [][]byte) {
		samples := filmed(t, source, seconds, x264)
		d.learn(t, samples)
		r.format = samples[0].Format
		for _, s := range samples {
			if s.Keyframe {
				out = append(out, s.Data)
			}
		}
		return out
	}
	r.usual = keys(room, 30)
	r.odd["black"] = keys(room+",drawbox=c=black:t=fill", 5)
	r.odd["covered"] = keys("color=c=0x403028:s=640x360:r=5,noise=alls=3:allf=t", 5)
	r.odd["frozen"] = keys(room+",loop=loop=-1:size=1:start=4", 60)[5:50]
	return r
}

// world is a room under a fast clock: cameras face and wide, microphone voice. Use it inside a
// synctest bubble.
type world struct {
	t     *testing.T
	h     *Health
	boot  time.Time
	wrong time.Duration // of the wall clock
	reel  *reel
	after func() // changes the world after it has lived
	sys   string
	stop  func()
	frame int // seconds of the running call of run

	mu      sync.Mutex // guards what follows
	facts   Facts
	err     time.Duration // error of the clock
	floor   bool
	events  []event
	standen map[string]bool
	shows   map[string]string // channel -> what it shows, "" usual
	silent  map[string]bool   // channels that deliver nothing
	changes int               // reports in which more than values changed
	fps     int
	ntp     time.Duration // of the cameras against the true time
}

type event struct {
	at   time.Duration
	what string // "+picture.black face"
}

func (w *world) up() time.Duration { return time.Hour + time.Since(w.boot) }

func (w *world) now() clock.Reading {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := clock.Reading{T: time.Now().Add(w.wrong).UTC(), Error: w.err, Source: "chrony", Up: w.up(), Epoch: 1, BeforeFloor: w.floor}
	if w.floor {
		r.Error = -1
	}
	return r
}

func ptr[T any](v T) *T { return &v }

// begin starts a world in which all is well and a session records.
func begin(t *testing.T, r *reel, d Decoder) *world { return beginWith(t, r, d, nil) }

// beginWith keeps what is learnt.
func beginWith(t *testing.T, r *reel, d Decoder, kept Bases) *world {
	t.Helper()
	w := &world{t: t, boot: time.Now(), reel: r, err: 5 * time.Millisecond, fps: 25, shows: map[string]string{}, silent: map[string]bool{}, standen: map[string]bool{}, sys: t.TempDir()}
	put(t, w.sys, "class/thermal/thermal_zone0/temp", "48000\n")
	put(t, w.sys, "class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
	disks := []Disk{{"A", t.TempDir()}, {"B", t.TempDir()}}
	w.facts = Facts{
		Recording: true,
		Channels:  []ChannelFact{{ID: "face", Connected: true}, {ID: "wide", Connected: true}, {ID: "voice", Connected: true, SourceHz: 48000, Level: Level{Known: true, RMS: -30}}},
		Disks:     []DiskFact{{"A", true, 1 << 40}, {"B", true, 1 << 40}},
		Session: &SessionFact{Began: w.up(), GapTotal: map[string]time.Duration{"face": 0, "wide": 0, "voice": 0}, NoticeAfter: ptr(8 * second),
			TriggerToRecord: ptr(500 * time.Millisecond), LampLag: ptr(20 * time.Millisecond)},
		HasThermometer: true, Climate: &ClimateFact{Celsius: 23.5, Humidity: ptr(45.0)},
		LastPrecheck: ptr(true), LongestRun: ptr(9 * time.Hour), ResumeAfter: ptr(12 * second), LastVerified: ptr(3 * time.Hour), CertDaysLeft: ptr(300.0),
		Uplink: UplinkFact{Configured: true},
	}
	h, err := New(Options{
		Channels: []Channel{{"face", true}, {"wide", true}, {"voice", false}}, Disks: disks, Now: w.now, Decoder: d, Sys: w.sys,
		Facts: w.snapshot, Fault: w.fault, Report: w.reported, Bases: kept,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.h = h
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) })
	w.stop = func() { cancel(); wg.Wait() }
	opus := &drivers.Format{Codec: drivers.Opus, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}
	for _, ch := range []string{"face", "wide"} {
		h.Describe(ch, drivers.Description{Formats: []*drivers.Format{r.format}})
	}
	h.Describe("voice", drivers.Description{Formats: []*drivers.Format{opus}})
	return w
}

func put(t *testing.T, dir, name, data string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w *world) snapshot() Facts {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.facts
	f.Channels = slices.Clone(f.Channels)
	if f.Session != nil {
		s := *f.Session
		f.Session = &s
	}
	if f.Climate != nil && f.Climate.At == 0 {
		c := *f.Climate
		c.At = w.up()
		f.Climate = &c
	}
	f.Uplink.LastAck = w.up()
	return f
}

func (w *world) reported(r Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.VerdictsChanged || r.FaultsChanged {
		w.changes++
	}
}

func (w *world) fault(code, ch string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sign := "-"
	if on {
		sign = "+"
	}
	w.events = append(w.events, event{w.up(), strings.TrimSpace(sign + code + " " + ch)})
}

// set changes the world.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// run lets the room live for n seconds: 25 pictures, 50 packets of sound, one sender report each.
func (w *world) run(n int) {
	filler, packet := make([]byte, 10000), make([]byte, 80)
	w.frame = 0 // what begins to freeze, begins at its first picture
	for range n {
		w.frame++
		k := int64(w.up() / second)
		w.set(func() {
			for i, id := range []string{"face", "wide", "voice"} {
				w.facts.Channels[i].SampleAge += second
				if !w.silent[id] {
					w.facts.Channels[i].SampleAge = 0
				}
			}
		})
		for i := range int64(w.fps) {
			dts := k*90000 + i*90000/int64(w.fps)
			for _, ch := range []string{"face", "wide"} {
				if w.silent[ch] {
					continue
				}
				s := drivers.Sample{Format: w.reel.format, DTS: dts, PTS: dts, Run: 1, Arrival: w.up(), At: w.up(), Data: filler}
				if i == 0 {
					keys := w.reel.usual
					if odd := w.shows[ch]; odd != "" {
						keys = w.reel.odd[odd]
					}
					s.Keyframe, s.Data = true, keys[w.frame%len(keys)]
					w.h.SenderReport(ch, drivers.SenderReport{NTP: time.Now().Add(w.ntp), PTS: dts, Arrival: w.up()})
				}
				w.h.Sample(ch, s)
			}
			if !w.silent["voice"] {
				for j := range int64(2) {
					p := k*48000 + (i*2+j)*960
					w.h.Sample("voice", drivers.Sample{DTS: p, PTS: p, Duration: 960, Run: 1, Arrival: w.up(), Keyframe: true, Data: packet})
				}
			}
			time.Sleep(second / time.Duration(w.fps))
		}
		synctest.Wait()
	}
}

func (w *world) happened() []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.events
	w.events = nil
	return e
}

// verdict finds one verdict of the newest report.
func (w *world) verdict(item, subject string) standard.Verdict {
	for _, v := range w.h.Latest().Verdicts {
		if v.Item == item && v.Subject == subject {
			return v
		}
	}
	w.t.Fatalf("no verdict %s %s", item, subject)
	return standard.Verdict{}
}

func (e event) String() string { return fmt.Sprintf("%v %s", e.at, e.what) }
