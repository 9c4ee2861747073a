package notary

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// witness is one party that cosigns, with what it holds of this ledger as far as is known.
type witness struct {
	name string
	show func(ctx context.Context, ck evidence.Checkpoint, old int64, proof []evidence.Hash) (answer, error)
	old  int64
	off  bool // its last answer was that it is none (errUnwanted)
}

// answer is what a witness says: lines, or the state it holds.
type answer struct {
	lines    []string
	held     int64  // 0: it tells none
	root     string // base64, "" if it does not tell
	conflict bool   // the checkpoint does not continue what it holds
}

// errConflict: the witness holds a history that is not this ledger's.
var errConflict = errors.New("it holds another history of this device: the device's memory was set back, or somebody else uses its key")

func (n *Notary) allWitnesses() (list []*witness) {
	if n.o.Office != nil && n.o.Witness {
		list = append(list, &witness{name: "office", show: n.showOffice})
	}
	for _, w := range n.o.Witnesses {
		list = append(list, &witness{name: w.Name, show: func(ctx context.Context, ck evidence.Checkpoint, old int64, proof []evidence.Hash) (answer, error) {
			return showDirectly(ctx, w, ck, old, proof)
		}})
	}
	return list
}

// cosign shows the checkpoint to all witnesses at once and returns the lines that hold. An error means
// that there is none.
func (n *Notary) cosign(ctx context.Context, ck evidence.Checkpoint) ([]string, error) {
	got, errs := make([][]string, len(n.witnesses)), make([]error, len(n.witnesses))
	var wg sync.WaitGroup
	for i, w := range n.witnesses {
		wg.Go(func() {
			got[i], errs[i] = n.cosignBy(ctx, w, ck)
			if errs[i] == nil || errors.Is(errs[i], errUnwanted) {
				w.off = errs[i] != nil
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", w.name, errs[i])
			}
		})
	}
	wg.Wait()
	var lines []string
	for _, g := range got {
		lines = append(lines, g...)
	}
	err := errors.Join(errs...)
	if errors.Is(err, errConflict) {
		n.inConflict(err)
	}
	if len(lines) == 0 {
		return nil, err
	}
	if err != nil {
		n.failed("witness", err)
	}
	return lines[:min(len(lines), maxCosigs)], nil
}

// witnessesOff reports whether no witness is set up to be one.
func (n *Notary) witnessesOff() bool {
	return len(n.witnesses) > 0 && !slices.ContainsFunc(n.witnesses, func(w *witness) bool { return !w.off })
}

// cosignBy shows the checkpoint to one witness. What the witness turns out to hold is tried once more
// with the proof from there.
func (n *Notary) cosignBy(ctx context.Context, w *witness, ck evidence.Checkpoint) ([]string, error) {
	for try := 0; ; try++ {
		w.old = min(w.old, ck.Size)
		proof, err := n.o.Ledger.Consistency(w.old, ck.Size)
		if err != nil {
			return nil, err
		}
		one, cancel := context.WithTimeout(ctx, askWitness)
		a, err := w.show(one, ck, w.old, proof)
		cancel()
		if err != nil {
			return nil, err
		}
		if len(a.lines) > 0 {
			w.old = ck.Size
			return n.good(ck, a.lines)
		}
		if a.held == 0 && !a.conflict {
			w.old = 0
			if try > 0 {
				return nil, errors.New("it answers without a cosignature")
			}
			continue
		}
		if a.conflict && a.root == "" && try > 0 { // it got the proof from what it holds
			a.root = "another"
		}
		if a.held == 0 {
			a.held = max(w.old, 1)
		}
		conflict, err := n.o.Ledger.WitnessHolds(a.held, a.root)
		switch {
		case err != nil:
			return nil, err
		case conflict:
			return nil, errConflict
		case a.held > ck.Size || try > 0:
			w.old = 0
			return nil, fmt.Errorf("it holds %d entries and does not cosign %d", a.held, ck.Size)
		}
		w.old = a.held
	}
}

