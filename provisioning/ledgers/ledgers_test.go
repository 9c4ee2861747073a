package ledgers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	agentledger "minglu/agent/ledger"
)

// board writes a real device ledger.
type board struct {
	t      *testing.T
	signer *evidence.Signer
	state  string
	l      *agentledger.Ledger
}

func newBoard(t *testing.T, key *ecdsa.PrivateKey) *board {
	t.Helper()
	s, err := evidence.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	b := &board{t: t, signer: s, state: t.TempDir()}
	up := time.Duration(0)
	b.l, _, err = agentledger.Open(agentledger.Options{State: b.state, Device: evidence.DeviceID(s.SPKI()), Signer: s, Boot: "b1", Log: slog.New(slog.DiscardHandler),
		Now: func() clock.Reading {
			up += time.Second
			return clock.Reading{T: time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC).Add(up), Up: up, Source: "test"}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.l.Close() })
	return b
}

func (b *board) device() string { return evidence.DeviceID(b.signer.SPKI()) }

// grow adds n lines, each with its sign line.
func (b *board) grow(n int) {
	b.t.Helper()
	for range n {
		if err := b.l.Access("20260301T020000Z-0123abcd", strings.Repeat("ab", 16)); err != nil {
			b.t.Fatal(err)
		}
	}
}

// lines returns all lines so far.
func (b *board) lines() []string {
	b.t.Helper()
	data, err := b.l.BytesFrom(0)
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func open(t *testing.T, dir string, known ...*board) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Log: slog.New(slog.DiscardHandler), Keys: func(d string) (keys []*ecdsa.PublicKey) {
		for _, b := range known {
			if b.device() == d {
				keys = append(keys, b.signer.Public())
			}
		}
		return keys
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestKept: what the office keeps is the device's file, byte for byte, over pieces, repeats and restarts.
func TestKept(t *testing.T) {
	b := newBoard(t, newKey(t))
	dir := filepath.Join(t.TempDir(), "ledgers")
	s := open(t, dir, b)
	origin := b.l.Origin()
	b.grow(20)
	all := b.lines()
	for from := 0; from < len(all); {
		have, err := s.Append(origin, int64(from), all[from:min(from+7, len(all))])
		if err != nil {
			t.Fatal(err)
		}
		if have <= int64(from) {
			t.Fatalf("from %d: have %d", from, have)
		}
		from = int(have)
	}
	b.grow(5)
	s = open(t, dir, b)                             // another process
	have, err := s.Append(origin, 3, b.lines()[3:]) // from before what is kept
	if err != nil || have != int64(len(b.lines())) {
		t.Fatalf("have %d of %d, %v", have, len(b.lines()), err)
	}
	master, err := b.l.BytesFrom(0)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, b.device(), b.l.Generation(), "log.jsonl"))
	if err != nil || !bytes.Equal(kept, master) {
		t.Errorf("kept %d bytes, the device has %d: not the same (%v)", len(kept), len(master), err)
	}
	origins, err := s.Origins()
	if err != nil || len(origins) != 1 || origins[0] != origin {
		t.Errorf("origins %v, %v", origins, err)
	}
	ref := b.l.Ref()
	if root, ok := s.SignedRoot(origin, ref.Size); !ok || root != ref.Root {
		t.Errorf("root at %d is %s, %v, want %s", ref.Size, root, ok, ref.Root)
	}
}

// TestProof: the proofs the office gives hold, also for lines that came after the tree was read in.
func TestProof(t *testing.T) {
	b := newBoard(t, newKey(t))
	s := open(t, t.TempDir(), b)
	var states []evidence.LedgerRef
	for range 6 {
		b.grow(3)
		states = append(states, b.l.Ref())
		if have, err := s.Have(b.l.Origin()); err != nil {
			t.Fatal(err)
		} else if _, err := s.Append(b.l.Origin(), have, b.lines()[have:]); err != nil {
			t.Fatal(err)
		}
		for _, older := range states {
			newest := b.l.Ref()
			if older.Size == 0 || older.Size == newest.Size {
				continue
			}
			proof, err := s.Proof(b.l.Origin(), older.Size, newest.Size)
			if err != nil {
				t.Fatal(err)
			}
			from, _ := evidence.ParseHash(older.Root)
			to, _ := evidence.ParseHash(newest.Root)
			if err := evidence.CheckConsistency(older.Size, newest.Size, from, to, proof); err != nil {
				t.Errorf("from %d to %d: %v", older.Size, newest.Size, err)
			}
		}
	}
	if _, err := s.Proof(b.l.Origin(), 1, b.l.Ref().Size+10); err == nil {
		t.Error("a proof over lines that are not kept")
	}
}

