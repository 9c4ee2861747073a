package uplink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/report"
)

// noSync is the real file system without waiting for the disk, for tests that open a thousand files.
type noSync struct{ durable.OS }

type noSyncFile struct{ durable.Handle }

func (noSyncFile) Sync() error     { return nil }
func (noSyncFile) Datasync() error { return nil }

func (noSync) SyncDir(string) error { return nil }
func (l noSync) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	h, err := l.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return noSyncFile{h}, nil
}

func filesIn(dir string, l durable.Layer) durable.Files {
	return durable.Files{Layer: l, Tmp: dir, Perm: 0o600}
}

// drafts makes messages whose body tells which they are.
func drafts(from, to int) (ds []draft) {
	for i := from; i <= to; i++ {
		b, _ := report.MarshalBody(report.SessionEvent{Session: fmt.Sprintf("s-%d", i), Reason: "一二三"})
		ds = append(ds, draft{time.Unix(int64(i), 0).UTC(), report.SessionPaused, b})
	}
	return ds
}

// says lists what the messages of an outbox tell, with their numbers.
func says(live []entry) (list []string) {
	for _, e := range live {
		var b report.SessionEvent
		if err := json.Unmarshal(e.Body, &b); err != nil {
			return []string{err.Error()}
		}
		list = append(list, fmt.Sprintf("%d:%s", e.N, b.Session))
	}
	return list
}

func want(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("%d:s-%d", i, i))
	}
	return list
}

func mustOpen(t *testing.T, dir string, l durable.Layer) *outbox {
	t.Helper()
	o, lost, err := openOutbox(filesIn(dir, l), dir, "room-1")
	if err != nil || lost != "" {
		t.Fatalf("open: lost %q, %v", lost, err)
	}
	return o
}

