package lists

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
)

const (
	market = "11110000MA01AAAA0D"
	health = "11110000MA01BBBB0X"
)

func lists(t *testing.T, title string) (report.Lists, []byte) {
	t.Helper()
	at := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	l := report.Lists{Device: "room-3", T: at,
		Bodies: []report.ListBody{{Name: "市场监管局", USCC: market}, {Name: "卫健委", USCC: health}},
		Officers: []report.ListOfficer{{Name: "王某", Credential: "A1", Body: market, From: "2024-01-01", To: "2026-11-23"},
			{Name: "李某", Credential: "A2", Body: market, From: "2026-11-24"}, {Name: "赵某", Credential: "B1", Body: health}},
		Matters: []report.ListMatter{{ID: "ask", Version: "1", Name: "询问", Kind: report.MatterInterview, Retention: report.Retention{Kind: report.KeepMonths, Months: 6}, Retired: true},
			{ID: "ask", Version: "2", Name: "询问", Kind: report.MatterInterview, Retention: report.Retention{Kind: report.KeepWithCase}},
			{ID: "hear", Version: "1", Name: "听证", Kind: report.MatterHearing, Body: market, Retention: report.Retention{Kind: report.KeepPermanently}}},
		Bookings: []report.Booking{{ID: "late", Body: market, From: at.Add(4 * time.Hour), To: at.Add(5 * time.Hour)}, {ID: "soon", Body: market, From: at.Add(-time.Hour), To: at.Add(time.Hour)},
			{ID: "over", Body: market, From: at.Add(-2 * time.Hour), To: at}},
		Cases: []report.ListCase{{Case: "并市监罚〔2026〕12号", Body: market, Title: title}, {Case: "旧", Body: market, Closed: "2025-01-01"}}}
	l.Version = l.Digest()
	b, err := report.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return l, b
}

// book is one that runs; pass lets time go on.
func book(t *testing.T, dir string, changed *int) (b *Book, pass func(time.Duration)) {
	b = Open(Options{Path: filepath.Join(dir, "lists.json"), Device: "room-3", Files: durable.In(dir), Changed: func() { *changed++ }})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = b.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return b, func(d time.Duration) { time.Sleep(d); synctest.Wait() }
}

func TestListsOutliveTheProgramAndAreFoundByHand(t *testing.T) {
	dir, changed := t.TempDir(), 0
	one, raw := lists(t, "一")
	two, raw2 := lists(t, "二")
	synctest.Test(t, func(t *testing.T) {
		b, pass := book(t, dir, &changed)
		if b.Version() != "" || len(b.Bodies()) != 0 {
			t.Errorf("a new room holds %q", b.Version())
		}
		b.Receive([]byte("{}"))
		pass(time.Second)
		b.Receive(raw)
		pass(time.Second)
		b.Receive(raw)
		pass(time.Second)
		if b.Version() != one.Version || changed != 1 {
			t.Errorf("version %q after %d changes, want %q after one", b.Version(), changed, one.Version)
		}
		b.Receive(raw2)
		b.Receive(raw) // the newest holds
		pass(time.Second)
		if b.Version() != one.Version {
			t.Errorf("version %q, want that of the last message", b.Version())
		}
		other := one
		other.Device = "room-4"
		other.Version = other.Digest()
		foreign, err := report.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		b.Receive(foreign)
		b.Receive(foreign)
		pass(time.Second)
		if b.Version() != one.Version {
			t.Error("lists of another device were taken")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b, pass := book(t, dir, &changed)
		if b.Version() != one.Version {
			t.Errorf("after a restart %q is held, want %q", b.Version(), one.Version)
		}
		for _, x := range []struct {
			rule string
			raw  []byte
			want string
		}{{"a file put in place by hand", raw2, two.Version}, {"a damaged one", raw2[:100], two.Version}, {"none any more", nil, two.Version}} {
			err := os.Remove(filepath.Join(dir, "lists.json"))
			if x.raw != nil {
				err = os.WriteFile(filepath.Join(dir, "lists.json"), x.raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			pass(Reread + time.Second)
			if b.Version() != x.want {
				t.Errorf("%s: version %q, want %q", x.rule, b.Version(), x.want)
			}
		}
	})
}

func TestLookups(t *testing.T) {
	dir := t.TempDir()
	l, raw := lists(t, "题")
	if err := os.WriteFile(filepath.Join(dir, "lists.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b := Open(Options{Path: filepath.Join(dir, "lists.json"), Device: "room-3"})
	names := func(list []report.ListOfficer) (s string) {
		for _, o := range list {
			s += o.Name
		}
		return s
	}
	ids := func(list []report.ListMatter) (s string) {
		for _, m := range list {
			s += m.ID + m.Version + " "
		}
		return s
	}
	for _, x := range []struct{ rule, got, want string }{
		{"on the last day of a credential", names(b.Officers(market, "2026-11-23")), "王某"},
		{"on the first day of one", names(b.Officers(market, "2026-11-24")), "李某"},
		{"one without limits", names(b.Officers("", "1999-01-01")), "赵某"},
		{"any day", names(b.Officers(market, "")), "王某李某"},
		{"matters of a body and of all", ids(b.Matters(market, "")), "ask2 hear1 "},
		{"of one kind", ids(b.Matters(market, report.MatterHearing)), "hear1 "},
		{"not those of another body", ids(b.Matters(health, "")), "ask2 "},
		{"a closed case is not offered", b.Cases(market)[0].Case, "并市监罚〔2026〕12号"},
	} {
		if x.got != x.want {
			t.Errorf("%s: %q, want %q", x.rule, x.got, x.want)
		}
	}
	if m, ok := b.Matter("ask"); !ok || m.Version != "2" {
		t.Errorf("the matter that holds: %+v", m)
	}
	if m, ok := b.MatterVersion("ask", "1"); !ok || m.Retention.Months != 6 {
		t.Errorf("the version of an older session: %+v", m)
	}
	if _, ok := b.Matter("no"); ok {
		t.Error("a matter nobody knows was found")
	}
	at := b.Bookings(l.T)
	if len(at) != 2 || at[0].ID != "soon" || at[1].ID != "late" {
		t.Errorf("bookings: %+v, want the one that runs, then the next; one that has ended is over", at)
	}
	for _, scanned := range []string{"并市监罚〔2026〕12号", "并市监罚[2026]12号", "并市监罚（2026） 12号", "并市监罚(2026)12号"} {
		if c, ok := b.Case(scanned); !ok || c.Title != "题" {
			t.Errorf("case %q is not found", scanned)
		}
	}
	if _, ok := b.Case("并市监罚〔2026〕1号"); ok {
		t.Error("a part of a case number was found")
	}
	if _, ok := b.Body(health); !ok {
		t.Error("the second body is not found")
	}
	if o, ok := b.Officer("A2"); !ok || o.Name != "李某" {
		t.Errorf("officer A2: %+v", o)
	}
	if x, ok := b.Booking("over"); !ok || x.Body != market {
		t.Errorf("booking over: %+v", x)
	}
}
