package scenario

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	recorder "minglu/agent/record"
	"minglu/drivers"
)

const (
	longID      = "20260301T013000Z-0123abcd"
	longHours   = 8
	longSeconds = longHours * 3600
	longHeavy   = 600       // s before the end that have the size of a real camera's
	heavyBytes  = 120 << 10 // of a picture there
)

// unsynced is the real file system without waiting for the disk: nobody pulls its plug in this test.
type unsynced struct{ durable.OS }

type unsyncedFile struct{ durable.Handle }

func (unsynced) SyncDir(string) error { return nil }
func (unsyncedFile) Sync() error      { return nil }
func (unsyncedFile) Datasync() error  { return nil }
func (l unsynced) OpenFile(name string, flag int, perm os.FileMode) (durable.Handle, error) {
	h, err := l.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{h}, nil
}

type noLedger struct{}

func (noLedger) Head(_, _ string, _ int64, _ evidence.Hash) error { return nil }
func (noLedger) Sealed(_, _, _ string) error                      { return nil }

// slowFilm is two minutes of one picture a second, every other one a keyframe.
func slowFilm(t *testing.T) (*drivers.Format, []drivers.Sample) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.mp4")
	run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "life=s=96x96:r=1:mold=10:seed=4", "-t", "120", "-pix_fmt", "yuv420p", "-c:v", "libx264",
		"-preset", "ultrafast", "-g", "2", "-bf", "0", "-video_track_timescale", "90000", file)
	out, _ := run(t, "ffprobe", "-v", "error", "-show_streams", "-show_data", "-show_packets", "-of", "json", file)
	var p struct {
		Streams []struct{ Extradata string }
		Packets []struct{ Pos, Size, Flags string }
	}
	raw, err := os.ReadFile(file)
	if err != nil || json.Unmarshal([]byte(out), &p) != nil {
		t.Fatal(err)
	}
	var extra []byte
	for line := range strings.Lines(p.Streams[0].Extradata) {
		if _, rest, ok := strings.Cut(line, ": "); ok {
			digits, _, _ := strings.Cut(rest, "  ")
			b, _ := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(digits), " ", ""))
			extra = append(extra, b...)
		}
	}
	n := int(binary.BigEndian.Uint16(extra[6:])) // avcC, ISO 14496-15 5.3.3.1
	f := &drivers.Format{Codec: drivers.H264, ClockHz: 90000, SPS: extra[8 : 8+n], Width: 96, Height: 96}
	f.PPS = extra[8+n+3 : 8+n+3+int(binary.BigEndian.Uint16(extra[8+n+1:]))]
	var all []drivers.Sample
	for _, k := range p.Packets {
		pos, _ := strconv.Atoi(k.Pos)
		size, _ := strconv.Atoi(k.Size)
		all = append(all, drivers.Sample{Format: f, Keyframe: strings.HasPrefix(k.Flags, "K"), Run: 1, Data: raw[pos : pos+size]})
	}
	return f, all
}

