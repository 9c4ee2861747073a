package recovery_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"go.uber.org/goleak"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/fmp4"
	"minglu/agent/ledger"
	"minglu/agent/record/recovery"
)

const (
	session = "20260301T080000Z-0a0b0c0d"
	reserve = 512
	cycleUS = 500_000
	aheadMS = 1500
)

// start is the wall time of media time 0, which is 10 s after boot.
var start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// What main hands over satisfies what recovery asks for.
var (
	_ recovery.Ledger = (*ledger.Ledger)(nil)
	_ recovery.Log    = (*ledger.SessionLog)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a device: its key, its ledger, its session as it would be on a disk, batch by batch.
type world struct {
	testing.TB
	key    *ecdsa.PrivateKey
	signer *evidence.Signer
	device string
	cert   *x509.Certificate
	led    *fakeLedger
	boot   string        // of the recovering start
	now    clock.Reading // of the recovering start
	clock  clock.Reading // of the session being written

	log      *ledger.SessionLog
	batches  []batch
	chans    []*chanState
	channels []string        // that should deliver; nil: the log does not say
	late     bool            // segments are not closed when the next one opens
	silent   map[string]bool // channels that deliver nothing
}

// batch is what one sign line covers.
type batch struct {
	media map[string][]byte // appended to these files
	log   []byte
	index map[string][]byte // written over the reserve afterwards
}

type chanState struct {
	id     string
	tracks []fmp4.Track
	init   []byte
	seg    int64
	n      int64
	off    int64
	time   []uint64
	file   []byte
	entry  []fmp4.IndexEntry
}

func (c *chanState) name() string { return fmt.Sprintf("%s-%05d.mp4", c.id, c.seg) }

// fakeLedger is a ledger in memory.
type fakeLedger struct {
	log  *ledger.SessionLog
	data []byte
}

func (l *fakeLedger) Origin() string                      { return l.log.Origin() }
func (l *fakeLedger) BytesFrom(off int64) ([]byte, error) { return slices.Clone(l.data[off:]), nil }
func (l *fakeLedger) append(v any) error {
	if _, _, err := l.log.Append(v); err != nil {
		return err
	}
	_, _, err := l.log.Sign()
	l.data = append(l.data, l.log.Take()...)
	return err
}
func (l *fakeLedger) Head(session, log string, size int64, root evidence.Hash) error {
	return l.append(evidence.Head{Session: session, Log: log, Size: size, Root: root.String()})
}
func (l *fakeLedger) Sealed(session, m, p string) error {
	return l.append(evidence.Sealed{Session: session, Manifest: m, P7S: p})
}
func (l *fakeLedger) Amend(session string, n int64, sha256 string) error {
	return l.append(evidence.AmendRef{Session: session, N: n, SHA256: sha256})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, boot: "boot-2"}
	var err error
	w.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	w.signer, err = evidence.NewSigner(w.key)
	must(t, err)
	w.device = evidence.DeviceID(w.signer.SPKI())
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "room-3"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, URIs: []*url.URL{{Scheme: "minglu", Opaque: w.device}}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &w.key.PublicKey, w.key)
	must(t, err)
	w.cert, err = x509.ParseCertificate(der)
	must(t, err)
	w.clock = clock.Reading{T: start, Error: time.Millisecond, Source: "chrony", Up: 10 * time.Second}
	w.now = clock.Reading{T: start.Add(time.Minute), Error: time.Millisecond, Source: "chrony", Up: 20 * time.Second}
	w.led = &fakeLedger{log: w.newLog(evidence.LedgerOrigin(w.device, "0123456789abcdef"), func() clock.Reading { return w.clock }).(*ledger.SessionLog)}
	must(t, w.led.append(evidence.Generation{}))
	w.openSession()
	return w
}

// newLog makes logs whose bytes depend on nothing but their content.
func (w *world) newLog(origin string, now func() clock.Reading) recovery.Log {
	return ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: w.signer, Now: now, Salt: func() [16]byte { return [16]byte{1} }})
}

func (w *world) add(v any) {
	w.Helper()
	_, _, err := w.log.Append(v)
	must(w, err)
}

