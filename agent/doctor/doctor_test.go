package doctor_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/clock"
	"minglu/agent/doctor"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/drivers"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect wants a finding of a check at a level, said in both languages.
func expect(t *testing.T, all []doctor.Finding, check string, level doctor.Level) doctor.Finding {
	t.Helper()
	i := slices.IndexFunc(all, func(f doctor.Finding) bool { return f.Check == check })
	if i < 0 {
		t.Errorf("no finding %s in %+v", check, all)
		return doctor.Finding{}
	}
	f := all[i]
	if f.Level != level {
		t.Errorf("%s: %s, want %s: %+v", check, f.Level, level, f.Text)
	}
	if f.Text.Zh == "" || f.Text.En == "" || f.Level != doctor.Good && (f.Do.Zh == "") != (f.Do.En == "") {
		t.Errorf("%s: words are missing: %+v", check, f)
	}
	return f
}

const diskID = "0123456789abcdef0123456789abcdef"

func newDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"ledger", "tmp", "sessions"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "ledger", "disk.json"), []byte(`{"id":"`+diskID+`"}`), 0o644))
	return dir
}

func TestDisk(t *testing.T) {
	for _, c := range []struct {
		rule, check string
		level       doctor.Level
		change      func(t *testing.T, o *doctor.DiskOptions)
	}{
		{"a disk that was used before", "disk.present", doctor.Good, func(*testing.T, *doctor.DiskOptions) {}},
		{"is writable", "disk.write", doctor.Good, func(*testing.T, *doctor.DiskOptions) {}},
		{"an empty folder is new, or not mounted", "disk.present", doctor.Note, func(t *testing.T, o *doctor.DiskOptions) { o.Dir = t.TempDir() }},
		{"an empty folder where a disk used to be is not mounted", "disk.present", doctor.Bad, func(t *testing.T, o *doctor.DiskOptions) { o.Dir, o.Known = t.TempDir(), diskID }},
		{"a folder that is not there", "disk.present", doctor.Bad, func(t *testing.T, o *doctor.DiskOptions) { o.Dir += "/none" }},
		{"a name that is none", "disk.present", doctor.Bad, func(t *testing.T, o *doctor.DiskOptions) {
			must(t, os.WriteFile(filepath.Join(o.Dir, "ledger", "disk.json"), []byte(`{"id":"x"}`), 0o644))
		}},
		{"two folders of one file system", "disk.own", doctor.Note, func(t *testing.T, o *doctor.DiskOptions) { o.Others = []string{t.TempDir()} }},
		{"a full disk", "disk.space", doctor.Bad, func(t *testing.T, o *doctor.DiskOptions) {
			o.Layer = &durabletest.Layer{Free: func() int64 { return doctor.Floor - 1 }}
		}},
		{"room for less than a day", "disk.space", doctor.Note, func(t *testing.T, o *doctor.DiskOptions) {
			o.Layer = &durabletest.Layer{Free: func() int64 { return doctor.Floor + 1<<30 }}
		}},
		{"room for many days", "disk.space", doctor.Good, func(*testing.T, *doctor.DiskOptions) {}},
		{"the same room for sound alone lasts longer", "disk.space", doctor.Good, func(t *testing.T, o *doctor.DiskOptions) {
			o.Layer, o.Rate = &durabletest.Layer{Free: func() int64 { return doctor.Floor + 1<<30 }}, 64_000
		}},
		{"another device's disk", "disk.other", doctor.Bad, func(_ *testing.T, o *doctor.DiskOptions) { o.Other = true }},
		{"what a doctor that was killed left", "disk.write", doctor.Good, func(t *testing.T, o *doctor.DiskOptions) {
			must(t, os.WriteFile(filepath.Join(o.Dir, "tmp", "doctor-probe.tmp"), nil, 0o644))
		}},
		{"a disk that refuses", "disk.write", doctor.Bad, func(t *testing.T, o *doctor.DiskOptions) {
			o.Layer = &durabletest.Layer{Before: func(op durabletest.Op) error {
				if op.Verb == "datasync" {
					return syscall.EROFS
				}
				return nil
			}}
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			o := doctor.DiskOptions{Name: "A", Dir: newDisk(t), Write: true, Rate: 4_000_000, Layer: &durabletest.Layer{}}
			c.change(t, &o)
			expect(t, append(doctor.Disk(t.Context(), o), doctor.Space(o)...), c.check, c.level)
			if left, _ := filepath.Glob(filepath.Join(o.Dir, "tmp", "*")); len(left) > 0 && c.check != "disk.write" {
				t.Errorf("left: %v", left)
			}
		})
	}
	t.Run("nothing is written beside a running agent", func(t *testing.T) {
		l := &durabletest.Layer{}
		doctor.Disk(t.Context(), doctor.DiskOptions{Name: "A", Dir: newDisk(t), Layer: l})
		for _, op := range l.Ops() {
			if op.Verb != "space" && op.Verb != "readdir" && op.Verb != "open" && op.Verb != "read" {
				t.Errorf("%s %s", op.Verb, op.Name)
			}
		}
	})
}