// recordLong records a session of eight hours in simulated time on a disk, and verifies it.
func recordLong(t *testing.T, disk string) {
	format, film := slowFilm(t)
	filler := append(bytes.Repeat([]byte{0xFF}, heavyBytes), 0x80) // H.264 7.3.2.7
	filler = append(binary.BigEndian.AppendUint32(nil, uint32(1+len(filler))), append([]byte{12}, filler...)...)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := evidence.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	id, gen := evidence.DeviceID(signer.SPKI()), "00112233445566aa"
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "room"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, URIs: []*url.URL{{Scheme: "minglu", Opaque: id}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		epoch := time.Now().Add(-time.Hour)
		up := func() time.Duration { return time.Since(epoch) }
		now := func() clock.Reading {
			return clock.Reading{T: time.Now().UTC(), Error: time.Millisecond, Source: "chrony", Up: up(), Epoch: 1}
		}
		rec, err := recorder.New(recorder.Options{Disks: []string{disk}, Cycle: 10 * time.Second, Floor: 1 << 20, Now: now, Ledger: noLedger{}, Layer: unsynced{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = rec.Run(ctx) }()
		<-rec.Ready()
		origin := evidence.SessionOrigin(id, gen, longID)
		zero := up()
		s, err := rec.Open(recorder.Opening{
			Session: longID, Log: ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: signer, Now: now}), Zero: zero, Channels: []string{"face"},
			Open: evidence.Open{Origin: origin, Boot: "b", Trigger: "button", SW: "test", Device: evidence.Device{ID: id, Name: "room"},
				Ledger: evidence.LedgerRef{Origin: evidence.LedgerOrigin(id, gen), Size: 1, Root: evidence.Hash{}.String()}},
			Certs: []*x509.Certificate{cert}, Key: key,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Describe("face", drivers.Description{Formats: []*drivers.Format{format}})
		for i := range longSeconds {
			m := film[i%len(film)]
			m.DTS = int64(i) * 90000
			m.PTS = m.DTS
			m.At = zero + time.Duration(i)*time.Second
			if i >= longSeconds-longHeavy {
				m.Data = append(bytes.Clone(filler), m.Data...)
			}
			time.Sleep(m.At - up())
			s.Write("face", m)
		}
		s.Close("button")
		if sealed, err := s.Wait(ctx); err != nil || sealed.Err != nil || len(sealed.Failed) > 0 {
			t.Errorf("sealed %+v, %v", sealed, err)
		}
		cancel()
		<-ended
	})
	dir := filepath.Join(disk, "sessions", longID)
	// The verifier computes the index of each file anew and compares (evidence-format.md V10).
	res := evidence.Verify(os.DirFS(dir), evidence.VerifyOptions{Path: dir, Trust: &evidence.Trust{Devices: []*x509.Certificate{cert}}, Require: 1})
	if res.Exit != evidence.ExitGood {
		t.Errorf("verify exits %d: %+v", res.Exit, res.Sessions)
	}
}

// TestSeekInEightHours: in a session of eight hours one jumps at once, in each file by its index, and in
// the room's own page by fetching only what is shown.
func TestSeekInEightHours(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	recordLong(t, disk)
	files := Segments(t, filepath.Join(disk, "sessions", longID), "face")
	if want := longSeconds / 300; len(files) != want {
		t.Errorf("%d files for %d hours, want one each 5 minutes: %d", len(files), longHours, want)
	}
	// One picture near the end of a file of the size of a real camera's, over HTTP: what must be read of it.
	var sent atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(filepath.Join(disk, "sessions", longID, filepath.Base(r.URL.Path)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/without/") { // as if its index had never been written
			copy(b[bytes.Index(b, []byte("sidx")):], "free")
		}
		http.ServeContent(&counted{w, &sent}, r, "x.mp4", time.Time{}, bytes.NewReader(b))
	}))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(64 << 10) // what only waits to be sent is not read
		}
		return ctx
	}
	server.Start()
	defer server.Close()
	jump := func(path string) int64 {
		sent.Store(0)
		out, err := exec.Command("ffmpeg", "-v", "error", "-ss", "290", "-i", server.URL+path, "-frames:v", "1", "-f", "null", "-").CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("ffmpeg: %v: %s", err, out)
		}
		return sent.Load()
	}
	for _, f := range files[len(files)-2:] {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		with, without := jump("/"+filepath.Base(f)), jump("/without/"+filepath.Base(f))
		figure(t, "ffmpeg jumps to 4:50 of %s (%d kB): %d kB sent, without its index %d kB", filepath.Base(f), st.Size()>>10, with>>10, without>>10)
		if 3*with > without { // what ffmpeg looks at first and what waits in sockets is in both
			t.Errorf("to jump to 4:50 of %s of %d bytes, %d were sent, %d without its index", filepath.Base(f), st.Size(), with, without)
		}
	}

	a := lab.Start(t, Room{Channels: map[string]string{"voice": SimMicrophone}, Disks: []string{disk}})
	if code := a.Stop(); code != 0 { // to this room the disk is another device's, until somebody says otherwise
		t.Errorf("the agent exits %d after SIGTERM", code)
	}
	run(t, lab.Agent, "adopt", "--record", disk, "--config", a.Config)
	a.Restart()
	ctx := chromium(t)
	const at = longSeconds - 60
	media := `performance.getEntriesByType("resource").filter(e => e.name.includes("/media/")).reduce((n, e) => n + e.transferSize, 0)`
	var before, after, list int64
	var took float64
	seek := fmt.Sprintf(`new Promise((done) => {
		const s = document.querySelector("#seek"), v = document.querySelector("video"), began = performance.now();
		s.value = %d;
		s.dispatchEvent(new Event("input"));
		const look = setInterval(() => {
			if (Math.abs(v.currentTime - %[1]d) < 1 && v.readyState >= 2 && !v.seeking) { clearInterval(look); done(performance.now() - began); }
		}, 20);
	})`, at)
	if err := chromedp.Run(ctx,
		chromedp.Navigate(a.base+"/sessions/"+longID),
		chromedp.WaitEnabled("#play"),
		chromedp.Evaluate(media, &before),
		chromedp.Evaluate(seek, &took, awaitPromise),
		chromedp.Evaluate(media, &after),
		chromedp.Evaluate(`performance.getEntriesByType("resource").filter(e => !e.name.includes("/media/")).reduce((n, e) => n + e.transferSize, 0)`, &list),
	); err != nil {
		t.Fatalf("the page does not jump: %v\n%s", err, a.Log())
	}
	figure(t, "the page jumps to 7 h 59 min: %d kB of media fetched, %.0f ms; the page and its list of fragments %d kB", (after-before)>>10, took, list>>10)
	if after-before > 64*heavyBytes || after == before {
		t.Errorf("to jump to 7 h 59 min the page fetched %d bytes of media", after-before)
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("the agent exits %d after SIGTERM", code)
	}
}

// counted counts what is written.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}
