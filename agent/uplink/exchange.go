package uplink

import (
	"fmt"
	"sync"

	"minglu/agent/report"
)

// exchange is what is to be sent without a number: the newest of each kind.
type exchange struct {
	mu     sync.Mutex // guards newest
	newest [len(exchanged)][]byte
}

// exchanged are the kinds that [Uplink.Send] takes, in the order in which they leave.
var exchanged = [...]report.Kind{report.KindCheckpoint, report.KindLedger, report.KindTimestamp}

func (x *exchange) put(m report.Message) (report.Kind, error) {
	i := 0
	switch m.(type) {
	case report.Checkpoint:
	case report.Ledger:
		i = 1
	case report.Timestamp:
		i = 2
	default:
		panic(fmt.Sprintf("BUG: uplink: send of %T", m))
	}
	b, err := report.Marshal(m)
	if err != nil {
		return exchanged[i], err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.newest[i] = b
	return exchanged[i], nil
}

// take returns what waits of the i-th kind, and forgets it.
func (x *exchange) take(i int) []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.newest[i]
	x.newest[i] = nil
	return b
}

// sendExchanged sends what waits. One that does not arrive is lost: who waits for its answer asks again.
func (s *session) sendExchanged() {
	for i, k := range exchanged {
		if b := s.exchange.take(i); b != nil {
			s.publish(k, false, b, -1)
		}
	}
}
