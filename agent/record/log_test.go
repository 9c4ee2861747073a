package record_test

import (
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record"
)

func newLog(r *room, origin string) record.Log {
	return ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: r.dev.signer, Now: r.now})
}

// lines reads a log.
func lines(r *room, b []byte) []evidence.Line {
	r.t.Helper()
	var out []evidence.Line
	for len(b) > 0 {
		n := 0
		for n < len(b) && b[n] != '\n' {
			n++
		}
		if n == len(b) {
			break
		}
		l, err := evidence.ParseLine(b[:n])
		if err != nil {
			r.t.Fatalf("line %d: %v", len(out), err)
		}
		out = append(out, l)
		b = b[n+1:]
	}
	return out
}
