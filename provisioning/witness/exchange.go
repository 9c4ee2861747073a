package witness

import (
	"errors"
	"fmt"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// Lines keeps the lines of ledgers (package ledgers).
type Lines interface {
	Append(origin string, from int64, lines []string) (have int64, err error)
	Have(origin string) (int64, error)
	SignedRoot(origin string, size int64) (root string, ok bool)
	Proof(origin string, from, to int64) ([]evidence.Hash, error)
}

// Exchange answers what devices show the office over MQTT: checkpoints are cosigned, lines are kept. It
// implements report.Exchange for report.KindCheckpoint and report.KindLedger.
type Exchange struct {
	Witness *Witness
	Lines   Lines
	ID      func(device string) string // D of a device by its name, "" if it is not enrolled
	Send    func(device string, k report.Kind, payload []byte) error
	Outside *Outside // asks the witnesses elsewhere; nil: there are none
}

// errForeign is what a device gets that speaks for another one.
var errForeign = errors.New("the ledger is another device's")

// Receive takes one message of a device in and answers it.
func (x *Exchange) Receive(device string, k report.Kind, payload []byte) error {
	switch k {
	case report.KindCheckpoint:
		m, err := report.ParseCheckpoint(payload)
		if err != nil {
			return err
		}
		return x.checkpoint(device, m)
	case report.KindLedger:
		m, err := report.ParseLedger(payload)
		if err != nil {
			return err
		}
		return x.lines(device, m)
	}
	return fmt.Errorf("witness: %s is not for it", k)
}

func (x *Exchange) own(device, origin string) error {
	id, ok := deviceOf(origin)
	if !ok || id != x.ID(device) {
		return fmt.Errorf("witness: %s of %s: %w", origin, device, errForeign)
	}
	return nil
}

// checkpoint cosigns, or says why not.
func (x *Exchange) checkpoint(device string, m report.Checkpoint) error {
	answer := report.Cosignature{V: 1, Origin: m.Origin, Size: m.Size, Lines: []string{}}
	if err := x.own(device, m.Origin); err != nil {
		return x.foreign(device, answer, err)
	}
	line, err := x.add(m)
	if err == nil {
		answer.Lines = append(answer.Lines, line)
		x.Outside.offer(device, m.Origin, m.Size, m.Note)
	}
	answer.Refused, answer.Conflict = refusedAs(err)
	var no *Refusal
	if errors.As(err, &no) && no.Size > 0 {
		answer.Held = &report.Held{Size: no.Size}
		answer.Conflict = answer.Conflict || no.Size > m.Size
	}
	if err == nil {
		answer.Held = &report.Held{Size: m.Size, Root: m.Root}
	}
	answer.HaveLines, _ = x.Lines.Have(m.Origin)
	return errors.Join(x.answer(device, answer), alarming(err))
}

// foreign answers who speaks for another device, without a look at what is kept of that one.
func (x *Exchange) foreign(device string, answer report.Cosignature, err error) error {
	answer.Refused = "foreign"
	return errors.Join(x.answer(device, answer), err)
}

func (x *Exchange) add(m report.Checkpoint) (string, error) {
	r := Request{Old: m.Old, Note: m.Note}
	for _, s := range m.Proof {
		h, err := evidence.ParseHash(s)
		if err != nil {
			return "", &Refusal{Status: 400, Reason: err.Error()}
		}
		r.Proof = append(r.Proof, h)
	}
	n, err := parseNote(m.Note)
	if err != nil || n.origin != m.Origin || n.size != m.Size || n.root.String() != m.Root {
		return "", &Refusal{Status: 400, Reason: "the note does not say what the message says"}
	}
	return x.Witness.Add(r)
}

// refusedAs names an error for the device.
func refusedAs(err error) (word string, conflict bool) {
	var no *Refusal
	switch {
	case err == nil:
		return "", false
	case errors.Is(err, ErrFrozen):
		return "read-only", false
	case !errors.As(err, &no):
		return "unavailable", false
	case no.Fork:
		return "fork", true
	}
	switch no.Status {
	case 403:
		if no.Size > 0 {
			return "ended", true
		}
		return "signature", false
	case 404:
		return "unknown", false
	case 409:
		return "held", false
	case 422:
		return "proof", true
	}
	return "malformed", false
}

// alarming returns the errors that the office should count; that a device is behind what is held is none.
func alarming(err error) error {
	var no *Refusal
	if errors.As(err, &no) && no.Status == 409 && !no.Fork {
		return nil
	}
	return err
}

// lines keeps a piece of a ledger, and looks whether it is the one that was cosigned.
func (x *Exchange) lines(device string, m report.Ledger) error {
	answer := report.Cosignature{V: 1, Origin: m.Origin, Lines: []string{}}
	err := x.own(device, m.Origin)
	if err != nil {
		return x.foreign(device, answer, err)
	}
	if answer.HaveLines, err = x.Lines.Append(m.Origin, m.From, m.Lines); err != nil {
		answer.Refused = "lines"
	}
	id, _ := deviceOf(m.Origin)
	held, heldErr := x.Witness.Held(id)
	for _, h := range held {
		if h.Origin != m.Origin {
			continue
		}
		answer.Held = &report.Held{Size: h.Size, Root: h.Root}
		if root, ok := x.Lines.SignedRoot(h.Origin, h.Size); ok && root != h.Root {
			x.Witness.alarm(id, h.Origin, AlarmLines, fmt.Sprintf("at size %d", h.Size))
		}
		x.Outside.linesCame(h.Origin)
	}
	return errors.Join(x.answer(device, answer), err, heldErr)
}

func (x *Exchange) answer(device string, c report.Cosignature) error {
	b, err := report.Marshal(c)
	if err != nil {
		return err
	}
	return x.Send(device, report.KindCosignature, b)
}
