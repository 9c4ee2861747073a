package rtsp

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"minglu/agent/capture"
	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record"
	"minglu/drivers"
)

// room is capture, recorder and verifier around sources, in one process and on a clock that a test in a
// synctest bubble makes run as fast as it can.
type room struct {
	t       *testing.T
	epoch   time.Time // uptime 0
	step    time.Duration
	stepped int64 // clock epochs begun
	mu      sync.Mutex

	capture *capture.Capture
	record  *record.Recorder
	session *record.Session
	zero    time.Duration
	disk    string
	cert    *x509.Certificate
	logs    strings.Builder
	stop    []func()
}

const (
	sessionID  = "20260301T013000Z-0123abcd"
	generation = "00112233445566aa"
)

func (r *room) up() time.Duration { return time.Since(r.epoch) }

func (r *room) now() clock.Reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	return clock.Reading{T: now.UTC().Add(r.step), Error: time.Millisecond, Source: "chrony", Up: now.Sub(r.epoch), Epoch: 1 + r.stepped}
}

// stepClock steps the board's wall clock.
func (r *room) stepClock(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.step += by
	r.stepped++
}

type noLedger struct{}

func (noLedger) Head(_, _ string, _ int64, _ evidence.Hash) error { return nil }
func (noLedger) Sealed(_, _, _ string) error                      { return nil }

// connected makes src talk to cam over a pipe, which a bubble can see through.
func connected(t *testing.T, src *Source, cam *fakeCamera) *Source {
	src.connect = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go cam.serve(t, theirs)
		return ours, nil
	}
	return src
}

// newRoom starts capturing from the channels; nothing is recorded yet.
func newRoom(t *testing.T, o record.Options, channels ...func(up func() time.Duration) capture.Channel) *room {
	t.Helper()
	r := &room{t: t, epoch: time.Now().Add(-time.Hour), disk: filepath.Join(t.TempDir(), "a")}
	if err := os.Mkdir(r.disk, 0o755); err != nil {
		t.Fatal(err)
	}
	var chs []capture.Channel
	for _, c := range channels {
		chs = append(chs, c(r.up))
	}
	log := slog.New(slog.NewTextHandler(&syncWriter{r: r}, nil))
	var err error
	if r.capture, err = capture.New(capture.Options{Channels: chs, Uptime: r.up, Log: log}); err != nil {
		t.Fatal(err)
	}
	o.Disks, o.Now, o.Ledger, o.Floor, o.Log = []string{r.disk}, r.now, noLedger{}, 1<<20, log
	if r.record, err = record.New(o); err != nil {
		t.Fatal(err)
	}
	r.start(r.record.Run)
	<-r.record.Ready()
	return r
}

type syncWriter struct{ r *room }

func (w *syncWriter) Write(b []byte) (int, error) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	return w.r.logs.Write(b)
}

func (r *room) start(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(ctx)
	}()
	r.stop = append(r.stop, sync.OnceFunc(func() {
		cancel()
		<-done
	}))
}

