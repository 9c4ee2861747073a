package record_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/record"
	"minglu/drivers"
)

// clip is a few seconds of a channel as a source delivers it, in order of time.
type clip struct {
	formats []*drivers.Format
	samples []drivers.Sample // At is from 0
}

// camera is 6 s of H.264 with pictures decoded out of order, a keyframe each second, and AAC.
var camera = sync.OnceValues(func() (*clip, error) {
	return encode("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=6", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=6",
		"-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-sc_threshold", "0", "-bf", "2", "-video_track_timescale", "90000", "-c:a", "aac")
})

// larger is the same with other parameter sets.
var larger = sync.OnceValues(func() (*clip, error) {
	return encode("-f", "lavfi", "-i", "testsrc2=size=352x288:rate=25:duration=6", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=6",
		"-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-sc_threshold", "0", "-bf", "0", "-video_track_timescale", "90000", "-c:a", "aac")
})

// microphone is 6 s of Opus.
var microphone = sync.OnceValues(func() (*clip, error) {
	return encode("-f", "lavfi", "-i", "sine=frequency=330:sample_rate=48000:duration=6", "-c:a", "libopus", "-b:a", "32k")
})

func get(t testing.TB, f func() (*clip, error)) *clip {
	t.Helper()
	c, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// encode lets ffmpeg make an MP4, and takes its packets apart.
func encode(args ...string) (*clip, error) {
	dir, err := os.MkdirTemp("", "record")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "x.mp4")
	if out, err := exec.Command("ffmpeg", append(append([]string{"-v", "error", "-y"}, args...), file)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-show_streams", "-show_data", "-show_packets", "-of", "json", file).Output()
	if err != nil {
		return nil, fmt.Errorf("ffprobe: %w", err)
	}
	var probe struct {
		Streams []struct {
			Codec    string `json:"codec_name"`
			Base     string `json:"time_base"`
			Extra    string `json:"extradata"`
			Width    int    `json:"width"`
			Height   int    `json:"height"`
			Rate     string `json:"sample_rate"`
			Channels int    `json:"channels"`
		} `json:"streams"`
		Packets []struct {
			Stream   int    `json:"stream_index"`
			PTS      int64  `json:"pts"`
			DTS      int64  `json:"dts"`
			Duration int64  `json:"duration"`
			Pos      string `json:"pos"`
			Size     string `json:"size"`
			Flags    string `json:"flags"`
		} `json:"packets"`
	}
	if err := json.Unmarshal(out, &probe); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := new(clip)
	for _, s := range probe.Streams {
		hz, _ := strconv.Atoi(strings.TrimPrefix(s.Base, "1/"))
		rate, _ := strconv.Atoi(s.Rate)
		f := &drivers.Format{Codec: drivers.Codec(s.Codec), ClockHz: hz, SampleRateHz: rate, Channels: s.Channels, Width: s.Width, Height: s.Height}
		extra := unhex(s.Extra)
		switch f.Codec {
		case drivers.H264: // avcC, ISO 14496-15 5.3.3.1
			n := int(extra[6])<<8 | int(extra[7])
			f.SPS = extra[8 : 8+n]
			m := int(extra[8+n+1])<<8 | int(extra[8+n+2])
			f.PPS = extra[8+n+3 : 8+n+3+m]
		case drivers.AAC:
			f.AudioConfig = extra
		}
		c.formats = append(c.formats, f)
	}
	first := make(map[int]int64)
	for _, p := range probe.Packets {
		if strings.Contains(p.Flags, "D") { // encoder delay
			continue
		}
		if _, ok := first[p.Stream]; !ok {
			first[p.Stream] = p.DTS
		}
		pos, _ := strconv.Atoi(p.Pos)
		size, _ := strconv.Atoi(p.Size)
		f := c.formats[p.Stream]
		s := drivers.Sample{
			Track: p.Stream, Format: f, PTS: p.PTS - first[p.Stream], DTS: p.DTS - first[p.Stream], Keyframe: strings.Contains(p.Flags, "K"),
			Data: raw[pos : pos+size], Run: 1,
		}
		if !f.Codec.Video() {
			s.Duration = p.Duration
		}
		s.At = time.Duration(s.DTS) * time.Second / time.Duration(f.ClockHz)
		c.samples = append(c.samples, s)
	}
	slices.SortStableFunc(c.samples, func(a, b drivers.Sample) int { return cmp.Compare(a.At, b.At) })
	return c, nil
}

// unhex reads ffprobe's dump: "00000000: 0164 000d …  .d..".
func unhex(dump string) []byte {
	var out []byte
	for _, line := range strings.Split(dump, "\n") {
		_, rest, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, "  ")
		b, _ := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		out = append(out, b...)
	}
	return out
}

// device is who signs.
type device struct {
	key    *ecdsa.PrivateKey
	signer *evidence.Signer
	cert   *x509.Certificate
	id     string
}

const gen = "00112233445566aa"

func newDevice(t testing.TB) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := evidence.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	d := &device{key: key, signer: signer, id: evidence.DeviceID(signer.SPKI())}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "room-3"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		URIs: []*url.URL{{Scheme: "minglu", Opaque: d.id}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if d.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return d
}

