package recovery_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record"
	"minglu/agent/record/recovery"
	"minglu/drivers"
)

// rig is one session recorded by the real recorder and the real ledger over a layer that keeps a
// journal, so that every state a power cut may have left can be laid out.
type rig struct {
	t       *testing.T
	w       *world // whose key and certificate
	rule    string
	root    string // holds state/, a/, b/
	ids     map[string]string
	changes []durabletest.Change
	zero    time.Time // wall time of media time 0
	closed  time.Time // when the session was asked to end
	ahead   int64     // µs
	preroll time.Duration
	rare    bool
	frags   []evidence.Fragment
	names   map[string]string // file of channel/segment

	states string // where states are laid out
	laid   *atomic.Int64
}

// variant says how a rig records.
type variant struct {
	rule   string
	disks  []string
	change func(*record.Options)
	fails  string        // this disk gives EIO from the given time on
	after  time.Duration // since the opening

	rare    bool          // only in random order, not before each change
	preroll time.Duration // of this much all is there when the session opens, and no break follows
}

var variants = []variant{
	{rule: "two disks", disks: []string{"a", "b"}},
	{rule: "two disks, one barrier", disks: []string{"a", "b"}, change: oneBarrier},
	{rule: "one disk", disks: []string{"a"}, rare: true},
	{rule: "one disk, one barrier", disks: []string{"a"}, change: oneBarrier},
	{rule: "two disks, a pre-roll", disks: []string{"a", "b"}, rare: true, preroll: 2300 * time.Millisecond},
	{rule: "two disks, a pre-roll, one barrier", disks: []string{"a", "b"}, preroll: 2300 * time.Millisecond, change: oneBarrier},
	{rule: "a disk fails halfway", disks: []string{"a", "b"}, rare: true, fails: "b", after: 900 * time.Millisecond},
	{rule: "a disk fails halfway, one barrier", disks: []string{"a", "b"}, fails: "a", after: 1900 * time.Millisecond, change: oneBarrier},
}

func oneBarrier(o *record.Options) { o.OneBarrier = true }

// quick is the real file system without waiting for any sync: what a cut leaves is simulated here.
type quick struct{ durable.OS }

type quickHandle struct{ durable.Handle }

func (quickHandle) Sync() error     { return nil }
func (quickHandle) Datasync() error { return nil }
func (quick) SyncDir(string) error  { return nil }
func (q quick) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	h, err := q.OS.OpenFile(name, flag, perm)
	return quickHandle{h}, err
}

// signingLedger hands each new line to the disks' copies, as main does.
type signingLedger struct {
	*ledger.Ledger
	mu  sync.Mutex
	rec atomic.Pointer[record.Recorder]
}

func (l *signingLedger) line(add func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.Bytes()
	if err := add(); err != nil {
		return err
	}
	b, err := l.BytesFrom(from)
	if rec := l.rec.Load(); rec != nil && err == nil {
		err = rec.LedgerAppend(l.Generation(), from, b)
	}
	return err
}

func (l *signingLedger) Head(session, log string, size int64, root evidence.Hash) error {
	return l.line(func() error { return l.Ledger.Head(session, log, size, root) })
}

func (l *signingLedger) Sealed(session, m, p string) error {
	return l.line(func() error { return l.Ledger.Sealed(session, m, p) })
}

// record records about three seconds with a break, of a camera with sound and a microphone.
func (w *world) record(t *testing.T, v variant) *rig {
	r := &rig{t: t, w: w, rule: v.rule, preroll: v.preroll, rare: v.rare, root: t.TempDir(), names: map[string]string{}, ids: map[string]string{}}
	synctest.Test(t, func(t *testing.T) { r.run(t, v) })
	return r
}

