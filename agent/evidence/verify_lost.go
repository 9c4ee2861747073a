package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
)

// given is what a person gave up of a session, for the disk that held it will not come back (R10), and its
// seals: the first, and the first after each such line. A second one without such a line is the attack.
type given struct {
	lost  LostTail // the newest; zero: nothing was given up
	seals []Sealed
}

// take adds a line of the ledger; lines come in order.
func (g *given) take(line Line) error {
	switch line.Type {
	case "lost":
		var x LostTail
		if err := line.Decode(&x); err != nil {
			return err
		}
		g.lost = x
	case "sealed":
		var s Sealed
		if err := line.Decode(&s); err != nil {
			return err
		}
		if n := len(g.seals); n == 0 || g.seals[n-1].Seq < g.lost.Seq {
			g.seals = append(g.seals, s)
		}
	}
	return nil
}

// bears tells whether a manifest, by its digest, is one that the session was sealed with, as far as is known.
func (g *given) bears(manifest string) bool {
	return g == nil || len(g.seals) == 0 || slices.ContainsFunc(g.seals, func(s Sealed) bool { return s.Manifest == manifest })
}

// standing is what of the ledger's lines about a session counts for one copy.
type standing struct {
	given
	seal  *Sealed // to be compared with; nil: the ledger has none
	whole bool    // the copy is what was sealed before the loss: nothing of it is lost
}

// standing finds the seal of a copy: the one it bears, else the newest.
func (g *given) standing(manifest []byte) standing {
	s := standing{given: *g}
	d := sha256.Sum256(manifest)
	for i := range g.seals {
		s.seal = &g.seals[i]
		if manifest != nil && s.seal.Manifest == hex.EncodeToString(d[:]) {
			s.whole = s.seal.Seq < g.lost.Seq
			break
		}
	}
	return s
}

// standingIn finds it in anchors, whose signatures are judged elsewhere.
func standingIn(session string, anchors map[string]*AnchorFile, manifest []byte) standing {
	lines := make(map[int64]Line)
	for _, a := range anchors {
		for _, l := range a.Lines {
			var of struct {
				Session string `json:"session"`
			}
			if line, err := ParseLine(l.Line); err == nil && (line.Type == "sealed" || line.Type == "lost") && line.Decode(&of) == nil && of.Session == session {
				lines[l.Index] = line
			}
		}
	}
	var g given
	for _, i := range slices.Sorted(maps.Keys(lines)) {
		if g.take(lines[i]) != nil {
			break // the line is told where its anchor is taken
		}
	}
	return g.standing(manifest)
}

// sealLost tells that the seal went with the disk, and that there is none since.
func (s *standing) sealLost() bool { return s.seal != nil && s.seal.Seq < s.lost.Seq && !s.whole }

// other tells whether a head is none of this copy: of what took its place, or of what a lost disk held. The
// latter is a gap; a head of log.jsonl only beyond the lines that the person said are here.
func (c *copyCheck) other(h Head, s *standing) (other, gap bool) {
	if s.whole || h.Seq > s.lost.Seq {
		return s.whole && h.Seq > s.lost.Seq, false
	}
	for _, log := range c.logs {
		if log.file != h.Log {
			continue
		}
		root, ok := log.signs[h.Size]
		gap = h.Size > log.Size && s.lost.Size > 0 && log.Size >= s.lost.Size || h.Log != "log.jsonl" && (!ok || root != h.Root)
		return gap, gap
	}
	return h.Log != "log.jsonl", h.Log != "log.jsonl"
}

// gaveUp tells once what a person gave up.
func (c *copyCheck) gaveUp(s *standing) {
	if c.given {
		return
	}
	c.given = true
	c.found(FindingGap, "log.jsonl", "lost with a disk, a person entered: "+s.lost.Cause).From = c.last
}