// ledgerFake remembers what it was told.
type ledgerFake struct {
	mu     sync.Mutex
	calls  []string
	heads  []int64
	onHead func() error
}

func (l *ledgerFake) Head(_, _ string, size int64, _ evidence.Hash) error {
	if l.onHead != nil {
		if err := l.onHead(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, "head")
	l.heads = append(l.heads, size)
	return nil
}

func (l *ledgerFake) Sealed(_, manifest, p7s string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, "sealed")
	return nil
}

// room is a recorder with what a test needs around it.
type room struct {
	t      testing.TB
	rec    *record.Recorder
	dev    *device
	ledger *ledgerFake
	disks  []string
	epoch  time.Time // uptime 0
	events []record.DiskEvent
	mu     sync.Mutex
	stop   func()
	logs   *bytes.Buffer
}

const sessionID = "20260301T013000Z-0123abcd"

func (r *room) up() time.Duration { return time.Since(r.epoch) }

func (r *room) now() clock.Reading {
	now := time.Now()
	return clock.Reading{T: now.UTC(), Error: time.Millisecond, Source: "chrony", Up: now.Sub(r.epoch), Epoch: 1}
}

// start runs a recorder on n disks; change may alter its options. stop is called at the end of the test
// at the latest; in a synctest bubble the test calls it itself.
func start(t testing.TB, n int, change func(*record.Options)) *room {
	t.Helper()
	r := &room{t: t, dev: newDevice(t), ledger: new(ledgerFake), epoch: time.Now().Add(-time.Hour), logs: new(bytes.Buffer)}
	for i := range n {
		dir := filepath.Join(t.TempDir(), string(rune('a'+i)))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r.disks = append(r.disks, dir)
	}
	o := record.Options{
		Disks: r.disks, Now: r.now, Ledger: r.ledger, Floor: 1 << 20, Log: slog.New(slog.NewTextHandler(r.logs, nil)),
		OnDisk: func(e record.DiskEvent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	}
	if change != nil {
		change(&o)
	}
	rec, err := record.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.rec = rec
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rec.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(r.stop)
	return r
}

func (r *room) opening(id string, channels ...string) record.Opening {
	return record.Opening{
		Session: id, Log: newLog(r, evidence.SessionOrigin(r.dev.id, gen, id)), Zero: r.up(), Channels: channels,
		Open: evidence.Open{
			Origin: evidence.SessionOrigin(r.dev.id, gen, id), Boot: "b", Trigger: "button", SW: "test",
			Device: evidence.Device{ID: r.dev.id, Name: "room-3"},
			Ledger: evidence.LedgerRef{Origin: evidence.LedgerOrigin(r.dev.id, gen), Size: 1, Root: evidence.Hash{}.String()},
		},
		Certs: []*x509.Certificate{r.dev.cert}, Key: r.dev.key,
	}
}

func (r *room) open(id string, channels ...string) *record.Session {
	r.t.Helper()
	<-r.rec.Ready()
	s, err := r.rec.Open(r.opening(id, channels...))
	if err != nil {
		r.t.Fatalf("open: %v\n%s", err, r.logs)
	}
	return s
}

func (r *room) seal(s *record.Session, reason string) record.Sealed {
	r.t.Helper()
	s.Close(reason)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sealed, err := s.Wait(ctx)
	if err != nil {
		r.t.Fatalf("not sealed: %v\n%s", err, r.logs)
	}
	return sealed
}

// live plays clips at the speed of their clock, as runs of their channels, from media time begin on.
type part struct {
	ch    string
	clip  *clip
	from  time.Duration // of the clip
	to    time.Duration
	shift time.Duration // media time at which the clip's 0 lies, beside from
	run   int
	keep  func(*drivers.Sample) bool // nil: all
}

func (r *room) play(s *record.Session, zero time.Duration, parts ...part) {
	type item struct {
		ch string
		drivers.Sample
	}
	var all []item
	for _, p := range parts {
		s.Describe(p.ch, drivers.Description{Formats: p.clip.formats, Identity: "test", SDP: []byte("v=0")})
		for _, m := range p.clip.samples {
			if m.At < p.from || m.At >= p.to || p.keep != nil && !p.keep(&m) {
				continue
			}
			m.At += p.shift + zero
			m.Run = p.run
			all = append(all, item{p.ch, m})
		}
	}
	slices.SortStableFunc(all, func(a, b item) int { return cmp.Compare(a.At, b.At) })
	for _, i := range all {
		if d := i.At - r.up(); d > 0 {
			time.Sleep(d)
		}
		i.Arrival = i.At
		s.Write(i.ch, i.Sample)
	}
}

// probe has ffprobe read every packet and decode every frame of a file; it must not complain.
func probe(t testing.TB, file string) (packets int) {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "warning", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", file).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe %s: %v: %s", file, err, out)
	}
	for _, line := range strings.Fields(string(out)) {
		n, err := strconv.Atoi(strings.Trim(line, ","))
		if err != nil {
			t.Fatalf("ffprobe %s says: %s", file, out)
		}
		packets += n
	}
	return packets
}