func (r *rig) run(t *testing.T, v variant) {
	var disks []string
	must(t, os.Mkdir(filepath.Join(r.root, "state"), 0o755))
	for _, d := range v.disks {
		disks = append(disks, filepath.Join(r.root, d))
		must(t, os.Mkdir(filepath.Join(r.root, d), 0o755))
	}
	var opened atomic.Int64 // wall time in µs
	l := &durabletest.Layer{Journal: true}
	l.Before = func(op durabletest.Op) error {
		// Disks take time, each call a little other than the last, so that they get out of step.
		time.Sleep(time.Duration(200+int64(op.Len)%7*150) * time.Microsecond)
		at := opened.Load()
		if v.fails != "" && at > 0 && time.Now().UnixMicro() > at+v.after.Microseconds() && op.Verb != "read" &&
			bytes.HasPrefix([]byte(op.Name), []byte(filepath.Join(r.root, v.fails))) {
			return fs.ErrInvalid
		}
		return nil
	}
	epoch := time.Now().Add(-time.Hour)
	now := func() clock.Reading {
		return clock.Reading{T: time.Now().UTC(), Error: time.Millisecond, Source: "chrony", Up: time.Since(epoch), Epoch: 1}
	}
	lg, _, err := ledger.Open(ledger.Options{State: filepath.Join(r.root, "state"), Device: r.w.device, Signer: r.w.signer, Now: now, Boot: "boot-1", Layer: l, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	led := &signingLedger{Ledger: lg}
	o := record.Options{Disks: disks, Now: now, Ledger: led, Layer: l, Segment: time.Second, Floor: 1 << 20, HeadEvery: time.Second, Retry: time.Hour,
		Log: slog.New(slog.DiscardHandler), LedgerSync: func(disk string) error { _, err := lg.Copy(disk).Sync(); return err }}
	if v.change != nil {
		v.change(&o)
	}
	rec, err := record.New(o)
	must(t, err)
	led.rec.Store(rec)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { rec.Run(ctx); close(done) }()
	<-rec.Ready()
	for _, d := range rec.Disks() {
		r.ids[filepath.Base(d.Disk)] = d.ID
	}

	r.zero = time.Now().Add(-v.preroll)
	origin := lg.Origin() + "/" + session
	log := ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: r.w.signer, Now: now})
	s, err := rec.Open(record.Opening{Session: session, Log: log, Zero: now().Up - v.preroll, Trigger: now().Up, Channels: []string{"face", "voice"},
		Open: evidence.Open{Origin: origin, Boot: "boot-1", Trigger: "button", Device: evidence.Device{ID: r.w.device, Name: "room-3", SW: "1"}, SW: "1",
			Config: hexSum(nil), Ledger: lg.Ref()},
		Lines: []any{evidence.Details{Case: "2026-17"}}, Certs: []*x509.Certificate{r.w.cert}, Key: r.w.key})
	must(t, err)
	opened.Store(time.Now().UnixMicro())
	r.ahead = (2*record.DefaultCycle + 500*time.Millisecond).Microseconds()
	r.play(s, now().Up-v.preroll, v.preroll > 0, now)
	r.closed = time.Now()
	s.Close("button")
	<-s.Done()
	stop()
	<-done
	must(t, lg.Close())
	r.changes = l.Changes()
	r.readLog(t, v)
}

// play writes what sources deliver, with the delay of a network, and breaks in between.
func (r *rig) play(s *record.Session, zero time.Duration, whole bool, now func() clock.Reading) {
	sps, _ := hex.DecodeString("6764000cac3b50b04b420000030002000003003d08")
	face := []*drivers.Format{{Codec: drivers.H264, ClockHz: 90000, SPS: sps, PPS: []byte{0x68, 0xee, 0x3c, 0x80}},
		{Codec: drivers.Opus, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}}
	voice := []*drivers.Format{{Codec: drivers.Opus, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}}
	s.Describe("face", drivers.Description{Formats: face, Identity: "test"})
	s.Describe("voice", drivers.Description{Formats: voice, Identity: "test"})
	type item struct {
		ch string
		drivers.Sample
	}
	var all []item
	const length, delay = 2900 * time.Millisecond, 60 * time.Millisecond
	add := func(ch string, track int, f *drivers.Format, step time.Duration, size int) {
		for k := range int(length / step) {
			at := time.Duration(k) * step
			data := bytes.Repeat([]byte{byte(k), byte(track), 0xA5, byte(size)}, size/4)
			copy(data, []byte{0, 0, 0, byte(size - 4), 0x65})
			dts := int64(at) * int64(f.ClockHz) / int64(time.Second)
			m := drivers.Sample{Track: track, Format: f, PTS: dts, DTS: dts, Keyframe: !f.Codec.Video() || k%8 == 0, Data: data, At: zero + at, Run: 1}
			if !f.Codec.Video() {
				m.Duration = int64(step) * int64(f.ClockHz) / int64(time.Second)
			}
			all = append(all, item{ch, m})
		}
	}
	add("face", 0, face[0], 50*time.Millisecond, 120)
	add("face", 1, face[1], 20*time.Millisecond, 20)
	add("voice", 0, voice[0], 20*time.Millisecond, 24)
	slices.SortStableFunc(all, func(a, b item) int { return cmp.Compare(a.At, b.At) })
	paused := 0
	if whole {
		paused = 2
	}
	for _, i := range all {
		if d := i.At + delay - now().Up; d > 0 {
			time.Sleep(d)
		}
		switch at := i.At - zero; {
		case paused == 0 && at >= 1300*time.Millisecond:
			s.Pause("rest", "officer")
			paused++
		case paused == 1 && at >= 1700*time.Millisecond:
			s.Resume("rest", "officer")
			s.Note(evidence.Mark{At: s.Media(now().Up), Text: "说到钥匙"})
			paused++
		}
		s.Write(i.ch, i.Sample)
	}
}

