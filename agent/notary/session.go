package notary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"minglu/agent/evidence"
)

// complete writes what can be written now of a session's proofs, and reports whether nothing is lacking
// that can still come. Of a session that was sealed in an earlier generation only the seal's token can.
func (n *Notary) complete(ctx context.Context, s *owed) (bool, error) {
	if _, err := n.o.Sessions.Read(s.id, signatureFile); errors.Is(err, fs.ErrNotExist) {
		return false, nil // its disk is away
	}
	n.mu.Lock()
	tokens, witnesses := n.plan.tokens, n.plan.witnesses && !n.plan.conflict && !n.off.cosig
	n.mu.Unlock()
	sealToken := true
	var serr error
	if tokens {
		serr = n.sealToken(ctx, s.id)
		tokens = !n.tsa.off() // what nobody can give is not waited for
		if sealToken = serr == nil || !tokens && soon(serr); soon(serr) {
			serr = nil
		}
	}
	if s.head < 0 || s.sealed < 0 {
		n.owes(!sealToken, false)
		return sealToken, serr
	}
	want, token, cosig := n.anchorsOf(s)
	// A session is judged by its own key. What an earlier key signed says nothing to it; what a later one
	// signed does once its own has named that.
	next, ok, own := s.handover()
	want = slices.DeleteFunc(want, func(size int64) bool { return size <= own })
	if ok && slices.ContainsFunc(want, func(size int64) bool { return size > next.Size }) {
		b, err := evidence.BuildAnchor(next, s.lines, n.o.Ledger.Inclusion, nil, nil)
		if err == nil {
			err = n.putOnce(s.id, evidence.AnchorName(next.Size), b)
		}
		if err != nil {
			return false, errors.Join(serr, err)
		}
	}
	if all := fmt.Sprint(want); all != s.wrote {
		for _, size := range want {
			if err := n.anchor(s, size); err != nil {
				return false, errors.Join(serr, err)
			}
		}
		s.wrote = all
	}
	lacksToken, lacksCosig := tokens && !token, witnesses && !cosig
	n.owes(lacksToken || !sealToken, lacksCosig)
	return sealToken && !lacksToken && !lacksCosig, serr
}

// owes lets the rounds ask for what a session lacks; what they get wakes deliver again.
func (n *Notary) owes(token, cosig bool) {
	if !token && !cosig {
		return
	}
	n.mu.Lock()
	n.plan.owes(token, cosig)
	n.mu.Unlock()
	wake(n.wakeRounds)
}

// anchorsOf chooses the anchors a session needs: the tokens it may have begun with, all that came while it ran,
// and the first token over its `sealed` line and the first cosignature of each witness. It looks on until
// it has both a token and a cosignature, however late, and for other witnesses a while.
func (n *Notary) anchorsOf(s *owed) (sizes []int64, token, cosig bool) {
	names, after := map[string]bool{}, 0
	n.o.Ledger.EachAnchor(s.from(), func(size int64, t, c bool) bool {
		switch {
		case size <= s.head:
			if size == s.before || size == s.before2 {
				sizes = append(sizes, size)
			}
			return true
		case size <= s.sealed:
			sizes = append(sizes, size)
			return true
		}
		after++
		needed := t && !token
		if c && (!cosig || after <= maxAfter) && n.brings(size, names) {
			needed, cosig = true, true
		}
		if needed {
			sizes = append(sizes, size)
			token = token || t
		}
		return after < maxAfter || !token || !cosig
	})
	return sizes, token, cosig
}

// brings reports whether an anchor holds a line of a witness not in names, and puts it there.
func (n *Notary) brings(size int64, names map[string]bool) (one bool) {
	_, _, lines, err := n.o.Ledger.ReadAnchor(size)
	if err != nil {
		return false
	}
	for _, line := range lines {
		if c, err := evidence.ParseCosignature(line); err == nil && !names[c.Witness] {
			names[c.Witness], one = true, true
		}
	}
	return one
}

// anchor writes one anchor file, unless it stands as it would be written. One that stands may lack a
// cosignature that came later.
func (n *Notary) anchor(s *owed, size int64) error {
	name := evidence.AnchorName(size)
	have, err := n.o.Sessions.Read(s.id, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	note, token, cosigs, err := n.o.Ledger.ReadAnchor(size)
	if err != nil {
		return err
	}
	ck, err := evidence.ParseCheckpoint(note)
	if err != nil {
		return err
	}
	b, err := evidence.BuildAnchor(ck, s.lines, n.o.Ledger.Inclusion, cosigs, token)
	if err != nil || bytes.Equal(have, b) {
		return err
	}
	return n.o.Sessions.Write(s.id, name, b)
}

// putOnce writes a file of a session unless one of that name is there.
func (n *Notary) putOnce(session, name string, b []byte) error {
	_, err := n.o.Sessions.Read(session, name)
	if errors.Is(err, fs.ErrNotExist) {
		return n.o.Sessions.Write(session, name, b)
	}
	return err
}

// errBackoff: each authority failed a moment ago.
var errBackoff = errors.New("no authority may be asked now")

// soon reports whether an error says only that nobody can be asked now.
func soon(err error) bool {
	return errors.Is(err, errOffline) || errors.Is(err, errUnwanted) || errors.Is(err, errBackoff)
}

// sealToken gets a session its manifest.json.tsr, unless it is there.
func (n *Notary) sealToken(ctx context.Context, id string) error {
	_, err := n.o.Sessions.Read(id, tokenFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p7s, err := n.o.Sessions.Read(id, signatureFile)
	if err != nil {
		return err
	}
	t, err := n.tsa.get(ctx, sha256.Sum256(p7s))
	if err != nil {
		return err
	}
	return n.o.Sessions.Write(id, tokenFile, t.der)
}
