package keep

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var cst = time.FixedZone("CST", 8*3600)

func day(s string) time.Time {
	t, err := time.ParseInLocation(time.DateOnly, s, cst)
	if err != nil {
		panic(err)
	}
	return t
}

func TestUntil(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		r      report.Retention
		closed string
		until  string
		want   string
	}{
		{"so many months", report.Retention{Kind: report.KeepMonths, Months: 12}, "2026-03-01", "", "2027-03-01"},
		{"never less than six", report.Retention{Kind: report.KeepMonths, Months: 2}, "2026-03-01", "", "2026-09-01"},
		{"a month without that day ends with its last", report.Retention{Kind: report.KeepMonths, Months: 6}, "2026-08-31", "", "2027-02-28"},
		{"with its case, whose end nobody knows", report.Retention{Kind: report.KeepWithCase}, "2026-03-01", "", ""},
		{"with its case", report.Retention{Kind: report.KeepWithCase}, "2026-03-01", "2031-05-06", "2031-05-06"},
		{"with its case, but six months at least", report.Retention{Kind: report.KeepWithCase}, "2026-03-01", "2026-04-01", "2026-09-01"},
		{"with a case that is kept for ever", report.Retention{Kind: report.KeepWithCase}, "2026-03-01", Permanent, Permanent},
		{"for ever", report.Retention{Kind: report.KeepPermanently}, "2026-03-01", "2027-01-01", Permanent},
		{"a matter nobody knows: with its case", report.Retention{}, "2026-03-01", "2031-05-06", "2031-05-06"},
	} {
		if got := Until(tt.r, day(tt.closed), tt.until, 6, cst); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestPlan(t *testing.T) {
	months := report.Retention{Kind: report.KeepMonths, Months: 6}
	s := func(edit func(*Session)) Session {
		x := Session{ID: "20260301T013000Z-0123abcd", Closed: day("2026-03-01"), Bytes: 10, Disks: []string{"a", "b"}, Retention: months, Receipt: true}
		if edit != nil {
			edit(&x)
		}
		return x
	}
	tight := []Space{{"a", 10, 100}, {"b", 90, 100}}
	for _, tt := range []struct {
		rule  string
		s     Session
		space []Space
		now   string
		sure  bool
		do    Do
		why   string
	}{
		{"archived, old, and a disk is short", s(nil), tight, "2026-04-15", true, Release, ""},
		{"archived and old, but there is room", s(nil), []Space{{"a", 50, 100}}, "2026-04-15", true, Stay, WhySpace},
		{"the disk that is short has no copy of it", s(func(x *Session) { x.Disks = []string{"b"} }), tight, "2026-04-15", true, Stay, WhySpace},
		{"not archived", s(func(x *Session) { x.Receipt = false }), tight, "2026-04-15", true, Stay, WhyNoReceipt},
		{"too young", s(nil), tight, "2026-03-15", true, Stay, WhyLocal},
		{"held", s(func(x *Session) { x.Held = true }), tight, "2026-04-15", true, Stay, WhyHeld},
		{"in use", s(func(x *Session) { x.InUse = true }), tight, "2026-04-15", true, Stay, WhyInUse},
		{"nobody knows the day", s(nil), tight, "2026-04-15", false, Stay, WhyClock},
		{"its term is over, and no appraisal names it", s(nil), []Space{{"a", 50, 100}}, "2026-09-02", true, Stay, WhySpace},
		{"an appraisal names it, its term is over", s(func(x *Session) { x.Appraisal = "d" }), nil, "2026-09-02", true, Destroy, ""},
		{"on its last day it stays", s(func(x *Session) { x.Appraisal = "d" }), nil, "2026-09-01", true, Stay, WhyUntil},
		{"an appraisal, and a hold", s(func(x *Session) { x.Appraisal, x.Held = "d", true }), tight, "2026-09-02", true, Stay, WhyHeld},
		{"an appraisal, and no clock", s(func(x *Session) { x.Appraisal = "d" }), tight, "2026-09-02", false, Stay, WhyClock},
		{"an appraisal of what is kept for ever", s(func(x *Session) { x.Appraisal, x.Retention.Kind = "d", report.KeepPermanently }), nil, "2036-09-02", true, Stay, WhyPermanent},
		{"an appraisal of an open case", s(func(x *Session) { x.Appraisal, x.Retention.Kind = "d", report.KeepWithCase }), nil, "2036-09-02", true, Stay, WhyCase},
		{"not archived, and an appraisal", s(func(x *Session) { x.Appraisal, x.Receipt = "d", false }), nil, "2026-09-02", true, Destroy, ""},
		{"a destroyed one came back", s(func(x *Session) { x.Destroyed = true }), nil, "2026-03-02", false, Destroy, ""},
		{"a destroyed one came back, and is held by mistake", s(func(x *Session) { x.Destroyed, x.Held = true, true }), nil, "2026-03-02", true, Destroy, ""},
		{"only the archive has it", s(func(x *Session) { x.Disks = nil }), tight, "2026-04-15", true, Stay, ""},
	} {
		d := Plan([]Session{tt.s}, Policy{Local: 30 * 24 * time.Hour, MinMonths: 6, FreeBelow: 0.2, Location: cst}, tt.space, day(tt.now), tt.sure)[0]
		if d.Do != tt.do || d.Why != tt.why {
			t.Errorf("%s: %s %q, want %s %q", tt.rule, d.Do, d.Why, tt.do, tt.why)
		}
	}
	// The oldest go first, and no more than are needed.
	var many []Session
	for i := range 5 {
		many = append(many, s(func(x *Session) { x.ID = fmt.Sprintf("2026030%dT013000Z-0123abcd", 5-i) }))
	}
	var gone []string
	for _, d := range Plan(many, Policy{FreeBelow: 0.25, Location: cst}, []Space{{"a", 10, 100}}, day("2026-05-01"), true) {
		if d.Do == Release {
			gone = append(gone, d.Session[:8])
		}
	}
	slices.Sort(gone)
	if !slices.Equal(gone, []string{"20260301", "20260302"}) {
		t.Errorf("released %v, want the two oldest", gone)
	}
}

// rig is a room with two disks, a ledger in memory whose lines are durable at once, and an archive.
type rig struct {
	t       testing.TB
	root    string
	lines   *[]byte // of the ledger
	have    map[string]bool
	proves  error
	removes error
	removed []string
	now     time.Time
	sure    bool
	free    int64
	gone    []string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	fails   int // ledger lines that may still be written; -1 all
}

const (
	one = "20260301T013000Z-0123abcd"
	two = "20260302T013000Z-0123abcd"
)

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, root: t.TempDir(), lines: new([]byte), have: map[string]bool{}, now: day("2026-10-01"), sure: true, free: 50, fails: -1}
	for _, d := range []string{"state/keep", "state/ledger", "state/tmp", "a/sessions", "a/tmp", "a/ledger", "b/sessions", "b/tmp", "b/ledger"} {
		if err := os.MkdirAll(filepath.Join(r.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"a", "b"} {
		for _, id := range []string{one, two} {
			r.lay(d, id)
		}
	}
	var err error
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "appraiser"}, NotBefore: time.Unix(0, 0), NotAfter: day("2099-01-01")}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &r.key.PublicKey, r.key)
	if err != nil {
		t.Fatal(err)
	}
	if r.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) lay(disk, id string) {
	for name, b := range map[string]string{"manifest.json": "manifest of " + id, "face-00001.mp4": "media", "tokens/anchor.json": "x"} {
		to := filepath.Join(r.root, disk, "sessions", id, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, []byte(b), 0o644)); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) BytesFrom(off int64) ([]byte, error) { return (*r.lines)[off:], nil }

