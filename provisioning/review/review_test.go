package review

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func refs(n int) (list []Ref) {
	for i := range n {
		list = append(list, Ref{fmt.Sprintf("room-%d", i%7), fmt.Sprintf("20261123T%06dZ-00000000", i)})
	}
	return list
}

// TestADrawIsDecidedByItsSeed: the same seed draws the same, in whatever order the sessions stand; all have the same chance.
func TestADrawIsDecidedByItsSeed(t *testing.T) {
	of := refs(200)
	one := Draw(of, 10, "第 2026-137 期")
	mixed := slices.Clone(of)
	slices.Reverse(mixed)
	if again := Draw(mixed, 10, "第 2026-137 期"); !slices.Equal(one, again) || len(one) != 10 {
		t.Errorf("drawn %v, then %v", one, again)
	}
	if other := Draw(of, 10, "第 2026-138 期"); slices.Equal(one, other) {
		t.Error("another seed draws the same")
	}
	// SHA-256 of "7\nroom-0\na" begins c6, of "7\nroom-0\nb" with e4: fixed for ever, so that old draws can be made again.
	if got := Draw([]Ref{{"room-0", "a"}, {"room-0", "b"}}, 1, "7"); got[0].Session != "a" {
		t.Errorf("drawn %v, want %s", got, "a")
	}
	if Digest(of) != Digest(mixed) || Digest(of) == Digest(of[1:]) {
		t.Error("the digest is not of the set")
	}
	count := map[Ref]int{}
	const draws = 2000
	for seed := range draws {
		for _, r := range Draw(of, 20, fmt.Sprint(seed)) {
			count[r]++
		}
	}
	// 2000 draws of a tenth: 200 each, standard deviation √(2000·0.1·0.9) = 13.4; six of them.
	for r, n := range count {
		if math.Abs(float64(n)-200) > 80 {
			t.Errorf("%v was drawn %d times of %d, want about 200", r, n, draws)
		}
	}
	if len(count) != len(of) {
		t.Errorf("%d of %d were ever drawn", len(count), len(of))
	}
}

func TestAReviewIsKept(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Make(Order{By: "审计", Of: refs(30), N: 3, From: noon.AddDate(-1, 0, 0), Until: noon})
	if err != nil || len(r.Seed) != 16 || len(r.Sample) != 3 || r.Of != 30 || r.ID != "20261125-1" {
		t.Fatalf("%+v, %v", r, err)
	}
	if second, err := b.Make(Order{By: "审计", Of: refs(30), N: 99, Seed: "x"}); err != nil || len(second.Sample) != 30 || second.ID != "20261125-2" {
		t.Errorf("%+v, %v", second, err)
	}
	first := r.Sample[0].Ref
	if r, err = b.Score(r.ID, first, "审计", map[string]int{"whole": 20, "notice": 5}, "缺少告知"); err != nil || r.Sample[0].Scores[0].Total != 83 {
		t.Errorf("25 of 30 points: %+v, %v", r.Sample[0], err)
	}
	if r, err = b.Score(r.ID, first, "督察", map[string]int{"whole": 10}, ""); err != nil || len(r.Sample[0].Scores) != 2 {
		t.Errorf("a second score: %+v, %v", r.Sample[0], err)
	}
	b, err = Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.List(10)
	if err != nil || len(list) != 2 || list[0].ID != "20261125-2" || list[1].Sample[0].Scores[0].By != "审计" {
		t.Errorf("after a restart: %+v, %v", list, err)
	}
	if n, mean := list[1].Scored(); n != 1 || mean != 50 {
		t.Errorf("%d scored, mean %v: the last score holds", n, mean)
	}
	var refused *Refused
	for _, x := range []struct {
		rule string
		do   func() error
		want func(error) bool
	}{
		{"none", func() error { _, err := b.Make(Order{Of: refs(3)}); return err }, func(err error) bool { return errors.As(err, &refused) }},
		{"too many", func() error { _, err := b.Make(Order{Of: refs(3), N: MaxSample + 1}); return err }, func(err error) bool { return errors.As(err, &refused) }},
		{"of nothing", func() error { _, err := b.Make(Order{N: 3}); return err }, func(err error) bool { return errors.As(err, &refused) }},
		{"a long seed", func() error {
			_, err := b.Make(Order{N: 3, Of: refs(3), Seed: strings.Repeat("x", 65)})
			return err
		}, func(err error) bool { return errors.As(err, &refused) }},
		{"too many points", func() error { _, err := b.Score(r.ID, first, "x", map[string]int{"whole": 21}, ""); return err }, func(err error) bool { return errors.As(err, &refused) }},
		{"less than none", func() error { _, err := b.Score(r.ID, first, "x", map[string]int{"whole": -1}, ""); return err }, func(err error) bool { return errors.As(err, &refused) }},
		{"an item nobody knows", func() error { _, err := b.Score(r.ID, first, "x", map[string]int{"whole": 1, "x": 1}, ""); return err }, func(err error) bool { return errors.As(err, &refused) }},
		{"no points", func() error { _, err := b.Score(r.ID, first, "x", nil, "note"); return err }, func(err error) bool { return errors.As(err, &refused) }},
		{"a session that was not drawn", func() error {
			_, err := b.Score(r.ID, Ref{"a", "b"}, "x", map[string]int{"whole": 1}, "")
			return err
		}, func(err error) bool { return errors.Is(err, ErrNotFound) }},
		{"no such review", func() error { _, err := b.Get("20261125-9"); return err }, func(err error) bool { return errors.Is(err, ErrNotFound) }},
		{"a path", func() error { _, err := b.Get("../registry"); return err }, func(err error) bool { return errors.Is(err, ErrNotFound) }},
	} {
		if err := x.do(); !x.want(err) {
			t.Errorf("%s: %v", x.rule, err)
		}
	}
	sum := 0
	for _, it := range Items() {
		sum += it.Max
	}
	if sum != 100 {
		t.Errorf("the sheet has %d points, want 100", sum)
	}
}