// open begins the session with what the channels have of pre-roll.
func (r *room) open() {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	signer, err := evidence.NewSigner(key)
	if err != nil {
		r.t.Fatal(err)
	}
	id := evidence.DeviceID(signer.SPKI())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "room"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		URIs: []*url.URL{{Scheme: "minglu", Opaque: id}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.cert, err = x509.ParseCertificate(der); err != nil {
		r.t.Fatal(err)
	}
	if r.zero = r.capture.Earliest(); r.zero == 0 {
		r.zero = r.up()
	}
	var ids []string
	for _, s := range r.capture.Status() {
		ids = append(ids, s.ID)
	}
	origin := evidence.SessionOrigin(id, generation, sessionID)
	r.session, err = r.record.Open(record.Opening{
		Session: sessionID, Log: ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: signer, Now: r.now}), Zero: r.zero, Channels: ids,
		Open: evidence.Open{
			Origin: origin, Boot: "b", Trigger: "button", SW: "test", Device: evidence.Device{ID: id, Name: "room"},
			Ledger: evidence.LedgerRef{Origin: evidence.LedgerOrigin(id, generation), Size: 1, Root: evidence.Hash{}.String()},
		},
		Certs: []*x509.Certificate{r.cert}, Key: key,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.capture.Attach(intoSession{r.session})
}

// intoSession is the sink of the agent.
type intoSession struct{ s *record.Session }

func (i intoSession) Describe(ch string, d drivers.Description)      { i.s.Describe(ch, d) }
func (i intoSession) Sample(ch string, s drivers.Sample)             { i.s.Write(ch, s) }
func (i intoSession) Lost(ch string, track int, n int, cause string) { i.s.Lost(ch, track, cause) }

// seal ends the session and everything else, and verifies what was recorded.
func (r *room) seal(exit int) {
	r.t.Helper()
	r.capture.Detach()
	r.session.Close("button")
	sealed, err := r.session.Wait(context.Background())
	for _, stop := range r.stop {
		stop()
	}
	if err != nil || sealed.Err != nil || len(sealed.Failed) > 0 {
		r.t.Fatalf("sealed %+v, %v\n%s", sealed, err, r.logs.String())
	}
	res := evidence.Verify(os.DirFS(r.dir()), evidence.VerifyOptions{Path: r.dir(), Trust: &evidence.Trust{Devices: []*x509.Certificate{r.cert}}, Require: 1})
	if res.Exit != exit {
		r.t.Errorf("verified with exit %d, want %d: %+v\n%s", res.Exit, exit, res.Sessions, r.logs.String())
	}
	for _, s := range res.Sessions {
		for _, sp := range s.Spans {
			if sp.Cause == "undeclared" {
				r.t.Errorf("a hole that nobody declared: %+v", sp)
			}
		}
	}
}

func (r *room) dir() string { return filepath.Join(r.disk, "sessions", sessionID) }

// lines returns the lines of the log of one type.
func lines[T any](r *room, kind string) []T {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir(), "log.jsonl"))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []T
	for text := range strings.Lines(string(b)) {
		l, err := evidence.ParseLine([]byte(strings.TrimSuffix(text, "\n")))
		if err != nil {
			r.t.Fatal(err)
		}
		if l.Type == kind {
			var v T
			if err := l.Decode(&v); err != nil {
				r.t.Fatal(err)
			}
			out = append(out, v)
		}
	}
	return out
}

// gaps are the causes of the gaps declared.
func (r *room) gaps() []string {
	var causes []string
	for _, g := range lines[evidence.Gap](r, "gap") {
		causes = append(causes, g.Cause)
	}
	return causes
}

// files are the media files of a channel.
func (r *room) files(ch string) []string {
	files, err := filepath.Glob(filepath.Join(r.dir(), ch+"-*.mp4"))
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}

// recorded is one sample in a file, as ffprobe sees it. Times are media time.
type recorded struct {
	pts, dts, duration time.Duration
	key                bool
	hash               string
}

// samples has ffprobe read the files; it must not complain.
func samples(t testing.TB, files []string, kind string) []recorded {
	t.Helper()
	var all []recorded
	for _, f := range files {
		cmd := exec.Command("ffprobe", "-v", "warning", "-of", "json", "-select_streams", kind, "-show_streams", "-show_packets", "-show_data_hash", "sha256", f)
		var complaint strings.Builder
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil || complaint.Len() > 0 {
			t.Errorf("ffprobe %s: %v %s", filepath.Base(f), err, complaint.String())
		}
		var p struct {
			Streams []struct {
				TimeBase string `json:"time_base"`
			}
			Packets []struct {
				PTS, DTS, Duration int64
				Flags              string
				Hash               string `json:"data_hash"`
			}
		}
		var num, den int64
		if err := json.Unmarshal(out, &p); err != nil || len(p.Streams) != 1 {
			t.Fatalf("ffprobe %s: %d streams, %v", f, len(p.Streams), err)
		}
		if _, err := fmt.Sscanf(p.Streams[0].TimeBase, "%d/%d", &num, &den); err != nil {
			t.Fatal(err)
		}
		at := func(ticks int64) time.Duration {
			return time.Duration(math.Round(float64(ticks*num) / float64(den) * 1e9))
		}
		for _, k := range p.Packets {
			all = append(all, recorded{at(k.PTS), at(k.DTS), at(k.Duration), strings.HasPrefix(k.Flags, "K"), strings.TrimPrefix(k.Hash, "SHA256:")})
		}
	}
	return all
}

// shown sorts by presentation time.
func shown(s []recorded) []recorded {
	s = slices.Clone(s)
	slices.SortStableFunc(s, func(a, b recorded) int { return cmp.Compare(a.pts, b.pts) })
	return s
}

// late refuses connections before some time after began.
func late(began time.Time, by time.Duration, connect func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if time.Since(began) < by {
			return nil, syscall.ECONNREFUSED
		}
		return connect(ctx, network, address)
	}
}
