package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"minglu/agent/evidence"
)

// state is what is held of one device: its ledgers, in the order in which they were first shown.
type state struct {
	Device      string       `json:"device"` // D
	Generations []generation `json:"generations"`
}

// generation is one ledger. Only the last of a state's generations may go on.
type generation struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"` // newest cosigned
	Root   string    `json:"root"`
	Note   string    `json:"note"` // the device's own signature over it: proof of what it showed
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

// maxGenerations bounds what one device can make a witness keep.
const maxGenerations = 1000

// readState reads what is held of a device; nothing held is an empty state.
func (w *Witness) readState(id string) (state, error) {
	b, err := w.files.ReadFile(w.statePath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return state{Device: id}, nil
	}
	var st state
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err == nil && st.Device != id {
		err = fmt.Errorf("is of device %s", st.Device)
	}
	if err != nil {
		return state{}, fmt.Errorf("witness: %s: %w: restore the office from a backup; nothing of this device is cosigned until then", w.statePath(id), err)
	}
	return st, nil
}

// writeState makes a state durable. After an error it is not known which of the two is held.
func (w *Witness) writeState(st state) error {
	b, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	return w.files.Replace(w.statePath(st.Device), append(b, '\n'))
}

// shown is a checkpoint whose signature holds, with the proof that came with it.
type shown struct {
	origin string
	size   int64
	root   evidence.Hash
	note   string
	old    int64
	proof  []evidence.Hash
}

// decide says what becomes of the state of a device when it shows s, and which alarm that raises. It
// is pure. A refusal leaves the state as it is.
func decide(st state, s shown, now time.Time) (next state, alarm string, no *Refusal) {
	at := slices.IndexFunc(st.Generations, func(g generation) bool { return g.Origin == s.origin })
	held := generation{Origin: s.origin, First: now}
	if at >= 0 {
		held = st.Generations[at]
	}
	switch {
	case s.size == 0:
		return st, "", &Refusal{Status: 400, Reason: "an empty ledger says nothing"}
	case s.old > s.size:
		return st, "", &Refusal{Status: 400, Reason: "old is larger than the size shown"}
	case at >= 0 && at < len(st.Generations)-1:
		return st, AlarmEnded, &Refusal{Status: 403, Size: held.Size, Reason: "this generation has ended: the device has begun " + st.Generations[len(st.Generations)-1].Origin}
	case at < 0 && len(st.Generations) >= maxGenerations:
		return st, AlarmGeneration, &Refusal{Status: 403, Reason: "the device has begun too many ledgers: a person must look"}
	case s.size == held.Size && s.root.String() != held.Root:
		return st, AlarmFork, &Refusal{Status: 409, Size: held.Size, Fork: true, Reason: "another state of this size has been cosigned"}
	case s.old != held.Size:
		return st, "", &Refusal{Status: 409, Size: held.Size, Reason: fmt.Sprintf("size %d is held", held.Size)}
	case s.old == 0 && len(s.proof) > 0:
		return st, "", &Refusal{Status: 422, Reason: "from nothing there is nothing to prove"}
	}
	if s.old > 0 {
		root, err := evidence.ParseHash(held.Root)
		if err == nil {
			err = evidence.CheckConsistency(s.old, s.size, root, s.root, s.proof)
		}
		if err != nil {
			return st, AlarmFork, &Refusal{Status: 422, Size: held.Size, Reason: "the proof does not show that this continues what is held: " + err.Error()}
		}
	}
	held.Size, held.Root, held.Note, held.Last = s.size, s.root.String(), s.note, now
	next = state{Device: st.Device, Generations: slices.Clone(st.Generations)}
	if at >= 0 {
		next.Generations[at] = held
		return next, "", nil
	}
	if len(next.Generations) > 0 {
		alarm = AlarmGeneration
	}
	next.Generations = append(next.Generations, held)
	return next, alarm, nil
}
