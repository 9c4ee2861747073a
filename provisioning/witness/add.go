package witness

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"minglu/agent/evidence"
)

// Request is what a ledger shows: add-checkpoint of C2SP tlog-witness.
type Request struct {
	Old   int64           // the size the sender believes to be held; 0: none
	Proof []evidence.Hash // RFC 6962 2.1.2, from Old to the size of the note
	Note  string          // signed by the device
}

// Limits of a request.
const (
	maxProof = 63
	maxNote  = 8 << 10 // bytes
	maxSigs  = 16      // signature lines of a note
)

// Refusal is why a checkpoint was not cosigned.
type Refusal struct {
	Status int   // of HTTP, as tlog-witness names it
	Size   int64 // held of this ledger
	Fork   bool  // what was shown contradicts what is held
	Reason string
}

func (r *Refusal) Error() string { return "witness: " + r.Reason }

// Add cosigns a checkpoint that continues what is held, and returns the cosignature line (without line
// feed). It returns once the new state is durable. An error is a [*Refusal], wraps [ErrFrozen], or tells
// what is wrong with the witness's own disk: then nothing was cosigned.
func (w *Witness) Add(r Request) (string, error) {
	s, id, err := w.check(r)
	if err != nil {
		return "", err
	}
	d, err := w.of(id)
	if err != nil {
		return "", err
	}
	defer d.mu.Unlock()
	if w.Frozen() {
		return "", fmt.Errorf("witness: %w", ErrFrozen)
	}
	now := w.o.Now().UTC().Truncate(time.Second)
	next, alarm, no := decide(d.state, s, now)
	if no != nil {
		if alarm != "" {
			w.alarm(id, s.origin, alarm, no.Reason+"\n"+s.note)
		}
		return "", no
	}
	if err := w.writeState(next); err != nil {
		d.read = false // which of the two states is on the disk is unknown: look again
		return "", fmt.Errorf("witness: %s: %w", w.statePath(id), err)
	}
	d.state = next
	if alarm != "" {
		w.alarm(id, s.origin, alarm, "")
	}
	return evidence.Cosign(w.o.Name, w.o.Key, evidence.SignedText(s.origin, s.size, s.root), now)
}

func (w *Witness) alarm(id, origin, code, detail string) {
	w.o.Log.Warn("witness: a person must look", "device", id, "ledger", origin, "why", code)
	w.o.Alarm(Alarm{Device: id, Origin: origin, Code: code, Detail: detail})
}

// Held returns the ledgers of a device as they are held, oldest first.
func (w *Witness) Held(id string) ([]evidence.LedgerRef, error) {
	d, err := w.of(id)
	if err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	refs := make([]evidence.LedgerRef, 0, len(d.state.Generations))
	for _, g := range d.state.Generations {
		refs = append(refs, evidence.LedgerRef{Origin: g.Origin, Size: g.Size, Root: g.Root})
	}
	return refs, nil
}

// check reads the note and checks that the device signed it.
func (w *Witness) check(r Request) (s shown, device string, err error) {
	n, err := parseNote(r.Note)
	if err != nil {
		return s, "", &Refusal{Status: 400, Reason: err.Error()}
	}
	device, ok := deviceOf(n.origin)
	var keys []*ecdsa.PublicKey
	if ok {
		keys = w.o.Keys(device)
	}
	if len(keys) == 0 {
		return s, "", &Refusal{Status: 404, Reason: "no device of this name is known here"}
	}
	for _, key := range keys {
		for _, sig := range n.sigs {
			if evidence.VerifySig(key, n.origin, n.size, n.root, sig) == nil {
				s = shown{origin: n.origin, size: n.size, root: n.root, old: r.Old, proof: r.Proof,
					note: evidence.Note(n.origin, n.size, n.root, sig)}
				return s, device, nil
			}
		}
	}
	return s, "", &Refusal{Status: 403, Reason: "no key of this device has signed it"}
}

// deviceOf returns the D of minglu/D/G.
func deviceOf(origin string) (device string, ok bool) {
	rest, ok := strings.CutPrefix(origin, "minglu/")
	device, generation, two := strings.Cut(rest, "/")
	return device, ok && two && isHex(device, 32) && isHex(generation, 16)
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// note is a checkpoint as it was read.
type note struct {
	origin string
	size   int64
	root   evidence.Hash
	sigs   []string // of the origin's name, base64
}

// parseNote reads a C2SP checkpoint without extension lines, with signature lines of any names.
func parseNote(s string) (n note, err error) {
	text, sigs, two := strings.Cut(s, "\n\n")
	lines := strings.Split(text, "\n")
	if len(s) > maxNote || !two || len(lines) != 3 || !strings.HasSuffix(sigs, "\n") {
		return n, errors.New("not a checkpoint of three lines, an empty line and signatures")
	}
	n.origin = lines[0]
	if n.size, err = parseSize(lines[1]); err != nil {
		return n, err
	}
	if n.root, err = evidence.ParseHash(lines[2]); err != nil {
		return n, err
	}
	all := strings.Split(strings.TrimSuffix(sigs, "\n"), "\n")
	if len(all) > maxSigs {
		return n, fmt.Errorf("more than %d signatures", maxSigs)
	}
	for _, line := range all {
		rest, ok := strings.CutPrefix(line, "— ")
		name, sig, two := strings.Cut(rest, " ")
		if !ok || !two || name == "" || sig == "" || strings.Contains(sig, " ") {
			return n, errors.New("a signature line is not like “— name base64”")
		}
		if name == n.origin {
			n.sigs = append(n.sigs, sig)
		}
	}
	return n, nil
}

// parseSize reads a decimal without a leading zero.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > evidence.MaxInt || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("size %.24q: want a decimal number", s)
	}
	return n, nil
}