func TestRefused(t *testing.T) {
	key := newKey(t)
	b, other, stranger := newBoard(t, key), newBoard(t, key), newBoard(t, newKey(t))
	for _, x := range []*board{b, other, stranger} {
		x.grow(4)
	}
	good := b.lines()
	for _, c := range []struct {
		rule   string
		origin string
		from   int64
		lines  []string
		is     error
	}{
		{"lines of a device nobody knows", stranger.l.Origin(), 0, stranger.lines(), ErrUnknown},
		{"a name that is no ledger", "minglu/../../etc", 0, good, nil},
		{"a hole before them", b.l.Origin(), 6, good[6:], nil},
		{"another history of the same ledger", b.l.Origin(), 0, other.lines(), ErrDiffers},
		{"lines without a signature", b.l.Origin(), 4, good[4:5], nil},
		{"a signature over something else", b.l.Origin(), 4, []string{good[4], good[7]}, nil},
		{"what is no line", b.l.Origin(), 4, []string{"{}\n{}"}, nil},
		{"more at once than is taken", b.l.Origin(), 4, make([]string, MaxLines+1), nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, b)
			if have, err := s.Append(b.l.Origin(), 0, good[:4]); err != nil || have != 4 {
				t.Fatalf("have %d, %v", have, err)
			}
			have, err := s.Append(c.origin, c.from, c.lines)
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("answer %d, %v, want an error like %v", have, err, c.is)
			}
			if have, err := open(t, dir, b).Have(b.l.Origin()); err != nil || have != 4 {
				t.Errorf("kept then: %d, %v", have, err)
			}
		})
	}
}

// TestTornAppend: what a crash of the office left is set aside and asked for again.
func TestTornAppend(t *testing.T) {
	b := newBoard(t, newKey(t))
	b.grow(6)
	all := b.lines()
	for _, torn := range []string{"x", all[6], all[6] + "\n", all[6] + "\n" + all[7], all[6] + "\n" + all[7][:20] + "\n", strings.Repeat("\x00", 40)} {
		dir := t.TempDir()
		if _, err := open(t, dir, b).Append(b.l.Origin(), 0, all[:6]); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, b.device(), b.l.Generation(), "log.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(torn); err != nil {
			t.Fatal(err)
		}
		f.Close()
		s := open(t, dir, b)
		have, err := s.Have(b.l.Origin())
		if err != nil || have != 6 {
			t.Errorf("behind %q: have %d, %v", torn, have, err)
		}
		if have, err := s.Append(b.l.Origin(), have, all[have:]); err != nil || have != int64(len(all)) {
			t.Errorf("behind %q: sent again: %d, %v", torn, have, err)
		}
	}
}

// TestInventedLedgersAreForgotten: a device may ask after ledgers that are not there without filling the memory.
func TestInventedLedgersAreForgotten(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: t.TempDir(), Keys: func(string) []*ecdsa.PublicKey { return []*ecdsa.PublicKey{&key.PublicKey} }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b := newBoard(t, key)
	b.grow(3)
	lines, err := b.l.ReadLines(0, 100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 200 {
				origin := evidence.LedgerOrigin(b.device(), fmt.Sprintf("%016x", i))
				if n, err := s.Have(origin); n != 0 || err != nil {
					t.Errorf("Have() = %d, %v", n, err)
				}
				if _, err := s.Append(origin, 0, []string{"{}"}); err == nil {
					t.Error("an unsigned line is no ledger")
				}
				if _, err := s.Append(b.l.Origin(), 0, lines); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n, err := s.Have(b.l.Origin()); len(s.ledgers) != 1 || n < 4 || err != nil {
		t.Errorf("%d ledgers in memory, %d lines of the real one, %v", len(s.ledgers), n, err)
	}
}