// good leaves out lines that are false. Those of witnesses nobody here knows are kept: whoever knows the
// witness can judge them.
func (n *Notary) good(ck evidence.Checkpoint, lines []string) (kept []string, err error) {
	for _, line := range lines {
		c, lerr := evidence.ParseCosignature(line)
		for _, w := range n.o.Trust().Witnesses {
			if lerr != nil {
				break
			}
			if _, lerr = w.Verify(ck.Text(), line); errors.Is(lerr, evidence.ErrUntrusted) {
				lerr = nil
			}
		}
		if lerr != nil {
			err = errors.Join(err, lerr)
			continue
		}
		n.o.Log.Debug("cosigned", "witness", c.Witness, "size", ck.Size)
		kept = append(kept, line)
	}
	if len(kept) > 0 {
		return kept, nil
	}
	return nil, err
}

func (n *Notary) inConflict(err error) {
	n.mu.Lock()
	n.plan.conflict = true
	n.mu.Unlock()
	n.o.Log.Error("a witness refuses this device's ledger; it begins anew at the next start", "err", err)
	n.o.Fault(FaultConflict, true)
}

// showOffice sends the checkpoint over MQTT and waits for the office's word on it.
func (n *Notary) showOffice(ctx context.Context, ck evidence.Checkpoint, old int64, proof []evidence.Hash) (answer, error) {
	if !n.isOnline() {
		return answer{}, errOffline
	}
	m := report.Checkpoint{Device: n.o.Device, T: n.o.Now().T, Origin: ck.Origin, Old: old, Size: ck.Size, Root: ck.Root.String(), Note: ck.Note()}
	for _, h := range proof {
		m.Proof = append(m.Proof, h.String())
	}
	select {
	case <-n.answers: // of a round that did not wait for it
	default:
	}
	n.mu.Lock()
	n.asked = ck.Size
	n.mu.Unlock()
	if err := n.o.Office(m); err != nil {
		return answer{}, err
	}
	for {
		select {
		case <-ctx.Done():
			return answer{}, fmt.Errorf("no answer within %v", askWitness)
		case c := <-n.answers:
			if c.Size != ck.Size {
				continue
			}
			a := answer{lines: c.Lines, conflict: c.Conflict}
			if c.Held != nil {
				a.held, a.root = c.Held.Size, c.Held.Root
			}
			if len(a.lines) == 0 && a.held == 0 && c.Refused != "" && c.Refused != "held" { // "held" alone: it holds nothing
				if c.Refused == "unconfigured" {
					return answer{}, errUnwanted
				}
				return answer{}, fmt.Errorf("the office's witness refuses: %q", c.Refused)
			}
			return a, nil
		}
	}
}

// showDirectly is add-checkpoint of C2SP tlog-witness.
func showDirectly(ctx context.Context, w WitnessAt, ck evidence.Checkpoint, old int64, proof []evidence.Hash) (answer, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n" + ck.Note())
	status, kind, body, err := w.Add(ctx, b.Bytes())
	if err != nil {
		return answer{}, err
	}
	switch status {
	case http.StatusOK:
		var a answer
		for line := range strings.Lines(string(body)) {
			a.lines = append(a.lines, strings.TrimSuffix(line, "\n"))
		}
		return a, nil
	case http.StatusConflict:
		if strings.HasPrefix(kind, "text/x.tlog.size") {
			held, err := strconv.ParseInt(strings.TrimSuffix(string(body), "\n"), 10, 64)
			if err != nil || held < 0 {
				return answer{}, errors.New("the size it holds cannot be read")
			}
			return answer{held: held}, nil
		}
	case http.StatusUnprocessableEntity:
		return answer{held: old, conflict: true}, nil
	case http.StatusForbidden, http.StatusNotFound:
		return answer{}, fmt.Errorf("it does not know this device (%d): give it the device's key", status)
	}
	return answer{}, fmt.Errorf("it answers %d", status)
}