// TestCutAtEveryByte: whatever part of the file reached the disk, what was synced within it is there, the
// numbers go on behind it, and the id is the same.
func TestCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, dir, noSync{})
	type mark struct {
		size        int64
		last, acked int64
	}
	marks := []mark{{o.f.Size(), 0, 0}}
	step := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, mark{o.f.Size(), o.next - 1, o.acked})
	}
	step(o.add(drafts(1, 3)))
	step(o.ack(1))
	step(o.add(drafts(4, 4)))
	step(o.ack(4))
	step(o.add(drafts(5, 9)))
	id := o.id
	o.close()
	whole, err := os.ReadFile(o.name)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	for cut := range len(whole) + 1 {
		for _, tail := range [][]byte{nil, make([]byte, 37), []byte("0123456789abcdef {\"n\":7}\n")} {
			if err := os.WriteFile(filepath.Join(to, "outbox.log"), append(slices.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			o, lost, err := openOutbox(filesIn(to, noSync{}), to, "room-1")
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if int64(cut) < marks[0].size { // cannot happen by a cut: the head is made by rename
				if o.id == id || lost == "" || len(o.live) != 0 {
					t.Fatalf("cut at %d: id %s, lost %q, %q; want a new outbox", cut, o.id, lost, says(o.live))
				}
				o.close()
				continue
			}
			i := len(marks) - 1
			for marks[i].size > int64(cut) {
				i--
			}
			m := marks[i]
			if o.id != id || lost != "" || o.next-1 < m.last || o.acked < m.acked {
				t.Fatalf("cut at %d: id %s, lost %q, last %d acked %d; want %s, %d, %d", cut, o.id, lost, o.next-1, o.acked, id, m.last, m.acked)
			}
			if got, want := says(o.live), want(int(o.acked)+1, int(o.next)-1); !slices.Equal(got, want) {
				t.Fatalf("cut at %d: %q, want %q", cut, got, want)
			}
			next := int(o.next)
			if err := o.add(drafts(next, next)); err != nil {
				t.Fatal(err)
			}
			o.close()
			again := mustOpen(t, to, noSync{})
			if got, want := says(again.live), want(int(o.acked)+1, next); !slices.Equal(got, want) || again.id != id {
				t.Fatalf("cut at %d, then one more: %q, want %q", cut, got, want)
			}
			again.close()
		}
	}
}

// TestCutAfterEachCall: the power goes at each call to the system, and the disk keeps more or less of
// what was not synced.
func TestCutAfterEachCall(t *testing.T) {
	errCut := errors.New("cut")
	for calls := 0; ; calls++ {
		l, n := &durabletest.Layer{}, 0
		l.Before = func(durabletest.Op) error {
			if n++; n > calls {
				return errCut
			}
			return nil
		}
		dir := t.TempDir()
		id, last, told := "", int64(0), int64(0)
		finished := func() bool {
			o, _, err := openOutbox(filesIn(dir, l), dir, "room-1")
			if err != nil {
				return false
			}
			defer o.close()
			id = o.id
			for i := 1; i <= 6; i++ {
				if o.add(drafts(i, i)) != nil {
					return false
				}
				last = int64(i)
				if i == 3 {
					told = 2 // the office has it, whether the note survives or not
					if o.ack(2) != nil || o.rewrite() != nil {
						return false
					}
				}
			}
			return true
		}()
		for _, loss := range []durabletest.Loss{durabletest.LoseAll, durabletest.LoseNone, durabletest.LoseTorn, durabletest.LoseZero} {
			to := t.TempDir()
			if err := l.Cut(dir, to, loss); err != nil {
				t.Fatal(err)
			}
			o, lost, err := openOutbox(filesIn(to, noSync{}), to, "room-1")
			if err != nil || lost != "" {
				t.Fatalf("cut after %d calls, loss %d: lost %q, %v", calls, loss, lost, err)
			}
			if id != "" && (o.id != id || o.next <= last || o.acked > told) {
				t.Fatalf("cut after %d calls, loss %d: %s next %d acked %d; want %s, more than %d, at most %d", calls, loss, o.id, o.next, o.acked, id, last, told)
			}
			if got, want := says(o.live), want(int(o.acked)+1, int(o.next)-1); !slices.Equal(got, want) {
				t.Fatalf("cut after %d calls, loss %d: %q, want %q", calls, loss, got, want)
			}
			o.close()
		}
		if finished {
			if calls < 20 {
				t.Errorf("only %d calls were cut", calls)
			}
			return
		}
	}
}

func TestDamageBeginsAnotherOutbox(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(b []byte) []byte
		live   []string
	}{
		{"a damaged message in the middle: the others go on under new numbers", func(b []byte) []byte {
			return bytes.Replace(b, []byte("s-3"), []byte("s-x"), 1)
		}, []string{"1:s-2", "2:s-4", "3:s-5"}},
		{"a message is missing", func(b []byte) []byte {
			lines := bytes.SplitAfter(b, []byte("\n"))
			return bytes.Join(slices.Delete(lines, 4, 5), nil)
		}, []string{"1:s-2", "2:s-3", "3:s-5"}},
		{"the head is damaged", func(b []byte) []byte { b[12] ^= 1; return b }, []string{"1:s-2", "2:s-3", "3:s-4", "4:s-5"}},
		{"another device's outbox", func(b []byte) []byte {
			return append(seal(head{"0123456789abcdef", "room-2", 1}), b[bytes.IndexByte(b, '\n')+1:]...)
		}, []string{"1:s-2", "2:s-3", "3:s-4", "4:s-5"}},
		{"nothing of it can be read", func([]byte) []byte { return []byte("\x00\x00\n\n") }, nil},
		{"it is empty", func([]byte) []byte { return nil }, nil},
		{"a line of a later version", func(b []byte) []byte { return append(b, seal(map[string]int{"later": 1})...) }, []string{"1:s-2", "2:s-3", "3:s-4", "4:s-5"}},
		{"a line that is no object", func(b []byte) []byte { return append(b, seal(7)...) }, []string{"1:s-2", "2:s-3", "3:s-4", "4:s-5"}},
	} {
		dir := t.TempDir()
		o := mustOpen(t, dir, noSync{})
		if err := errors.Join(o.add(drafts(1, 4)), o.ack(1), o.add(drafts(5, 5))); err != nil {
			t.Fatal(err)
		}
		o.close()
		b, err := os.ReadFile(o.name)
		if err != nil {
			t.Fatal(err)
		}
		b = tt.change(b)
		if err := os.WriteFile(o.name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		again, lost, err := openOutbox(filesIn(dir, noSync{}), dir, "room-1")
		if err != nil || lost == "" {
			t.Errorf("%s: lost %q, %v", tt.rule, lost, err)
			continue
		}
		if again.id == o.id || !slices.Equal(says(again.live), tt.live) {
			t.Errorf("%s: id %s, %q; want another than %s, %q", tt.rule, again.id, says(again.live), o.id, tt.live)
		}
		again.close()
		if aside, err := os.ReadFile(o.name + ".damaged"); err != nil || !bytes.Equal(aside, b) {
			t.Errorf("%s: what was there is not kept: %v", tt.rule, err)
		}
		third := mustOpen(t, dir, noSync{})
		if third.id != again.id || !slices.Equal(says(third.live), tt.live) {
			t.Errorf("%s: it is not mended: %s %q", tt.rule, third.id, says(third.live))
		}
		third.close()
	}
}

func TestFileStaysShort(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, dir, noSync{})
	defer o.close()
	var most int64
	for i := 1; i <= 5000; i++ {
		if err := errors.Join(o.add(drafts(i, i)), o.ack(int64(i-3))); err != nil {
			t.Fatal(err)
		}
		most = max(most, o.f.Size())
	}
	if most > compactAbove+2048 {
		t.Errorf("the file grew to %d bytes with 3 messages waiting", most)
	}
	again := mustOpen(t, dir, noSync{})
	defer again.close()
	if got := says(again.live); !slices.Equal(got, want(4998, 5000)) || again.next != 5001 {
		t.Errorf("holds %q, next %d", got, again.next)
	}
	if st, err := os.Stat(o.name); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("messages name people, but the file is %v %v", st.Mode(), err)
	}
}