func (r *rig) line(v any) error {
	if r.fails == 0 {
		return errors.New("the power is gone")
	}
	r.fails--
	b, err := evidence.MarshalLine(v)
	*r.lines = append(append(*r.lines, b...), '\n')
	return err
}

func (r *rig) common(typ string) evidence.Common {
	return evidence.Common{Type: typ, Seq: int64(strings.Count(string(*r.lines), "\n")), Salt: strings.Repeat("0", 32)}
}

func (r *rig) Archived(s, sum string) error {
	r.have[s] = true
	return r.line(evidence.Archived{Common: r.common("archived"), Session: s, SHA256: sum})
}
func (r *rig) Destroying(s, a string) error {
	return r.line(evidence.Destroy{Common: r.common("destroying"), Session: s, Appraisal: a})
}
func (r *rig) Destroyed(s, a string) error {
	return r.line(evidence.Destroy{Common: r.common("destroyed"), Session: s, Appraisal: a})
}

func (r *rig) Proves(_ context.Context, s string, copies []fs.FS) (string, error) {
	if r.proves != nil || !r.have[s] {
		return "", errors.Join(r.proves, errors.New("the archive does not have it"))
	}
	return "receipt", nil
}

func (r *rig) Remove(_ context.Context, s string) error {
	if r.removes == nil {
		delete(r.have, s)
		r.removed = append(r.removed, s)
	}
	return r.removes
}

