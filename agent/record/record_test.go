package record_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/record"
)

// check verifies a session folder as anybody would, and returns what was found.
func (r *room) check(disk, id string, exit int) evidence.Result {
	r.t.Helper()
	dir := filepath.Join(disk, "sessions", id)
	res := evidence.Verify(os.DirFS(dir), evidence.VerifyOptions{Path: dir, Trust: &evidence.Trust{Devices: []*x509.Certificate{r.dev.cert}}, Require: 1})
	if res.Exit != exit {
		log, _ := os.ReadFile(filepath.Join(dir, "log.jsonl"))
		r.t.Errorf("%s: exit %d, want %d: %+v\n%s", dir, res.Exit, exit, res, tail(log))
	}
	return res
}

func tail(b []byte) string {
	l := strings.Split(string(b), "\n")
	return strings.Join(l[max(0, len(l)-25):], "\n")
}

// read returns the lines of a session's log.
func (r *room) read(disk, id string) []evidence.Line {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(disk, "sessions", id, "log.jsonl"))
	if err != nil {
		r.t.Fatal(err)
	}
	return lines(r, b)
}

// kinds counts the lines of a log by type.
func (r *room) kinds(disk, id string) map[string]int {
	r.t.Helper()
	n := make(map[string]int)
	for _, l := range r.read(disk, id) {
		n[l.Type]++
	}
	return n
}

func (r *room) gaps(disk, id string) []evidence.Gap {
	r.t.Helper()
	var out []evidence.Gap
	for _, l := range r.read(disk, id) {
		if l.Type == "gap" {
			var g evidence.Gap
			if err := l.Decode(&g); err != nil {
				r.t.Fatal(err)
			}
			out = append(out, g)
		}
	}
	return out
}

func TestRecordAndSeal(t *testing.T) {
	cam, mic := get(t, camera), get(t, microphone)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 2, func(o *record.Options) { o.Segment = 2 * time.Second })
		s := r.open(sessionID, "face", "voice")
		zero := r.up()
		r.play(s, zero, part{ch: "face", clip: cam, to: 3 * time.Second, run: 1}, part{ch: "voice", clip: mic, to: 3 * time.Second, run: 1})
		// Readable while it is written.
		synctest.Wait()
		probe(t, filepath.Join(r.disks[0], "sessions", sessionID, "face-00002.mp4"))
		s.Note(evidence.Mark{At: s.Media(r.up()), Text: "重点", Who: "officer"})
		sealed := r.seal(s, "button")
		if sealed.Err != nil || len(sealed.Disks) != 2 || len(sealed.Failed) != 0 || sealed.Took > 10*time.Second {
			t.Fatalf("sealed: %+v\n%s", sealed, r.logs)
		}
		r.stop()
		var same []byte
		for _, d := range r.disks {
			dir := filepath.Join(d, "sessions", sessionID)
			frames := 0
			for _, f := range []string{"face-00001.mp4", "face-00002.mp4", "voice-00001.mp4", "voice-00002.mp4"} {
				frames += probe(t, filepath.Join(dir, f))
			}
			if want := 75 + 140 + 150; frames < want-5 || frames > want+5 {
				t.Errorf("%d frames on %s, want about %d", frames, d, want)
			}
			res := r.check(d, sessionID, 0)
			if len(res.Sessions) != 1 || res.Sessions[0].Grade != 1 {
				t.Errorf("result %+v", res)
			}
			log, err := os.ReadFile(filepath.Join(dir, "log.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			if same == nil {
				same = log
			} else if !bytes.Equal(same, log) {
				t.Error("the logs on the two disks differ")
			}
		}
		if k := r.kinds(r.disks[0], sessionID); k["segment.open"] != 4 || k["segment.close"] != 4 || k["gap"] != 0 || k["mark"] != 1 || k["seal"] != 1 || k["clock"] != 1 {
			t.Errorf("lines: %v", k)
		}
		calls := fmt.Sprint(r.ledger.calls)
		if calls != "[head head sealed]" {
			t.Errorf("ledger was told %s", calls)
		}
	})
}