// TestMeasure: a disk whose sync takes long gets a long cycle, and nothing stays on it.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		rule  string
		sync  time.Duration
		cycle time.Duration
		level doctor.Level
	}{
		{"a fast disk has the shortest cycle", 5 * time.Millisecond, 500 * time.Millisecond, doctor.Good},
		{"four times the 99th percentile", 210 * time.Millisecond, 850 * time.Millisecond, doctor.Good},
		{"never longer than two seconds, and then it is told", 900 * time.Millisecond, 2 * time.Second, doctor.Bad},
	} {
		t.Run(c.rule, func(t *testing.T) {
			dir := newDisk(t)
			must(t, os.WriteFile(filepath.Join(dir, "tmp", "doctor-1.tmp"), nil, 0o644)) // of one that was killed
			synctest.Test(t, func(t *testing.T) {
				l := &durabletest.Layer{Before: func(op durabletest.Op) error {
					if op.Verb == "datasync" {
						time.Sleep(c.sync)
					}
					return nil
				}}
				var got []doctor.Barrier
				all := doctor.Speed(t.Context(), doctor.DiskOptions{Name: "A", Dir: dir, Layer: l}, 2, func(b doctor.Barrier) { got = append(got, b) })
				expect(t, all, "disk.speed", c.level)
				if len(got) != 1 || got[0].Disk != diskID || got[0].P99 != c.sync || doctor.Cycle(got) != c.cycle {
					t.Errorf("measured %+v, cycle %s", got, doctor.Cycle(got))
				}
			})
			if left, _ := filepath.Glob(filepath.Join(dir, "tmp", "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestMeasuredIsReadBackStrictly(t *testing.T) {
	m := doctor.Measured{CycleMS: 850, At: time.Unix(1, 0).UTC(), Disks: []doctor.Barrier{{Disk: diskID, Rounds: 100, P50US: 100, P99US: 210_000}}}
	b, err := m.Marshal()
	must(t, err)
	got, err := doctor.ParseMeasured(b)
	if err != nil || got.Cycle() != 850*time.Millisecond || got.Disks[0].P99 != 210*time.Millisecond {
		t.Errorf("%+v %v", got, err)
	}
	for _, wrong := range []string{"", "{}", `{"cycle_ms":100}`, `{"cycle_ms":9000}`, `{"cycle_ms":-1}`} {
		if m, err := doctor.ParseMeasured([]byte(wrong)); err == nil || m.CycleMS != 0 {
			t.Errorf("%q is taken for %+v", wrong, m)
		}
	}
	expect(t, []doctor.Finding{doctor.CycleFinding(500*time.Millisecond, "auto", nil)}, "disk.cycle", doctor.Note)
	expect(t, []doctor.Finding{doctor.CycleFinding(850*time.Millisecond, "auto", &m)}, "disk.cycle", doctor.Good)
	expect(t, []doctor.Finding{doctor.CycleFinding(time.Second, "1s", &m)}, "disk.cycle", doctor.Good)
}

// TestRunGivesUp: a check that hangs is a finding, and the next one follows.
func TestRunGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var all []doctor.Finding
		doctor.Run(t.Context(), []doctor.Check{
			{Name: "disk.present", On: "A", Run: func(context.Context) []doctor.Finding { <-release; return nil }},
			{Name: "clock", Run: func(context.Context) []doctor.Finding {
				return doctor.Clock(clock.Reading{T: time.Now(), Error: time.Millisecond, Source: "ntp"}, time.Time{})
			}},
		}, time.Minute, func(f []doctor.Finding) { all = append(all, f...) })
		expect(t, all, "disk.present", doctor.Bad)
		expect(t, all, "clock", doctor.Good)
		if doctor.Worst(all) != doctor.Bad {
			t.Errorf("worst: %s", doctor.Worst(all))
		}
		close(release)
	})
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		rule  string
		r     clock.Reading
		level doctor.Level
	}{
		{"vouched for", clock.Reading{T: now, Error: time.Millisecond, Source: "ntp"}, doctor.Good},
		{"unknown", clock.Reading{T: now, Error: -1}, doctor.Note},
		{"wrong by seconds", clock.Reading{T: now, Error: 3 * time.Second}, doctor.Note},
		{"before what has passed", clock.Reading{T: now.AddDate(-50, 0, 0), Error: -1}, doctor.Bad},
	} {
		t.Run(c.rule, func(t *testing.T) { expect(t, doctor.Clock(c.r, now.AddDate(0, 0, -1)), "clock", c.level) })
	}
}

