package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/report"
	"minglu/provisioning/ca"
	"minglu/provisioning/enrol"
	"minglu/provisioning/users"
)

// office is a real authority with its device API.
type office struct {
	t     *testing.T
	ca    *ca.CA
	codes enrol.Codes
	api   string
	hold  *users.HoldOff

	mu      sync.Mutex
	now     time.Time
	refused []string
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *office) pass(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func (o *office) refusals() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.refused)
}

func (o *office) Held(key string) bool { return o.hold.Held(key) }
func (o *office) Fail(key string)      { o.hold.Fail(key) }

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, now: time.Now().UTC().Truncate(time.Second)}
	o.hold = users.NewHoldOff(users.FreeFailures, o.clock)
	dir := t.TempDir()
	var err error
	if o.ca, err = ca.Init(ca.Options{Dir: filepath.Join(dir, "ca"), Now: o.clock}, "测试", []byte("correct horse battery")); err != nil {
		t.Fatal(err)
	}
	o.codes = enrol.Codes{File: filepath.Join(dir, "enrol", "codes.json"), Now: o.clock}
	conf, err := o.ca.Serve([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	conf.Time = o.clock
	s, err := enrol.New(enrol.Options{Listen: "127.0.0.1:0", TLS: conf, CA: o.ca, Codes: o.codes, Now: o.clock, MQTT: func() string { return "8883" },
		Hold: o, Refused: func(device, why, detail string) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.refused = append(o.refused, device+" "+why)
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if o.api = s.Addr(ctx); o.api == "" {
		t.Fatal(<-done)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return o
}

func (o *office) code(name string, replace bool) report.EnrolCode {
	o.t.Helper()
	c, _, err := o.codes.Make(name, o.ca.Root().Raw, time.Hour, replace)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func (o *office) enrol(state, name string, code report.EnrolCode) (*Enrolment, error) {
	return Enrol(o.t.Context(), Options{State: state, Name: name}, o.api, code, report.Board{SW: "test"})
}

func (o *office) mustEnrol(state, name string) *Identity {
	o.t.Helper()
	if _, err := o.enrol(state, name, o.code(name, false)); err != nil {
		o.t.Fatal(err)
	}
	return load(o.t, state, name)
}

func TestEnrol(t *testing.T) {
	o := openOffice(t)
	state := t.TempDir()
	before := load(t, state, "room-3")
	code := o.code("room-3", false)
	done, err := o.enrol(state, "room-3", code)
	if err != nil || done.Already || done.Device != before.D {
		t.Fatalf("%+v, %v", done, err)
	}
	id := load(t, state, "room-3")
	if id.D != before.D || !id.Key.(*ecdsa.PrivateKey).Equal(before.Key) || id.Made || isSelfMade(id.Cert) || len(id.Chain) != 1 || !id.Chain[0].Equal(o.ca.Issuing()) {
		t.Errorf("enrolled as %v", id.Cert.Subject)
	}
	for _, name := range []string{KeyFile, TLSKeyFile, SM2KeyFile} {
		if info, err := os.Stat(filepath.Join(state, Folder, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	// The same code again changes nothing.
	if again, err := o.enrol(state, "room-3", code); err != nil || !again.Already || len(o.ca.Entries()) != 4 {
		t.Errorf("again: %+v, %v, %d certificates", again, err, len(o.ca.Entries()))
	}
	// The national suite: a signature by the certified key, and the ledger's line for it.
	files, err := id.SealExtras([]byte("{}"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	certs, err := evidence.SM2CertsPEM(id.SM2PEM)
	if err != nil {
		t.Fatal(err)
	}
	if err := evidence.VerifySM2([]byte("{}"), files[SM2SigFile], certs[0]); err != nil {
		t.Error(err)
	}
	roots, between := smx509.NewCertPool(), smx509.NewCertPool()
	roots.AddCert(o.ca.SM2Root())
	between.AddCert(certs[1])
	if _, err := certs[0].Verify(smx509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []smx509.ExtKeyUsage{smx509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	if line, ok, err := id.SM2Line(); !ok || err != nil || line.Use != "sm2" {
		t.Errorf("%+v %v %v", line, ok, err)
	}
	if o.refusals() != nil {
		t.Errorf("refused %q", o.refusals())
	}
}

func TestEnrolRefused(t *testing.T) {
	o := openOffice(t)
	o.mustEnrol(t.TempDir(), "room-1")
	used := o.code("room-2", false)
	if _, err := o.enrol(t.TempDir(), "room-2", used); err != nil {
		t.Fatal(err)
	}
	late, _, err := o.codes.Make("room-4", o.ca.Root().Raw, time.Minute, false)
	if err != nil {
		t.Fatal(err)
	}
	o.pass(2 * time.Minute)
	first := o.code("room-5", false)
	second := o.code("room-5", false)
	o.hold = users.NewHoldOff(100, o.clock) // the first six are no guesses
	other := openOffice(t)
	for _, tt := range []struct {
		rule, name string
		code       report.EnrolCode
		want       string
	}{
		{"a code of this office that was never made", "room-9", report.NewEnrolCode([10]byte{1}, o.ca.Root().Raw), "code.unknown"},
		{"a used code, by another device", "room-2", used, "code.used"},
		{"a code at its end", "room-4", late, "code.expired"},
		{"a code a newer one took the place of", "room-5", first, "code.unknown"},
		{"a code for another name", "room-6", second, "name"},
		{"a name that is enrolled", "room-1", o.code("room-1", false), "name.enrolled"},
	} {
		state := t.TempDir()
		_, err := o.enrol(state, tt.name, tt.code)
		why := (*report.EnrolRefusal)(nil)
		if !errors.As(err, &why) || why.Code != tt.want || why.Text.Zh == "" {
			t.Errorf("%s: %v, want %s", tt.rule, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), tt.code.String()) {
			t.Errorf("%s: the error holds the code", tt.rule)
		}
		if id := load(t, state, tt.name); id.Office != nil || !isSelfMade(id.Cert) {
			t.Errorf("%s: something of it stayed", tt.rule)
		}
		if got := o.refusals(); len(got) == 0 || got[len(got)-1] != tt.name+" enrol-"+tt.want {
			t.Errorf("%s: the office was told %q", tt.rule, got)
		}
	}
	// No trust on first use: who is not the office of the code gets no request at all.
	n := len(other.refusals())
	if _, err := other.enrol(t.TempDir(), "room-7", o.code("room-7", false)); !errors.Is(err, ErrNotOffice) || len(other.refusals()) != n {
		t.Errorf("another office: %v", err)
	}
	// Guessing is held off.
	o.hold = users.NewHoldOff(users.FreeFailures, o.clock)
	for range 2 * users.FreeFailures {
		_, _ = o.enrol(t.TempDir(), "room-9", report.NewEnrolCode([10]byte{1}, o.ca.Root().Raw))
	}
	why := (*report.EnrolRefusal)(nil)
	if _, err := o.enrol(t.TempDir(), "room-8", o.code("room-8", false)); !errors.As(err, &why) || why.Code != "held" {
		t.Errorf("after many failures: %v", err)
	}
}

func TestReplacedDeviceIsRevoked(t *testing.T) {
	o := openOffice(t)
	old := o.mustEnrol(t.TempDir(), "room-3")
	if _, err := o.enrol(t.TempDir(), "room-3", o.code("room-3", true)); err != nil {
		t.Fatal(err)
	}
	k, faults := o.keeper(old, "room-3")
	k.Look(t.Context())
	if !faults.has(FaultRevoked) {
		t.Errorf("faults of the old device %v", faults)
	}
}

// dying is a layer on which everything fails from the n-th change on, as after kill -9.
type dying struct {
	durable.OS
	left int
}

var errDead = errors.New("killed")

func (d *dying) step() error {
	if d.left--; d.left < 0 {
		return errDead
	}
	return nil
}

func (d *dying) OpenFile(name string, flag int, perm os.FileMode) (durable.Handle, error) {
	if flag != os.O_RDONLY {
		if err := d.step(); err != nil {
			return nil, err
		}
	}
	return d.OS.OpenFile(name, flag, perm)
}

func (d *dying) Rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.OS.Rename(from, to)
}

func (d *dying) RenameNew(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.OS.RenameNew(from, to)
}

func (d *dying) Mkdir(name string, perm os.FileMode) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.OS.Mkdir(name, perm)
}

func (d *dying) SyncDir(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.OS.SyncDir(name)
}

// TestEnrolCutAtEachStep: after a cut at any change on the disk the device is what it was, or wholly
// enrolled; the same code then gives it the same certificates as it would have had.
func TestEnrolCutAtEachStep(t *testing.T) {
	o := openOffice(t)
	nothing, all := 0, 0
	for n := 0; ; n++ {
		name, state := fmt.Sprintf("room-%d", n), t.TempDir()
		code := o.code(name, false)
		_, err := Enrol(t.Context(), Options{State: state, Name: name, Layer: &dying{left: n}}, o.api, code, report.Board{})
		if err == nil {
			t.Logf("%d steps: after %d of them nothing, after %d all", n, nothing, all)
			if nothing == 0 || all == 0 {
				t.Error("the cuts did not meet both sides of the commit")
			}
			return
		}
		if !errors.Is(err, errDead) {
			t.Fatalf("step %d: %v", n, err)
		}
		id := load(t, state, name)
		issued := func() (der []byte) {
			for _, e := range o.ca.Entries() {
				if e.Ref == code.Ref() && e.Kind == ca.KindTLS {
					der = e.DER
				}
			}
			return der
		}
		had := issued()
		if id.Office == nil {
			nothing++
			if !isSelfMade(id.Cert) || id.SM2PEM != nil || id.ChainPEM != nil {
				t.Errorf("step %d: half enrolled", n)
			}
		} else {
			all++
			if isSelfMade(id.Cert) || id.SM2PEM == nil || len(id.Chain) != 1 || !bytes.Equal(id.Office.TLS.Leaf.Raw, had) {
				t.Errorf("step %d: half enrolled", n)
			}
		}
		if _, err := o.enrol(state, name, code); err != nil {
			t.Errorf("step %d: again: %v", n, err)
			continue
		}
		if id = load(t, state, name); id.Office == nil || had != nil && !bytes.Equal(issued(), had) {
			t.Errorf("step %d: not the same certificates", n)
		}
	}
}

// raised is which faults stand.
type raised struct {
	mu sync.Mutex
	on map[string]bool
}

func (r *raised) fault(code, _ string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on[code] = on
}

func (r *raised) has(code string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.on[code]
}

func (r *raised) none() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, on := range r.on {
		if on {
			return false
		}
	}
	return true
}

func (o *office) keeper(id *Identity, name string) (*Keeper, *raised) {
	r := &raised{on: map[string]bool{}}
	return NewKeeper(KeeperOptions{Open: Options{Name: name}, Identity: id, Needed: true, Now: o.clock, Fault: r.fault}), r
}

// TestRenewal: a year and more, by a clock that is turned by hand.
func TestRenewal(t *testing.T) {
	o := openOffice(t)
	state := t.TempDir()
	first := o.mustEnrol(state, "room-3")
	k, faults := o.keeper(first, "room-3")
	var lists []byte
	k.o.Lists = func(crl, root []byte) { lists = append(bytes.Clone(crl), root...) }
	k.Look(t.Context())
	if k.Current() != first || !faults.none() || !bytes.Contains(lists, []byte("X509 CRL")) || !bytes.Contains(lists, []byte("CERTIFICATE")) {
		t.Fatalf("fresh: faults %v, lists %q", faults.on, lists)
	}
	o.pass(ca.TLSFor*2/3 - time.Hour)
	if k.Look(t.Context()); k.Current() != first {
		t.Error("renewed too early")
	}
	o.pass(2 * time.Hour)
	k.Look(t.Context())
	second := k.Current()
	if second == first || second.D != first.D || second.Office.TLS.Leaf.Equal(first.Office.TLS.Leaf) || !faults.none() || !second.Key.(*ecdsa.PrivateKey).Equal(first.Key) {
		t.Fatalf("not renewed: faults %v", faults.on)
	}
	if after := load(t, state, "room-3"); !after.Cert.Equal(second.Cert) || !after.Office.TLS.Leaf.Equal(second.Office.TLS.Leaf) {
		t.Error("the state holds other certificates")
	}
	if n := len(o.ca.Names()); n != 1 {
		t.Errorf("%d names", n)
	}
	// The office is away: told in time, and again when it is over.
	api := second.Office.API
	second.Office.API = "127.0.0.1:1"
	o.pass(ca.TLSFor * 3 / 4)
	if k.Look(t.Context()); faults.has(FaultExpiring) {
		t.Error("told as soon as it was due")
	}
	o.pass(ca.TLSFor / 6)
	if k.Look(t.Context()); !faults.has(FaultExpiring) || faults.has(FaultExpired) {
		t.Errorf("near the end: %v", faults.on)
	}
	second.Office.API = api
	if k.Look(t.Context()); !faults.none() || k.Current() == second {
		t.Errorf("the office is back: %v", faults.on)
	}
	third := k.Current()
	third.Office.API = "127.0.0.1:1"
	o.pass(2 * ca.TLSFor)
	if k.Look(t.Context()); !faults.has(FaultExpired) {
		t.Errorf("after the end: %v", faults.on)
	}
	third.Office.API = api
	if k.Look(t.Context()); !faults.has(FaultExpired) {
		t.Errorf("the office renews what has expired: %v", faults.on)
	}
}

func TestStandingIsTold(t *testing.T) {
	o := openOffice(t)
	lone := load(t, t.TempDir(), "room-1")
	k, faults := o.keeper(lone, "room-1")
	if k.Look(t.Context()); !faults.has(FaultNotEnrolled) {
		t.Errorf("not enrolled: %v", faults.on)
	}
	state := t.TempDir()
	id := o.mustEnrol(state, "room-2")
	k, faults = o.keeper(id, "room-22")
	if k.Look(t.Context()); !faults.has(FaultMisnamed) {
		t.Errorf("renamed: %v", faults.on)
	}
	k, faults = o.keeper(id, "room-2")
	if k.Look(t.Context()); !faults.none() {
		t.Errorf("good: %v", faults.on)
	}
	if _, err := o.ca.Revoke("room-2", ca.ReasonLost); err != nil {
		t.Fatal(err)
	}
	if k.Look(t.Context()); !faults.has(FaultRevoked) {
		t.Errorf("revoked: %v", faults.on)
	}
	if err := k.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked certificate is renewed: %v", err)
	}
	why := (*report.EnrolRefusal)(nil)
	if _, err := o.enrol(state, "room-2", o.code("room-2", false)); !errors.As(err, &why) || why.Code != report.StandingRevoked {
		t.Errorf("a compromised key is enrolled again: %v", err)
	}
	state = t.TempDir()
	o.mustEnrol(state, "room-4")
	if _, err := o.ca.Revoke("room-4", ca.ReasonRetired); err != nil {
		t.Fatal(err)
	}
	if _, err := o.enrol(state, "room-4", o.code("room-4", false)); err != nil {
		t.Errorf("back in service: %v", err)
	}
}

// TestCodeDiesWithTheName: a code that was made before a revocation is good for nothing after it, and says why;
// one that was used before gives no second certificate either, and a newer one works.
func TestCodeDiesWithTheName(t *testing.T) {
	o := openOffice(t)
	o.mustEnrol(t.TempDir(), "room-3")
	for _, told := range []bool{true, false} { // told: the command lets the code die, not only the log's times
		waiting := o.code("room-3", true)
		if told {
			if died, err := o.codes.Revoke("room-3", ca.ReasonLost); !died || err != nil {
				t.Fatal(died, err)
			}
		}
		o.pass(time.Minute)
		if _, err := o.ca.Revoke("room-3", ca.ReasonLost); err != nil {
			t.Fatal(err)
		}
		why := (*report.EnrolRefusal)(nil)
		if _, err := o.enrol(t.TempDir(), "room-3", waiting); !errors.As(err, &why) || why.Code != "code.revoked" || told && !strings.Contains(why.Text.En, ca.ReasonLost) {
			t.Errorf("a code of before the revocation (told %t): %v", told, err)
		}
		if died, err := o.codes.Revoke("room-3", ca.ReasonLost); told && died || err != nil {
			t.Errorf("it died twice: %v", err)
		}
		state, code := t.TempDir(), o.code("room-3", false)
		if _, err := o.enrol(state, "room-3", code); err != nil {
			t.Errorf("a code of after the revocation: %v", err)
		}
		replacing, other := o.code("room-3", true), t.TempDir()
		o.pass(time.Minute)
		for range 2 { // asked again after a cut: what it revoked itself does not count
			if _, err := o.enrol(other, "room-3", replacing); err != nil {
				t.Errorf("a code that replaces: %v", err)
			}
		}
	}
}

// TestOfflineIsLookedInto: a device that the office refuses learns why soon, also right after its start, and
// does not ask all the time.
func TestOfflineIsLookedInto(t *testing.T) {
	id := load(t, t.TempDir(), "room-3")
	synctest.Test(t, func(t *testing.T) {
		var looks []time.Duration
		began := time.Now()
		k := NewKeeper(KeeperOptions{Open: Options{Name: "room-3"}, Identity: id, Needed: true, Offline: func() bool { return true },
			Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		k.looked = func() { looks = append(looks, time.Since(began)) }
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := k.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if len(looks) < 6 || len(looks) > 8 || looks[1] > 20*time.Second {
			t.Errorf("looked at %v", looks)
		}
	})
}

// TestClientTLSKnowsItsOfficeOnly: another server, even one with a certificate of the same authority for
// clients, is not spoken to.
func TestClientTLSKnowsItsOfficeOnly(t *testing.T) {
	o, other := openOffice(t), openOffice(t)
	id := o.mustEnrol(t.TempDir(), "room-3")
	good := id.Office.ClientTLS(time.Now)
	dial := func(addr string) error {
		c, err := tls.Dial("tcp", addr, good)
		if err == nil {
			err = c.Close()
		}
		return err
	}
	if err := dial(o.api); err != nil {
		t.Error(err)
	}
	if err := dial(other.api); !errors.Is(err, ErrNotOffice) {
		t.Errorf("another office: %v", err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.Office.TLS}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = c.(*tls.Conn).Handshake(); _ = c.Close() }()
		}
	}()
	if err := dial(l.Addr().String()); !errors.Is(err, ErrNotOffice) {
		t.Errorf("a device that plays the office: %v", err)
	}
}

func TestAnotherBoardIsAnotherDevice(t *testing.T) {
	state := t.TempDir()
	open := func(serial string) *Identity {
		t.Helper()
		id, err := Open(Options{State: state, Name: "room-3", Board: serial})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a := open("10000000abcd")
	if again := open(""); again.D != a.D || again.Before != nil {
		t.Error("a board that tells no serial is another")
	}
	if again := open("10000000abcd"); again.D != a.D || again.Made || again.Before != nil {
		t.Error("the same board is another")
	}
	b := open("10000000beef")
	if b.D == a.D || !b.Made || b.Before == nil || b.Before.D != a.D || !sameKey(a.Key, b.Before.Public) {
		t.Fatalf("another board: %+v", b)
	}
	if _, err := os.Stat(filepath.Join(b.Before.Folder, KeyFile)); err != nil {
		t.Error(err)
	}
	if again := open("10000000beef"); again.D != b.D || again.Before != nil {
		t.Error("not for good")
	}
}

func TestReadBoard(t *testing.T) {
	for _, tt := range []struct{ file, text, want string }{
		{"proc/device-tree/serial-number", "10000000abcdef01\x00", "10000000abcdef01"},
		{"sys/class/dmi/id/product_serial", "PF2ABCDE\n", "PF2ABCDE"},
		{"sys/class/dmi/id/product_serial", "To Be Filled By O.E.M.\n", ""},
		{"sys/class/dmi/id/product_serial", "0\n", ""},
		{"sys/class/dmi/id/product_serial", "0000000000\n", ""},
		{"sys/class/dmi/id/product_serial", "Default string\n", ""},
		{"none", "", ""},
	} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, tt.file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, tt.file), []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, _ := ReadBoard(root); got != tt.want {
			t.Errorf("%s %q: %q, want %q", tt.file, tt.text, got, tt.want)
		}
	}
}

// slow is a key like that of a TPM: 50 ms a signature.
type slow struct {
	*ecdsa.PrivateKey
	n int
}

// TestSlowKeySignsOncePerSession: the cycle's signatures are the session key's; the slow key is asked once.
func TestSlowKeySignsOncePerSession(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	device := &slowSigner{slow{PrivateKey: key}}
	id := &Identity{Key: device, TPM: true}
	s, err := id.SessionSigner("minglu/d/g/s")
	if err != nil {
		t.Fatal(err)
	}
	open := evidence.Open{Origin: "minglu/d/g/s", SKey: s.SKey, SKeySig: s.SKeySig}
	pub, err := open.LogKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range int64(1000) {
		sig, err := s.Sign("minglu/d/g/s", i, evidence.Hash{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := evidence.VerifySig(pub, "minglu/d/g/s", i, evidence.Hash{}, sig); err != nil {
				t.Error(err)
			}
		}
	}
	// With the device's key it would be 50 s.
	if took := time.Since(began); device.n != 1 || took > 25*time.Second {
		t.Errorf("%d signatures by the device, 1000 cycles signed in %v", device.n, took)
	}
	s.Erase()
	if _, err := s.Sign("minglu/d/g/s", 1, evidence.Hash{}); !errors.Is(err, errErased) {
		t.Errorf("after the seal: %v", err)
	}
	if _, err := (&evidence.Open{Origin: "minglu/d/g/other", SKey: s.SKey, SKeySig: s.SKeySig}).LogKey(&key.PublicKey); err == nil {
		t.Error("the key is good for another session")
	}
}

type slowSigner struct{ slow }

func (s *slowSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	time.Sleep(50 * time.Millisecond) // what such a TPM takes
	s.n++
	return s.PrivateKey.Sign(r, digest, opts)
}
