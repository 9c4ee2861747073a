package keep

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"sync"

	"minglu/agent/evidence"
)

// How a session left, as the ledger says.
const (
	Archived   = "archived"
	Destroying = "destroying"
	Destroyed  = "destroyed"
)

// End is what the ledger says of a session's way out. The zero End: nothing.
type End struct {
	Kind      string // the last of archived, destroying, destroyed
	Receipt   string // SHA-256 of the newest receipt entered
	Appraisal string // SHA-256, of a destruction
	T         int64  // µs since 1970 of the line
}

// ends follows the ledger. Safe for concurrent use.
type ends struct {
	one sync.Mutex // one reads at a time

	mu   sync.Mutex // guards what follows
	by   map[string]End
	read int64 // bytes of the generation in force
}

func (e *ends) open(o Options) error {
	e.by = make(map[string]End)
	for _, name := range o.Earlier {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		e.take(b)
	}
	return e.more(o.Ledger)
}

// more reads what the ledger has got since.
func (e *ends) more(l Ledger) error {
	e.one.Lock()
	defer e.one.Unlock()
	e.mu.Lock()
	from := e.read
	e.mu.Unlock()
	b, err := l.BytesFrom(from)
	if err != nil {
		return err
	}
	e.take(b)
	e.mu.Lock()
	e.read = from + int64(len(b))
	e.mu.Unlock()
	return nil
}

func (e *ends) take(b []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(`"type":"archived"`)) && !bytes.Contains(line, []byte(`"type":"destroy`)) { // canonical: these bytes must occur
			continue
		}
		l, err := evidence.ParseLine(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			continue
		}
		switch l.Type {
		case Archived:
			var x evidence.Archived
			if l.Decode(&x) == nil {
				end := e.by[x.Session]
				end.Receipt, end.T = x.SHA256, x.T
				if end.Kind == "" {
					end.Kind = Archived
				}
				e.by[x.Session] = end
			}
		case Destroying, Destroyed:
			var x evidence.Destroy
			if l.Decode(&x) == nil {
				end := e.by[x.Session]
				end.Kind, end.Appraisal, end.T = l.Type, x.Appraisal, x.T
				e.by[x.Session] = end
			}
		}
	}
}

func (e *ends) of(session string) End {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.by[session]
}