func (w *world) openSession() {
	origin := w.led.Origin() + "/" + session
	w.log = w.newLog(origin, func() clock.Reading { return w.clock }).(*ledger.SessionLog)
	pem := evidence.MarshalCertsPEM(w.cert)
	w.add(evidence.Open{V: 1, Session: session, Origin: origin, Boot: "boot-1", Device: evidence.Device{ID: w.device, Name: "room-3", SW: "1"},
		Trigger: "button", SW: "1", Config: hexSum(nil), Cert: hexSum(pem), Ledger: evidence.LedgerRef{Origin: w.led.Origin(), Size: 1, Root: evidence.Hash{}.String()},
		Disks: []string{"a", "b"}, Channels: w.channels, CycleMS: 500, AheadMS: aheadMS, Src: "chrony"})
	w.add(evidence.Clock{Epoch: 1, Src: "chrony"})
	w.add(evidence.Details{Case: "2026-17", Officers: []evidence.Officer{{Name: "张三", Credential: "1"}}})
	sps, err := hex.DecodeString("6764000cac3b50b04b420000030002000003003d08")
	must(w, err)
	w.chans = []*chanState{
		{id: "face", tracks: []fmp4.Track{
			{ID: 1, Timescale: 90000, Codec: fmp4.H264, SPS: sps, PPS: []byte{0x68, 0xee, 0x3c, 0x80}},
			{ID: 2, Timescale: 48000, Codec: fmp4.Opus, SampleRate: 48000, Channels: 1}}},
		{id: "voice", tracks: []fmp4.Track{{ID: 1, Timescale: 48000, Codec: fmp4.Opus, SampleRate: 48000, Channels: 1}}},
	}
	for _, c := range w.chans {
		var err error
		c.init, err = fmp4.Init(c.tracks)
		must(w, err)
		info, err := fmp4.ParseInit(c.init)
		must(w, err)
		c.tracks, c.time = info.Tracks, make([]uint64, len(c.tracks))
	}
}

func hexSum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// cycle writes one batch: a fragment of half a second on each channel. roll begins new segments first.
func (w *world) cycle(roll bool, lines ...any) {
	w.Helper()
	b := batch{media: map[string][]byte{}, index: map[string][]byte{}}
	w.clock.T, w.clock.Up = w.clock.T.Add(cycleUS*time.Microsecond), w.clock.Up+cycleUS*time.Microsecond
	for _, c := range w.chans {
		if roll && c.seg > 0 && !w.late {
			w.closeSegment(c, &b)
		}
		if roll || c.seg == 0 {
			w.openSegment(c, &b)
		}
	}
	for _, c := range w.chans {
		if w.silent[c.id] {
			for i, t := range c.tracks {
				c.time[i] += uint64(t.Timescale) * cycleUS / 1_000_000
			}
			continue
		}
		w.fragment(c, &b)
	}
	for _, l := range lines {
		w.add(l)
	}
	w.sign(b)
}

func (w *world) sign(b batch) {
	_, _, err := w.log.Sign()
	must(w, err)
	b.log = w.log.Take()
	w.batches = append(w.batches, b)
}

func (w *world) openSegment(c *chanState, b *batch) {
	c.seg, c.off, c.entry = c.seg+1, int64(len(c.init)+reserve), nil
	c.file = slices.Concat(c.init, fmp4.Reserve(reserve))
	b.media[c.name()] = slices.Clone(c.file)
	codec := []string{}
	for _, t := range c.tracks {
		codec = append(codec, t.CodecString())
	}
	w.add(evidence.SegmentOpen{Ch: c.id, Seg: c.seg, File: c.name(), Init: hexSum(c.init), InitLen: int64(len(c.init)), Reserve: reserve,
		Timescale: int64(c.tracks[0].Timescale), Codec: codec, Camera: "test"})
}

func (w *world) closeSegment(c *chanState, b *batch) {
	index, err := fmp4.Index(c.tracks[0], c.entry, reserve)
	must(w, err)
	copy(c.file[len(c.init):], index)
	h := sm3.Sum(c.file)
	w.add(evidence.SegmentClose{Ch: c.id, Seg: c.seg, Size: int64(len(c.file)), SHA256: hexSum(c.file), SM3: hex.EncodeToString(h[:]), Index: hexSum(index)})
	b.index[c.name()] = slices.Clone(index)
}

