package notary

import (
	"bytes"

	"minglu/agent/evidence"
)

var (
	sessionKey     = []byte(`"session":"`)
	generationType = []byte(`"type":"generation"`)
	keyType        = []byte(`"type":"key"`)
	tokenType      = []byte(`"type":"token"`)
)

// findLines reads the ledger once and gives each session its lines.
func (n *Notary) findLines(list []*owed) error {
	by := make(map[string]*owed, len(list))
	for _, s := range list {
		by[s.id] = s
	}
	last, last2 := int64(-1), int64(-1)
	var common []evidence.IndexedLine // generation and key lines
	var keys []evidence.Checkpoint
	follows := false // the line that signs a key line
	err := n.o.Ledger.Walk(0, func(i int64, line []byte) bool {
		if follows {
			follows = false
			if c, ok := n.checkpointOf(line); ok {
				keys = append(keys, c)
			}
			return true
		}
		switch {
		case bytes.Contains(line, tokenType):
			var t evidence.Token
			if l, err := evidence.ParseLine(line); err == nil && l.Type == "token" && l.Decode(&t) == nil {
				last, last2 = t.Size, last
			}
			return true
		case bytes.Contains(line, generationType), bytes.Contains(line, keyType):
			if evidence.SessionLine(line, "") {
				common = append(common, evidence.IndexedLine{Index: i, Line: bytes.Clone(line)})
			}
			var k evidence.Key
			if l, err := evidence.ParseLine(line); err == nil && l.Type == "key" && l.Decode(&k) == nil && k.Use == "sign" {
				follows = true
			}
			return true
		}
		_, rest, ok := bytes.Cut(line, sessionKey)
		if !ok {
			return true
		}
		id, _, _ := bytes.Cut(rest, []byte{'"'})
		s := by[string(id)]
		if s == nil || !evidence.SessionLine(line, s.id) {
			return true
		}
		l, err := evidence.ParseLine(line)
		if err != nil {
			return true
		}
		switch {
		case l.Type == "head" && s.head < 0:
			s.head, s.before, s.before2 = i, last, last2
		case l.Type == "sealed" && (s.sealed < 0 || s.sealed < s.lost): // the first one, or the first after the other was lost
			s.sealed = i
		case l.Type == "lost":
			s.lost = i
		}
		s.lines = append(s.lines, evidence.IndexedLine{Index: i, Line: bytes.Clone(line)})
		return true
	})
	for _, s := range list {
		s.lines, s.keys = merge(common, s.lines), keys
	}
	return err
}

// checkpointOf is the checkpoint of a sign line of the ledger.
func (n *Notary) checkpointOf(line []byte) (c evidence.Checkpoint, ok bool) {
	l, err := evidence.ParseLine(line)
	var s evidence.Sign
	if err != nil || l.Type != "sign" || l.Decode(&s) != nil {
		return c, false
	}
	root, err := evidence.ParseHash(s.Root)
	if err != nil {
		return c, false
	}
	c, err = evidence.ParseCheckpoint(evidence.Note(n.o.Ledger.Origin(), s.Size, root, s.Sig))
	return c, err == nil
}

// merge puts two lists in order into one.
func merge(a, b []evidence.IndexedLine) (out []evidence.IndexedLine) {
	for len(a) > 0 && len(b) > 0 {
		if a[0].Index < b[0].Index {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}