func TestFailedWriteIsMendedWithoutHoleOrDouble(t *testing.T) {
	for _, verb := range []string{"write", "datasync"} {
		dir, fail := t.TempDir(), false
		l := &durabletest.Layer{}
		l.Before = func(op durabletest.Op) error {
			if fail && op.Verb == verb && strings.HasSuffix(op.Name, "outbox.log") {
				return errors.New("input/output error")
			}
			return nil
		}
		o := mustOpen(t, dir, l)
		if err := o.add(drafts(1, 2)); err != nil {
			t.Fatal(err)
		}
		fail = true
		if o.add(drafts(3, 3)) == nil {
			t.Errorf("%s: add did not notice", verb)
		}
		fail = false
		if o.add(drafts(3, 3)) == nil {
			t.Errorf("%s: add went on without rewrite", verb)
		}
		if err := errors.Join(o.rewrite(), o.add(drafts(3, 4))); err != nil {
			t.Fatal(err)
		}
		o.close()
		again := mustOpen(t, dir, noSync{})
		if got := says(again.live); !slices.Equal(got, want(1, 4)) || again.id != o.id {
			t.Errorf("%s: holds %q of %s, want 1 to 4 of %s", verb, got, again.id, o.id)
		}
		again.close()
	}
}

func FuzzOutbox(f *testing.F) {
	dir := f.TempDir()
	o, _, err := openOutbox(filesIn(dir, noSync{}), dir, "room-1")
	if err != nil || o.add(drafts(1, 3)) != nil || o.ack(1) != nil {
		f.Fatal(err)
	}
	o.close()
	b, _ := os.ReadFile(o.name)
	f.Add(b)
	f.Add(append(slices.Clone(b), seal(map[string]any{"n": -1, "ack": int64(1) << 60})...))
	f.Add(append(seal(head{"x", "room-1", 1 << 62}), seal(ackLine{5})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := &outbox{device: "room-1"}
		good, damage := o.read(b)
		if good < 0 || good > len(b) {
			t.Fatalf("good %d of %d", good, len(b))
		}
		if damage != "" {
			return
		}
		for i, e := range o.live {
			if e.N != o.next-int64(len(o.live)-i) {
				t.Fatalf("undamaged, but message %d of %d has number %d, next is %d", i, len(o.live), e.N, o.next)
			}
		}
	})
}