// makeFragment is the next half second of a channel: five pictures and 25 packets of sound.
func (w *world) makeFragment(c *chanState) (data []byte, head int, runs []fmp4.Run) {
	var err error
	for i, t := range c.tracks {
		n, dur, size := 25, uint32(960), 20
		if t.Codec.Video() {
			n, dur, size = 5, 9000, 60
		}
		r := fmp4.Run{Track: t.ID, Time: c.time[i]}
		for k := range n {
			d := bytes.Repeat([]byte{byte(c.n), byte(k), 0xA5, byte(i)}, size/4)
			copy(d, []byte{0, 0, 0, byte(size - 4), 0x65}) // one NAL unit
			r.Samples = append(r.Samples, fmp4.Sample{Duration: dur, Sync: !t.Codec.Video() || k == 0, Data: d})
		}
		runs = append(runs, r)
	}
	data, head, err = fmp4.AppendFragment(nil, uint32(c.n+1), runs)
	must(w, err)
	return data, head, runs
}

func (w *world) fragment(c *chanState, b *batch) {
	data, head, runs := w.makeFragment(c)
	from := fmp4.MediaTime(c.time[0], 0, c.tracks[0].Timescale)
	var samples []int64
	for i, r := range runs {
		c.time[i] += r.Duration()
		samples = append(samples, int64(len(r.Samples)))
	}
	w.add(evidence.Fragment{Common: evidence.Common{Type: "fragment"}, Ch: c.id, Seg: c.seg, N: c.n, Off: c.off, Len: int64(len(data)), Head: hexSum(data[:head]), Body: hexSum(data[head:]),
		From: from, To: fmp4.MediaTime(c.time[0], 0, c.tracks[0].Timescale), Samples: samples})
	c.entry = append(c.entry, fmp4.EntryOf(runs, c.tracks, int64(len(data))))
	c.n, c.off = c.n+1, c.off+int64(len(data))
	c.file = append(c.file, data...)
	b.media[c.name()] = append(b.media[c.name()], data...)
}

// end closes and seals the log, as its own batch.
func (w *world) end() {
	b := batch{media: map[string][]byte{}, index: map[string][]byte{}}
	count := map[string]int64{}
	for _, c := range w.chans {
		w.closeSegment(c, &b)
		count[c.id] = c.n
	}
	w.add(evidence.Close{At: int64(len(w.batches)) * cycleUS, Reason: "button", Fragments: count})
	w.add(evidence.Seal{})
	w.sign(b)
}

// disk makes a disk that holds the first n batches.
func (w *world) disk(id string, n int) recovery.Disk {
	w.Helper()
	d := recovery.Disk{ID: id, Dir: states(w)}
	dir := folder(d)
	must(w, os.MkdirAll(dir, 0o755))
	must(w, os.WriteFile(filepath.Join(dir, "device.pem"), evidence.MarshalCertsPEM(w.cert), 0o644))
	for _, b := range w.batches[:n] {
		for name, m := range b.media {
			extend(w, d, name, m)
		}
		extend(w, d, "log.jsonl", b.log)
		for name, x := range b.index {
			w.overwrite(d, name, w.initLen(name), x)
		}
	}
	return d
}

func (w *world) initLen(name string) int64 {
	i := slices.IndexFunc(w.chans, func(c *chanState) bool { return strings.HasPrefix(name, c.id+"-") })
	return int64(len(w.chans[i].init))
}

func folder(d recovery.Disk) string { return filepath.Join(d.Dir, "sessions", session) }

