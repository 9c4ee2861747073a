package ledger

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
)

const testDevice = "00112233445566778899aabbccddeeff"

func testSigner(t testing.TB) *evidence.Signer {
	t.Helper()
	d := sha256.Sum256([]byte("minglu test key 1"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		t.Fatal(err)
	}
	s, err := evidence.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testClock advances a millisecond with each reading.
func testClock() func() clock.Reading {
	var mu sync.Mutex
	up := time.Duration(0)
	return func() clock.Reading {
		mu.Lock()
		defer mu.Unlock()
		up += time.Millisecond
		return clock.Reading{T: time.Unix(1764031474, 0).Add(up), Error: 1500 * time.Nanosecond, Source: "chrony", Up: up, Epoch: 1}
	}
}

func testSessionLog(t testing.TB) (*SessionLog, *evidence.Signer) {
	s := testSigner(t)
	return NewSessionLog(LogOptions{Origin: "minglu/x/y/z", Signer: s, Now: testClock()}), s
}

func TestSessionLog(t *testing.T) {
	l, s := testSessionLog(t)
	if size, _, err := l.Sign(); size != 0 || err != nil || l.Take() != nil {
		t.Fatalf("signing an empty log adds something: %d, %v", size, err)
	}
	frag := &evidence.Fragment{Ch: "face", Samples: []int64{1}}
	for i, v := range []any{
		evidence.Open{V: 1}, frag, evidence.SegmentOpen{Ch: "face"}, frag, evidence.Mark{}, frag,
		evidence.Pause{Common: evidence.Common{Type: "pause"}}, evidence.Fragment{Common: evidence.Common{Type: "recovered"}},
	} {
		seq, line, err := l.Append(v)
		if err != nil || seq != int64(i) {
			t.Fatalf("Append(%T) = %d, %v", v, seq, err)
		}
		p, err := evidence.ParseLine(line)
		if err != nil || p.Seq != seq || p.T == 0 || p.TE != 2 || p.Up != int64(i+1)*1000 || (p.Salt == "") != (p.Type == "fragment") {
			t.Errorf("%T: %s, %v", v, line, err)
		}
		if p.Type == "fragment" || p.Type == "recovered" {
			var f evidence.Fragment
			if err := p.Decode(&f); err != nil {
				t.Fatal(err)
			}
			if want := map[int64]int64{1: -1, 3: 2, 5: 2, 7: 6}[seq]; f.St != want {
				t.Errorf("st of line %d is %d, want %d", seq, f.St, want)
			}
		}
	}
	if frag.Seq != 0 || frag.Type != "" {
		t.Error("Append changed what it was given")
	}
	size, root, err := l.Sign()
	if again, _, _ := l.Sign(); size != 8 || err != nil || again != size || l.Size() != 9 {
		t.Errorf("Sign() = %d, %v, then %d; %d lines", size, err, again, l.Size())
	}
	b := l.Take()
	d, err := evidence.Decide(b, l.Origin(), s.Public())
	if err != nil || d.Size != size || d.Root != root || d.End != int64(len(b)) || l.Bytes() != d.End {
		t.Errorf("Decide() = %+v, %v", d, err)
	}
	if size2, root2 := l.Signed(); size2 != size || root2 != root {
		t.Errorf("Signed() = %d, %v", size2, root2)
	}
}

func TestStPointsToTheLastLineThatExplainsTheTimeline(t *testing.T) {
	l, _ := testSessionLog(t)
	typed := func(s string) evidence.Pause { return evidence.Pause{Common: evidence.Common{Type: s}} }
	for _, v := range []any{
		evidence.SegmentOpen{}, typed("pause"), typed("resume"), evidence.Gap{}, evidence.Clock{}, evidence.SegmentClose{},
	} {
		want, _, err := l.Append(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []any{nil, evidence.Details{}, evidence.Anchor{}} {
			if other != nil {
				if _, _, err := l.Append(other); err != nil {
					t.Fatal(err)
				}
			}
			_, line, err := l.Append(evidence.Fragment{})
			if err != nil || !bytes.Contains(line, fmt.Appendf(nil, `"st":%d,`, want)) {
				t.Errorf("after %T and %T: %s, %v; want st %d", v, other, line, err, want)
			}
		}
	}
}

func TestSessionLogRefusesAndIsUnchanged(t *testing.T) {
	l, _ := testSessionLog(t)
	for _, v := range []any{
		evidence.Pause{}, 3, evidence.Body{}, evidence.Mark{Text: string(make([]byte, 20000))},
		evidence.Mark{At: 1 << 53}, evidence.Mark{Common: evidence.Common{Type: "sign"}},
	} {
		if _, _, err := l.Append(v); err == nil || l.Size() != 0 || l.Take() != nil {
			t.Errorf("Append(%T) = %v; %d lines", v, err, l.Size())
		}
	}
}

func TestUptimeNeverFalls(t *testing.T) {
	ups := []time.Duration{5 * time.Second, 4 * time.Second, 6 * time.Second}
	i := -1
	l := NewSessionLog(LogOptions{Origin: "o", Signer: testSigner(t), Now: func() clock.Reading {
		i++
		return clock.Reading{T: time.Unix(0, 0), Error: -1, Up: ups[i]}
	}})
	for _, want := range []int64{5e6, 5e6, 6e6} {
		_, line, err := l.Append(evidence.Mark{})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := evidence.ParseLine(line); err != nil || p.Up != want || p.TE != -1 {
			t.Errorf("%s, %v; want up %d", line, err, want)
		}
	}
}

func TestSessionLogConcurrently(t *testing.T) {
	l, s := testSessionLog(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, _, err := l.Append(evidence.Mark{}); err != nil {
					t.Error(err)
				}
				if _, _, err := l.Sign(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b := l.Take()
	if d, err := evidence.Decide(b, l.Origin(), s.Public()); err != nil || d.End != int64(len(b)) || bytes.Count(b, []byte(`"type":"mark"`)) != 160 {
		t.Errorf("Decide() = %+v, %v", d, err)
	}
}

func BenchmarkAppendFragment(b *testing.B) {
	l, _ := testSessionLog(b)
	f := evidence.Fragment{Ch: "face", Head: string(bytes.Repeat([]byte("a"), 64)), Body: string(bytes.Repeat([]byte("b"), 64)), Samples: []int64{12, 25}}
	for b.Loop() {
		if _, _, err := l.Append(f); err != nil {
			b.Fatal(err)
		}
		l.Take()
	}
}

func BenchmarkSign(b *testing.B) {
	l, _ := testSessionLog(b)
	for b.Loop() {
		if _, _, err := l.Append(evidence.Seal{}); err != nil {
			b.Fatal(err)
		}
		if _, _, err := l.Sign(); err != nil {
			b.Fatal(err)
		}
		l.Take()
	}
}