func TestSessions(t *testing.T) {
	s := doctor.Sessions{Sealed: 3, Interrupted: []string{"a"}, Lacking: map[string][]string{"B": {"b", "c", "d", "e", "f", "g"}}, Foreign: []string{"h"}, Aside: []string{"/x"}}
	all := s.Findings()
	if f := expect(t, all, "sessions.interrupted", doctor.Note); !f.Cure {
		t.Error("repair would mend it")
	}
	if f := expect(t, all, "sessions.copies", doctor.Note); !f.Cure || f.On != "B" || !strings.Contains(f.Text.En, "…") {
		t.Errorf("%+v", f)
	}
	expect(t, all, "sessions.foreign", doctor.Bad)
	expect(t, all, "sessions.aside", doctor.Note)
	if all := (doctor.Sessions{}).Findings(); len(all) != 1 {
		t.Errorf("nothing is wrong: %+v", all)
	}
}

// device makes a certificate as a device makes its own.
func device(t *testing.T, until time.Time) (cert *x509.Certificate, s *evidence.Signer, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	s, err = evidence.NewSigner(key)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "room-1"}, NotBefore: time.Unix(0, 0), NotAfter: until,
		URIs: []*url.URL{{Scheme: "minglu", Opaque: evidence.DeviceID(s.SPKI())}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	cert, err = x509.ParseCertificate(der)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return cert, s, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestIdentityAndLedger(t *testing.T) {
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	cert, signer, private := device(t, now.AddDate(1, 0, 0))
	other, _, _ := device(t, now.AddDate(1, 0, 0))
	expect(t, doctor.Identity(cert, nil), "identity", doctor.Good)
	expect(t, doctor.Identity(nil, fs.ErrNotExist), "identity", doctor.Note)
	expect(t, doctor.Identity(nil, errors.New("mode 0644")), "identity", doctor.Bad)

	key := filepath.Join(t.TempDir(), "device.key")
	for _, c := range []struct {
		rule string
		mode fs.FileMode
		with *x509.Certificate
		ok   bool
	}{{"fits", 0o600, cert, true}, {"read by others", 0o640, cert, false}, {"another's", 0o600, other, false}} {
		must(t, os.WriteFile(key, private, 0o600))
		must(t, os.Chmod(key, c.mode))
		if err := doctor.KeyFits(key, c.with); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
	if err := doctor.KeyFits(key+"x", cert); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a certificate without its key: %v", err)
	}

	state := t.TempDir()
	expect(t, doctor.Ledger(state, cert), "ledger", doctor.Note)
	const gen = "00112233445566ff"
	must(t, os.MkdirAll(filepath.Join(state, "ledger", gen), 0o700))
	must(t, os.WriteFile(filepath.Join(state, "ledger", "current.json"), []byte(`{"generation":"`+gen+`","published":1}`), 0o600))
	d, err := evidence.CertDevice(cert)
	must(t, err)
	line, err := evidence.MarshalLine(map[string]any{"type": "boot", "seq": 0, "t": 1, "te": -1, "up": 1, "salt": strings.Repeat("0", 32), "boot": "x", "nv": 0, "board": ""})
	must(t, err)
	tree := new(evidence.Tree)
	tree.Append(line)
	sign, err := signer.SignLine(evidence.LedgerOrigin(d, gen), tree)
	must(t, err)
	log := append(append(append(bytes.Clone(line), '\n'), sign...), '\n')
	for _, c := range []struct {
		rule  string
		log   []byte
		level doctor.Level
	}{
		{"signed", log, doctor.Good},
		{"with a torn end", append(bytes.Clone(log), "{"...), doctor.Note},
		{"altered", bytes.Replace(log, []byte(`"nv":0`), []byte(`"nv":1`), 1), doctor.Bad},
		{"nothing in it", nil, doctor.Bad},
	} {
		t.Run(c.rule, func(t *testing.T) {
			must(t, os.WriteFile(filepath.Join(state, "ledger", gen, "log.jsonl"), c.log, 0o600))
			expect(t, doctor.Ledger(state, cert), "ledger", c.level)
		})
	}
}

func TestStateAndCatalogue(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	expect(t, doctor.State(dir, false), "state", doctor.Good)
	expect(t, doctor.State(dir, true), "state", doctor.Good)
	must(t, os.Chmod(dir, 0o755))
	expect(t, doctor.State(dir, false), "state", doctor.Note)
	expect(t, doctor.State(dir+"/none", false), "state", doctor.Note)
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	expect(t, doctor.State(dir+"/file", false), "state", doctor.Bad)
	expect(t, doctor.Catalogue(nil), "catalogue", doctor.Good)
	expect(t, doctor.Catalogue(fs.ErrNotExist), "catalogue", doctor.Note)
	if f := expect(t, doctor.Catalogue(errors.New("malformed")), "catalogue", doctor.Bad); !f.Cure {
		t.Error("repair would mend it")
	}
}

func TestPortAndOffice(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	expect(t, doctor.Port(addr), "web.port", doctor.Bad)
	expect(t, doctor.Office(t.Context(), addr, nil), "office", doctor.Good)
	must(t, l.Close())
	expect(t, doctor.Port(addr), "web.port", doctor.Good)
	expect(t, doctor.Office(t.Context(), addr, nil), "office", doctor.Note)
}

// camera is a source that does what a test says.
type camera func(ctx context.Context, out drivers.Sink) error

func (c camera) Run(ctx context.Context, out drivers.Sink) error { return c(ctx, out) }

func TestChannel(t *testing.T) {
	for _, c := range []struct {
		rule  string
		src   camera
		level doctor.Level
		words string
	}{
		{"what it sends", func(ctx context.Context, out drivers.Sink) error {
			f := &drivers.Format{Codec: drivers.H264, ClockHz: 90_000, Width: 1920, Height: 1080}
			out.Open(drivers.Description{Formats: []*drivers.Format{f}})
			for i := int64(0); ; i++ {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(40 * time.Millisecond):
					out.Sample(drivers.Sample{Format: f, DTS: i * 3600, Data: make([]byte, 20_000)})
				}
			}
		}, doctor.Good, "h264 1920×1080 25/s 4."},
		{"a driver's own words", func(context.Context, drivers.Sink) error {
			return &drivers.Problem{Code: "credentials", Zh: "请核对口令", En: "Check the password"}
		}, doctor.Bad, "delivers nothing"},
		{"connected, and nothing comes", func(ctx context.Context, out drivers.Sink) error {
			out.Open(drivers.Description{Formats: []*drivers.Format{{Codec: drivers.H264}}})
			<-ctx.Done()
			return ctx.Err()
		}, doctor.Bad, "delivers nothing"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
				defer stop()
				rate := int64(0)
				f := expect(t, doctor.Channel(ctx, "face", c.src, func(r int64) { rate = r }), "channel", c.level)
				if (rate > 3_900_000 && rate < 4_300_000) != (c.level == doctor.Good) {
					t.Errorf("%d bit/s", rate)
				}
				if !strings.Contains(f.Text.En, c.words) {
					t.Errorf("%q does not say %q", f.Text.En, c.words)
				}
				if c.rule == "a driver's own words" && f.Do.En != "Check the password" {
					t.Errorf("remedy: %+v", f.Do)
				}
			})
		})
	}
}