func extend(t testing.TB, d recovery.Disk, name string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(folder(d), name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	must(t, err)
	_, err = f.Write(b)
	must(t, err)
	must(t, f.Close())
}

func (w *world) overwrite(d recovery.Disk, name string, off int64, b []byte) {
	w.Helper()
	f, err := os.OpenFile(filepath.Join(folder(d), name), os.O_WRONLY, 0o644)
	must(w, err)
	_, err = f.WriteAt(b, off)
	must(w, err)
	must(w, f.Close())
}

func (w *world) options(layer durable.Layer, disks ...recovery.Disk) recovery.Options {
	now := func() clock.Reading { return w.now }
	return recovery.Options{Disks: disks, Ledger: w.led, NewLog: func(o string) recovery.Log { return w.newLog(o, now) }, Device: w.device,
		Key: w.key, Certs: []*x509.Certificate{w.cert}, Now: now, BootID: w.boot, Layer: layer}
}

// recover runs a recovery of the one session and returns its item.
func (w *world) recover(disks ...recovery.Disk) recovery.Item {
	w.Helper()
	rep, err := recovery.Run(context.Background(), w.options(fastLayer(w), disks...))
	must(w, err)
	if len(rep.Items) != 1 {
		w.Fatalf("Run() = %+v, want one session", rep)
	}
	return rep.Items[0]
}

// signed checks that the first n batches are on the disk, byte for byte.
func (w *world) signed(d recovery.Disk, n int) {
	w.Helper()
	want := map[string][]byte{}
	for _, b := range w.batches[:n] {
		want["log.jsonl"] = append(want["log.jsonl"], b.log...)
		for name, m := range b.media {
			want[name] = append(want[name], m...)
		}
	}
	for name, b := range want {
		got, err := os.ReadFile(filepath.Join(folder(d), name))
		if err != nil {
			w.Errorf("disk %s: signed bytes lost: %v", d.ID, err)
			continue
		}
		if name != "log.jsonl" && len(got) >= len(b) { // the index may stand in the reserve
			at := int(w.initLen(name))
			copy(got[at:at+reserve], b[at:at+reserve])
		}
		if !bytes.HasPrefix(got, b) {
			w.Errorf("disk %s: %s: signed bytes lost", d.ID, name)
		}
	}
}

// verify judges the session on one disk.
func (w *world) verify(d recovery.Disk) evidence.Result {
	return evidence.Verify(os.DirFS(folder(d)), evidence.VerifyOptions{Path: folder(d)})
}

// run runs a recovery that may find nothing to do.
func (w *world) run(disks ...recovery.Disk) recovery.Report {
	w.Helper()
	rep, err := recovery.Run(context.Background(), w.options(fastLayer(w), disks...))
	must(w, err)
	for _, it := range rep.Items {
		if it.Err != nil {
			w.Errorf("item %+v", it)
		}
	}
	return rep
}

// cut runs a recovery that the layer ends; done if it did not.
func (w *world) cut(l *cutLayer, disks ...recovery.Disk) (done bool) {
	o := w.options(l, disks...)
	o.Ledger = cutLedger{w.led, l}
	end := make(chan bool)
	go func() {
		defer close(end)
		rep, err := recovery.Run(context.Background(), o)
		if err != nil || len(rep.Items) > 1 || len(rep.Items) == 1 && rep.Items[0].Err != nil {
			w.Errorf("Run() = %+v, %v", rep, err)
		}
		end <- true
	}()
	return <-end
}

// cutQuiet is cut for a start that may have to wait for a disk.
func (w *world) cutQuiet(o recovery.Options) (done bool) {
	end := make(chan bool)
	go func() {
		defer close(end)
		rep, err := recovery.Run(context.Background(), o)
		if err != nil || len(rep.Items) > 1 || len(rep.Items) == 1 && rep.Items[0].Err != nil && rep.Items[0].Outcome != recovery.Waiting {
			w.Errorf("Run() = %+v, %v", rep, err)
		}
		end <- true
	}()
	return <-end
}

// verifyAll is verify with the ledger.
func (w *world) verifyAll(d recovery.Disk) evidence.Result {
	dir := filepath.Join(states(w), "0123456789abcdef")
	must(w, os.Mkdir(dir, 0o755))
	must(w, os.WriteFile(filepath.Join(dir, "log.jsonl"), w.led.data, 0o644))
	return evidence.VerifyPlaces([]evidence.Place{{Path: folder(d), FS: os.DirFS(folder(d))}, {Path: dir, FS: os.DirFS(dir)}}, evidence.VerifyOptions{})
}

// spans tells the findings of a channel in words: "intact 0-1500, recovered 1500-2000, gap 2000-…" in ms.
func spans(r evidence.Result, ch string) string {
	var out []string
	for _, s := range r.Sessions[0].Spans {
		if s.Channel == ch {
			out = append(out, fmt.Sprintf("%s %d-%d", s.Finding, s.From/1000, s.To/1000))
		}
	}
	return strings.Join(out, ", ")
}

// contents reads every file below a folder.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		out[rel] = string(b)
		return err
	}))
	return out
}

// differ names the files in which two folders differ.
func differ(a, b map[string]string) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(n string) bool {
		x, inA := a[n]
		y, inB := b[n]
		return inA && inB && x == y
	})
}

// brief is a result short enough to read.
func brief(r evidence.Result) string {
	b, _ := json.Marshal(r.Sessions) // a struct of plain values
	return string(b[:min(len(b), 1500)])
}
