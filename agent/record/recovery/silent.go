package recovery

import "minglu/agent/evidence"

// Causes of a channel's silence before the cut, as package record uses them.
const (
	noData         = "no data"
	noFrames       = "no frames"
	connectionLost = "connection lost"
	never          = "never delivered"
)

// silentFor is by how much, in µs beyond ahead_ms, a channel must end before the last signed moment for
// that to be a silence of its own: less is media that was on its way when the cut came.
const silentFor = 1_000_000

// moment follows how far the signed lines reach in media time. Only log.jsonl counts: a recovery file
// is of another boot or another start.
func (st *state) moment(l evidence.Line) error {
	if len(st.logs) != 1 {
		return nil
	}
	switch l.Type {
	case "clock":
		var c evidence.Clock
		if err := l.Decode(&c); err != nil {
			return err
		}
		st.tied, st.tiedAt, st.tiedUp = true, c.At, l.Up
	case "fault", "cleared":
		var e evidence.Event
		if err := l.Decode(&e); err != nil {
			return err
		}
		if st.faults[e.Ch] == nil {
			st.faults[e.Ch] = map[string]bool{}
		}
		st.faults[e.Ch][e.Code] = l.Type == "fault"
	}
	if st.tied && l.Type != "sign" {
		st.signedTo = max(st.signedTo, st.tiedAt+l.Up-st.tiedUp)
	}
	return nil
}

// lost declares that nothing of a channel is known from one media time to another. If the log went on
// being signed for long without the channel, the cut took only what came after: what lies before has a
// cause of its own.
func (st *state) lost(ch string, from, to, aheadMS int64, cause string) []evidence.Gap {
	at := min(st.signedTo, to)
	if at-from <= aheadMS*1000+silentFor {
		return []evidence.Gap{{Ch: ch, From: from, To: to, Cause: cause}}
	}
	why := st.silence(ch)
	if c := st.channels[ch]; why == noData && (c == nil || c.last == nil) {
		why = never
	}
	gaps := []evidence.Gap{{Ch: ch, From: from, To: at, Cause: why}}
	if at < to {
		gaps = append(gaps, evidence.Gap{Ch: ch, From: at, To: to, Cause: cause})
	}
	return gaps
}

// silence says why a channel delivered nothing at the last signed moment, by the faults that stood then.
func (st *state) silence(ch string) string {
	f := st.faults[ch]
	for _, code := range []string{"camera.gone", "camera.address", "camera.not-found", "camera.credentials", "camera.protocol", "camera.codec"} {
		if f[code] {
			return connectionLost
		}
	}
	if f["camera.noframes"] {
		return noFrames
	}
	return noData
}
