package recovery_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/record/recovery"
)

// TestGivenUp: a session was sealed on a disk that is dead for good; once a person has entered that, what the
// other disk holds gets an end and a seal of its own, and the verifier tells what was lost. Should the disk
// come back all the same, nothing is lost after all.
func TestGivenUp(t *testing.T) {
	for _, tt := range []struct {
		n     int  // batches on the disk that is left
		ended bool // the dead one had the session's own end, else it was recovered there after 5 batches
	}{{3, true}, {10, true}, {3, false}, {5, false}, {8, false}} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			w := tenCycles(t)
			dead, b := recovery.Disk{}, recovery.Disk{}
			if tt.ended {
				w.end()
				dead = w.disk("a", len(w.batches))
			} else {
				dead = w.disk("a", 5)
			}
			b = w.disk("b", tt.n)
			w.recover(dead)
			if it := w.recover(b); it.Outcome != recovery.Waiting {
				t.Fatalf("item %+v; want it to wait", it)
			}
			log, err := os.ReadFile(filepath.Join(folder(b), "log.jsonl"))
			must(t, err)
			dec, err := evidence.Decide(log, w.led.Origin()+"/"+session, &w.key.PublicKey)
			must(t, err)
			must(t, w.led.append(evidence.LostTail{Session: session, Size: dec.Size, Disk: "a", Cause: "broken (张三)"}))
			w.now.T = w.now.T.Add(1000 * time.Hour) // somebody decides late
			it := w.recover(b)
			if it.Outcome != recovery.Recovered || it.Err != nil || it.Cause != recovery.Lost {
				t.Fatalf("item %+v; want it recovered", it)
			}
			w.signed(b, tt.n)
			r := w.verifyAll(b)
			if r.Exit != 3 || !strings.Contains(brief(r), "lost with a disk, a person entered: broken") {
				t.Errorf("verify exits %d: %s", r.Exit, brief(r))
			}
			if end := r.Sessions[0].Spans[len(r.Sessions[0].Spans)-1].To; end > 7_000_000 { // ten batches are 5 s
				t.Errorf("the session ends at %d ms, after its seal", end/1000)
			}
			if rep := w.run(b); len(rep.Items) > 0 {
				t.Errorf("a second Run() = %+v", rep)
			}
			w.run(dead, b)
			for _, d := range []recovery.Disk{dead, b} {
				if r := w.verifyAll(d); r.Exit != 0 && r.Exit != 3 {
					t.Errorf("the disk came back; %s: verify exits %d: %s", d.ID, r.Exit, brief(r))
				}
				w.signed(d, tt.n)
			}
		})
	}
}