// readLog takes the table of fragments from the finished log of the disk that has it.
func (r *rig) readLog(t *testing.T, v variant) {
	for _, d := range v.disks {
		if d == v.fails {
			continue
		}
		b, err := os.ReadFile(filepath.Join(r.root, d, "sessions", session, "log.jsonl"))
		must(t, err)
		for line := range bytes.Lines(b) {
			l, err := evidence.ParseLine(bytes.TrimSuffix(line, []byte("\n")))
			must(t, err)
			var f evidence.Fragment
			var s evidence.SegmentOpen
			switch l.Type {
			case "fragment":
				must(t, l.Decode(&f))
				r.frags = append(r.frags, f)
			case "segment.open":
				must(t, l.Decode(&s))
				r.names[fmt.Sprint(s.Ch, s.Seg)] = s.File
			}
		}
		return
	}
}

// replay begins a new pass through the journal.
func (r *rig) replay() *durabletest.Replay {
	p, err := durabletest.NewReplay()
	must(r.t, err)
	p.Take(r.changes)
	return p
}

// lay lays out what a cut leaves of all folders.
func (r *rig) lay(p *durabletest.Replay, from string, fate durabletest.Fate) string {
	to := filepath.Join(r.states, fmt.Sprint(r.laid.Add(1)))
	must(r.t, p.Cut(from, to, fate))
	must(r.t, os.MkdirAll(filepath.Join(to, "state"), 0o755))
	return to
}

// states makes a folder in memory where there is one: disks here are many, small and short-lived.
func states(t testing.TB) string {
	root := ""
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		root = "/dev/shm"
	}
	dir, err := os.MkdirTemp(root, "recovery")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// disksIn are the disks found in a laid-out state, as main would find them.
func disksIn(root string, names ...string) (out []recovery.Disk) {
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(root, n, "ledger", "disk.json")); err == nil {
			out = append(out, recovery.Disk{ID: n, Dir: filepath.Join(root, n)})
		}
	}
	return out
}

// start is one start of the agent on the disks named: ledger first, then its copies, then recovery.
func (r *rig) start(layer durable.Layer, root, boot string, at time.Time, names ...string) (recovery.Report, error) {
	now := func() clock.Reading {
		return clock.Reading{T: at.Add(20 * time.Second).UTC(), Error: time.Millisecond, Source: "chrony", Up: 8 * time.Second, Epoch: 1}
	}
	lg, _, err := ledger.Open(ledger.Options{State: filepath.Join(root, "state"), Device: r.w.device, Signer: r.w.signer, Now: now, Boot: boot, Layer: layer, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return recovery.Report{}, err
	}
	defer lg.Close()
	disks := disksIn(root, names...)
	for _, d := range disks {
		if _, err := lg.Copy(d.Dir).Sync(); err != nil {
			return recovery.Report{}, err
		}
	}
	rep, err := recovery.Run(context.Background(), recovery.Options{Disks: disks, Ledger: lg, Device: r.w.device, Key: r.w.key, Certs: []*x509.Certificate{r.w.cert},
		NewLog: func(o string) recovery.Log {
			return ledger.NewSessionLog(ledger.LogOptions{Origin: o, Signer: r.w.signer, Now: now})
		}, Now: now, BootID: boot, Layer: layer})
	for _, d := range disks {
		if _, serr := lg.Copy(d.Dir).Sync(); serr != nil {
			return rep, serr
		}
	}
	return rep, err
}

// places are the disks and the state of a laid-out state, for the verifier.
func places(root string, names ...string) (out []evidence.Place) {
	for _, d := range disksIn(root, names...) {
		out = append(out, evidence.Place{Path: d.Dir, FS: os.DirFS(d.Dir)})
	}
	state := filepath.Join(root, "state")
	return append(out, evidence.Place{Path: state, FS: os.DirFS(state)})
}