func (r *rig) sessions(context.Context) ([]Session, error) {
	var out []Session
	for _, id := range []string{one, two} {
		s := Session{ID: id, Case: "某市监罚〔2026〕1号", Closed: day("2026-03-01"), Bytes: 10, Retention: report.Retention{Kind: report.KeepMonths, Months: 6}}
		for _, d := range []string{"a", "b"} {
			if _, err := os.Stat(filepath.Join(r.root, d, "sessions", id)); err == nil {
				s.Disks = append(s.Disks, d)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func (r *rig) keeper(l durable.Layer) *Keeper {
	r.t.Helper()
	k, err := r.open(l)
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

func (r *rig) open(l durable.Layer) (*Keeper, error) {
	return New(Options{State: filepath.Join(r.root, "state"), Ledger: r, Archive: r, Policy: Policy{Local: 24 * time.Hour, MinMonths: 6, FreeBelow: 0.2, Location: cst},
		Sessions: r.sessions, Disks: func() []Disk { return []Disk{{"a", filepath.Join(r.root, "a")}, {"b", filepath.Join(r.root, "b")}} },
		Space: func() []Space { return []Space{{"a", r.free, 100}, {"b", r.free, 100}} }, InUse: func(string) bool { return false },
		Now: func() (time.Time, bool) { return r.now, r.sure }, Appraisers: func() []*x509.Certificate { return []*x509.Certificate{r.cert} },
		Gone: func(_ context.Context, s string, e End) { r.gone = append(r.gone, s+" "+e.Kind) }, Kept: func(context.Context, Session, Decision) {},
		Files: durable.Files{Layer: l, Tmp: filepath.Join(r.root, "state/tmp")}, Layer: l})
}

func (r *rig) there(id string) (n int) {
	for _, d := range []string{"a", "b"} {
		if _, err := os.Stat(filepath.Join(r.root, d, "sessions", id)); err == nil {
			n++
		}
	}
	return n
}

func (r *rig) appraisal(ids ...string) (json, p7s []byte) {
	r.t.Helper()
	a := evidence.Appraisal{ID: strings.Repeat("ab", 16), By: "office", Reason: "保存期满", T: r.now.UnixMicro(),
		Approvals: []evidence.Approval{{Login: "zhang", Name: "张某", Role: "auditor"}, {Login: "li", Name: "李某", Role: "manager"}}}
	for _, id := range ids {
		a.Sessions = append(a.Sessions, evidence.Appraised{Session: id, Manifest: evidence.DigestFile("", []byte("manifest of "+id)).SHA256, Until: "2026-09-01"})
	}
	json, p7s, err := evidence.BuildAppraisal(a, r.cert, r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	return json, p7s
}

func (r *rig) pass(k *Keeper) {
	r.t.Helper()
	if err := k.Pass(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// TestRelease: room is made only with a receipt that the ledger names and the archive still proves.
func TestRelease(t *testing.T) {
	r := newRig(t)
	r.free = 5
	k := r.keeper(nil)
	r.pass(k)
	if r.there(one) != 2 {
		t.Fatal("a session went without a receipt")
	}
	for _, id := range []string{one, two} {
		if err := r.Archived(id, "receipt"); err != nil {
			t.Fatal(err)
		}
	}
	r.proves = errors.New("it is not there any more")
	if err := k.Pass(t.Context()); err == nil || r.there(one) != 2 {
		t.Fatalf("a session went that the archive lost: %v", err)
	}
	r.proves = nil
	if _, err := k.Hold(Hold{Case: "某市监罚[2026]1号", By: "张某", Reason: "行政复议"}); err != nil {
		t.Fatal(err)
	}
	r.pass(k)
	if r.there(one) != 2 {
		t.Fatal("a held session went")
	}
	h := k.Holds()[0]
	if err := k.Release(h.ID, Released{By: "李某", Reason: "复议结束"}); err != nil {
		t.Fatal(err)
	}
	r.pass(r.keeper(nil)) // another start reads the same holds
	if r.there(one) != 0 || r.there(two) != 0 {
		t.Errorf("room was not made: %d, %d copies", r.there(one), r.there(two))
	}
	if b, err := os.ReadFile(filepath.Join(r.root, "state/keep/manifests", one+".json")); err != nil || string(b) != "manifest of "+one {
		t.Errorf("its manifest was not kept: %q, %v", b, err)
	}
	if len(r.removed) != 0 || len(r.gone) != 2 {
		t.Errorf("removed from the archive: %v; told: %v", r.removed, r.gone)
	}
}

// TestDestroy: only with an appraisal, only after the term, and an old copy goes again.
func TestDestroy(t *testing.T) {
	r := newRig(t)
	k := r.keeper(nil)
	json, p7s := r.appraisal(one)
	stranger := newRig(t)
	if _, err := k.Appraise(stranger.appraisal(one)); err == nil {
		t.Fatal("an appraisal of a stranger was taken")
	}
	r.now = day("2026-09-01")
	if _, err := k.Appraise(json, p7s); err != nil {
		t.Fatal(err)
	}
	r.pass(k)
	if r.there(one) != 2 {
		t.Fatal("it went on its last day")
	}
	r.now, r.sure = day("2026-10-01"), false
	r.pass(k)
	if r.there(one) != 2 {
		t.Fatal("it went though nobody knows the day")
	}
	r.sure, r.removes = true, errors.New("the archive is away")
	if err := k.Pass(t.Context()); err == nil || r.there(one) != 0 || k.End(one).Kind != Destroying || !k.Gone(one) {
		t.Fatalf("an archive that is away: %v, %d copies, %q", err, r.there(one), k.End(one).Kind)
	}
	r.removes = nil
	r.pass(r.keeper(nil))
	k = r.keeper(nil)
	if k.End(one).Kind != Destroyed || r.there(one) != 0 || r.there(two) != 2 || !slices.Contains(r.removed, one) {
		t.Errorf("destroyed: %q, %d and %d copies, removed %v", k.End(one).Kind, r.there(one), r.there(two), r.removed)
	}
	sum := evidence.DigestFile("", json).SHA256
	for _, d := range []string{"state", "a", "b"} {
		if b, err := os.ReadFile(filepath.Join(r.root, d, "ledger/appraisals", sum+".json")); err != nil || string(b) != string(json) {
			t.Errorf("%s does not hold the appraisal: %v", d, err)
		}
	}
	r.lay("b", one) // an old disk
	r.pass(k)
	if r.there(one) != 0 {
		t.Error("a copy that came back is still there")
	}
	if got := strings.Count(string(*r.lines), `"type":"destroyed"`); got != 1 {
		t.Errorf("%d lines say destroyed", got)
	}
}

// TestAnotherManifest: what the appraisers did not see is not destroyed.
func TestAnotherManifest(t *testing.T) {
	r := newRig(t)
	k := r.keeper(nil)
	if _, err := k.Appraise(r.appraisal(one)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.root, "b/sessions", one, "manifest.json"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := k.Pass(t.Context()); err == nil || r.there(one) != 2 || k.End(one) != (End{}) {
		t.Errorf("%v, %d copies, %+v", err, r.there(one), k.End(one))
	}
}

// TestTwoPersons: in a room alone the second word must be another person's, and only what is due can be proposed.
func TestTwoPersons(t *testing.T) {
	r := newRig(t)
	k := r.keeper(nil)
	r.pass(k)
	manifest := func(id string) (string, string, error) {
		return evidence.DigestFile("", []byte("manifest of "+id)).SHA256, "某市监罚〔2026〕1号", nil
	}
	zhang, li := evidence.Approval{Login: "zhang", Name: "张某", Role: "auditor"}, evidence.Approval{Login: "li", Name: "李某", Role: "manager"}
	if _, err := k.Hold(Hold{Session: two, By: "张某", Reason: "诉讼"}); err != nil {
		t.Fatal(err)
	}
	r.pass(k)
	if _, err := k.Propose([]string{one, two}, "保存期满", zhang, "询问室三", manifest); !errors.Is(err, ErrNotDue) {
		t.Errorf("a held session can be proposed: %v", err)
	}
	d, err := k.Propose([]string{one}, "保存期满", zhang, "询问室三", manifest)
	if err != nil {
		t.Fatal(err)
	}
	k = r.keeper(nil) // a cut in between
	for _, p := range []evidence.Approval{zhang, {Login: "ZHANG", Name: "另一名"}, {Login: "other", Name: "张某"}} {
		if _, err := k.Approve(d.ID, p, r.cert, r.key); !errors.Is(err, ErrSame) {
			t.Errorf("approved by %+v: %v", p, err)
		}
	}
	if _, err := k.Approve(d.ID, li, r.cert, r.key); err != nil {
		t.Fatal(err)
	}
	r.pass(k)
	if r.there(one) != 0 || r.there(two) != 2 || len(k.Drafts()) != 0 || len(k.Appraisals()) != 1 {
		t.Errorf("%d and %d copies, %d drafts, %d appraisals", r.there(one), r.there(two), len(k.Drafts()), len(k.Appraisals()))
	}
}

// TestPowerCuts cuts the power after each call to the operating system and each line of the ledger, in a release and in
// a destruction, and starts again: nothing goes without its reason, no folder is half there, and in the end all is done.
func TestPowerCuts(t *testing.T) {
	for _, what := range []Do{Release, Destroy} {
		cuts := 0
		for n := 1; ; n += 1 + n/16 {
			r := newRig(t)
			if what == Release {
				r.free = 5
			}
			if err := r.Archived(one, "receipt"); err != nil {
				t.Fatal(err)
			}
			json, p7s := r.appraisal(one)
			left := n
			p, err := durabletest.NewReplay(r.root)
			if err != nil {
				t.Fatal(err)
			}
			l := &durabletest.Layer{Journal: true, Before: func(durabletest.Op) error {
				if left--; left < 0 {
					return errors.New("the power is gone")
				}
				return nil
			}}
			run := func(l durable.Layer) error {
				k, err := r.open(l)
				if err != nil {
					return err
				}
				if what == Destroy {
					if _, err := k.Appraise(json, p7s); err != nil {
						return err
					}
				}
				return k.Pass(t.Context())
			}
			if n%2 == 0 {
				r.fails = n / 2 % 3 // or the ledger is the last that was reached
			}
			err = run(l)
			over := err == nil
			p.Take(l.Changes())
			for more := true; more; {
				_, more = p.Step()
			}
			after := t.TempDir()
			if err := p.Cut(r.root, after, durabletest.Loss(n%3)); err != nil {
				t.Fatal(err)
			}
			r.root, r.fails = after, -1
			lines := string(*r.lines)
			for _, d := range []string{"a", "b"} {
				dir := filepath.Join(r.root, d, "sessions", one)
				if _, err := os.Stat(dir); err == nil {
					for _, f := range []string{"manifest.json", "face-00001.mp4", "tokens/anchor.json"} {
						if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
							t.Fatalf("%s, cut %d: half a session on disk %s: %v", what, n, d, err)
						}
					}
				} else if what == Release && !r.have[one] || what == Destroy && !strings.Contains(lines, `"type":"destroying"`) {
					t.Fatalf("%s, cut %d: a copy is gone without its reason", what, n)
				}
			}
			if r.there(two) != 2 {
				t.Fatalf("%s, cut %d: another session is touched", what, n)
			}
			if strings.Contains(lines, `"type":"destroyed"`) && (r.there(one) != 0 || r.have[one]) {
				t.Fatalf("%s, cut %d: destroyed, it says, and it is there", what, n)
			}
			for range 2 {
				if err := run(nil); err != nil {
					t.Fatalf("%s, cut %d: the next start: %v", what, n, err)
				}
			}
			if r.there(one) != 0 || what == Destroy == r.have[one] {
				t.Fatalf("%s, cut %d: after the next start %d copies are left, in the archive: %v", what, n, r.there(one), r.have[one])
			}
			for _, d := range []string{"a", "b"} {
				if e, _ := filepath.Glob(filepath.Join(r.root, d, "tmp", gonePrefix+"*")); len(e) != 0 {
					t.Fatalf("%s, cut %d: on disk %s is left %v", what, n, d, e)
				}
			}
			if over {
				break
			}
			if cuts++; n > 1000 {
				t.Fatal("it never ends")
			}
		}
		t.Logf("%s: %d cuts", what, cuts)
	}
}
