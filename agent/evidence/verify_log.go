package evidence

import (
	"crypto/ecdsa"
	"fmt"
)

// signedLog is a log file with what its signatures cover.
type signedLog struct {
	file   string
	origin string
	data   []byte
	Deciding
	signs map[int64]string // size -> root of the deciding sign line, and of the others once the lines were walked
}

// decide reads the signatures of a log (steps V3, V5). It fails if none holds.
func decide(file, origin string, data []byte, pub *ecdsa.PublicKey) (*signedLog, error) {
	d, err := Decide(data, origin, pub)
	if err != nil {
		return nil, uncheckable("%s: no signature by the device's key holds: %w", file, err)
	}
	return &signedLog{file: file, origin: origin, data: data, Deciding: d, signs: map[int64]string{d.Size: d.Root.String()}}, nil
}

// each calls f with number, offset and content of every covered line.
func (l *signedLog) each(f func(n, off int64, line Line) error) error {
	rest, off := l.data, int64(0)
	for n := int64(0); n < l.Size; n++ {
		raw, after, ok := lineAt(rest)
		if !ok {
			return fmt.Errorf("%s: ends before line %d", l.file, n)
		}
		line, err := ParseLine(raw)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", l.file, n, err)
		}
		if err := f(n, off, line); err != nil {
			return err
		}
		off += int64(len(raw)) + 1
		rest = after
	}
	return nil
}

// ended tells whether the covered part ends in a seal.
func (l *signedLog) ended() bool {
	last := ""
	rest := l.data
	for n := int64(0); n < l.Size; n++ {
		raw, after, ok := lineAt(rest)
		if !ok {
			return false
		}
		if rest = after; n == l.Size-1 {
			if line, err := ParseLine(raw); err == nil {
				last = line.Type
			}
		}
	}
	return last == "seal"
}

// beyond returns what lies behind the deciding signature: the first line there that can be blamed, its
// offset, and whether the bytes show that signed lines were changed. whole is set if nothing may follow.
func (l *signedLog) beyond(whole bool) (line, off int64, cause string) {
	switch {
	case l.Damaged >= 0:
		return l.Size + 1, l.End, fmt.Sprintf("between lines %d and %d bytes were changed after they were signed: from there on no signature holds, and what was recorded can no longer be proven", l.Size+1, l.Damaged)
	case whole && (l.Lines > l.Size+1 || l.Torn > 0):
		return l.Size + 1, l.End, "bytes behind the last signature that holds, in a log that was ended"
	}
	return 0, 0, ""
}

// claims returns, per channel, how far the unsigned lines behind the deciding signature say the media
// goes: only to tell which time an alteration of the log touches.
func (l *signedLog) claims() map[string]int64 {
	to := make(map[string]int64)
	for rest := l.data[min(l.End, int64(len(l.data))):]; ; {
		raw, after, ok := lineAt(rest)
		if !ok {
			return to
		}
		rest = after
		var f Fragment
		if line, err := ParseLine(raw); err == nil && line.Type == "fragment" && line.Decode(&f) == nil && channelName.MatchString(f.Ch) {
			to[f.Ch] = max(to[f.Ch], f.To)
		}
	}
}

// sameStart tells whether one log's covered bytes begin the other's.
func sameStart(a, b *signedLog) bool {
	n := min(a.End, b.End)
	return string(a.data[:n]) == string(b.data[:n])
}
