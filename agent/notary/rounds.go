package notary

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// rounds asks for what the plan says until ctx ends.
func (n *Notary) rounds(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		recording, retry, up := n.o.Recording(), n.tsa.retryAt(), n.o.Now().Up
		n.mu.Lock()
		j, wait := n.plan.next(up, retry, recording)
		n.plan.begin(j)
		n.mu.Unlock()
		n.tellLate(up)
		if j != (job{}) {
			n.round(ctx, j)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-n.wakeRounds:
		case m := <-n.late:
			if err := n.takeLate(m); err != nil {
				n.failed("witness elsewhere", err)
			}
		case <-timer.C:
		}
	}
}

// takeLate keeps lines of witnesses that answer by themselves, after the office: those over a checkpoint
// that is kept anyway, and those of a witness of which none was kept since the last moment.
func (n *Notary) takeLate(m report.Cosignature) error {
	n.several = true
	i := slices.IndexFunc(n.recent, func(c evidence.Checkpoint) bool { return c.Size == m.Size })
	if i < 0 {
		return nil
	}
	ck := n.recent[i]
	lines, err := n.good(ck, m.Lines)
	if err != nil {
		return err
	}
	n.mu.Lock()
	wished := n.plan.wished
	n.mu.Unlock()
	_, _, have, err := n.o.Ledger.ReadAnchor(ck.Size)
	kept := err == nil
	var add []string
	for _, line := range lines {
		c, err := evidence.ParseCosignature(line)
		if err != nil {
			return err
		}
		at, ever := n.keptAt[c.Witness]
		if !slices.Contains(have, line) && (kept || !ever || at < wished) {
			add = append(add, line)
		}
	}
	if len(add) == 0 {
		return nil
	}
	if err := n.keep(ck, token{}, add); err != nil {
		return err
	}
	n.mu.Lock()
	n.relook = true
	n.status.Cosigs++
	n.mu.Unlock()
	wake(n.wakeOwed)
	return nil
}

// moreLines waits for witnesses elsewhere, if there are any, so that one anchor holds all proofs.
func (n *Notary) moreLines(ctx context.Context, ck evidence.Checkpoint, lines []string) []string {
	if !n.several {
		return lines
	}
	enough := time.NewTimer(awaitLate)
	defer enough.Stop()
	for {
		select {
		case <-ctx.Done():
			return lines
		case <-enough.C:
			return lines
		case m := <-n.late:
			if m.Size != ck.Size {
				if err := n.takeLate(m); err != nil {
					n.failed("witness elsewhere", err)
				}
				continue
			}
			if more, err := n.good(ck, m.Lines); err == nil {
				return append(lines, more...)[:min(len(lines)+len(more), maxCosigs)]
			}
		}
	}
}

// tellLate raises a fault when there was no token for long.
func (n *Notary) tellLate(up time.Duration) {
	n.mu.Lock()
	late := n.plan.tokens && up-max(n.status.TokenAt, n.plan.began) > lateAfter
	n.mu.Unlock()
	n.o.Fault(FaultLate, late)
}

// round gets what a job asks for over the newest checkpoint.
func (n *Notary) round(ctx context.Context, j job) {
	gotToken, gotCosig, err := n.attest(ctx, j)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		n.failed("ledger", err)
	}
	up, off := n.o.Now().Up, job{token: n.tsa.off(), cosig: n.witnessesOff()}
	n.mu.Lock()
	n.plan.done(j, outcome{token: gotToken, cosig: gotCosig, away: !n.online && len(n.o.Witnesses) == 0, unwanted: off.cosig, failed: err != nil}, up)
	anew := n.off.token && !off.token || n.off.cosig && !off.cosig
	n.anew, n.off = n.anew || anew, off
	n.mu.Unlock()
	if gotToken || j.named && gotCosig || anew {
		wake(n.wakeOwed)
	}
}

func (n *Notary) attest(ctx context.Context, j job) (gotToken, gotCosig bool, err error) {
	ck, err := n.o.Ledger.Checkpoint()
	if err != nil {
		return false, false, err
	}
	if err := n.o.Ledger.Published(ck.Size); err != nil {
		return false, false, err
	}
	if j.cosig && (len(n.recent) == 0 || n.recent[len(n.recent)-1].Size != ck.Size) {
		n.recent = append(n.recent[max(0, len(n.recent)-maxRecent+1):], ck)
	}
	var (
		t      token
		terr   = errors.New("not asked")
		cosigs []string
		wg     sync.WaitGroup
	)
	if j.token {
		wg.Go(func() { t, terr = n.tsa.get(ctx, ck.Imprint()) })
	}
	if j.cosig {
		var cerr error
		if cosigs, cerr = n.cosign(ctx, ck); cerr != nil && ctx.Err() == nil {
			n.failed("witness", cerr)
		}
	}
	if j.named && len(cosigs) > 0 {
		cosigs = n.moreLines(ctx, ck, cosigs)
	}
	wg.Wait()
	if j.token && terr != nil && ctx.Err() == nil {
		n.failed("time-stamp", terr)
	}
	gotCosig = len(cosigs) > 0
	if !j.named {
		cosigs = nil
	}
	if j.token && terr == nil || len(cosigs) > 0 {
		if err := n.keep(ck, t, cosigs); err != nil {
			return false, gotCosig && !j.named, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	up := n.o.Now().Up
	if j.token && terr == nil {
		gotToken = true
		n.status.Tokens++
		n.status.TokenAt, n.newest = up, t.info.SHA256
	}
	if gotCosig {
		n.status.Cosigs++
		n.status.CosigAt = up
	}
	return gotToken, gotCosig, nil
}

// keep makes proofs durable and names them (steps 3 to 5 of the package comment).
func (n *Notary) keep(ck evidence.Checkpoint, t token, cosigs []string) error {
	err := n.o.Ledger.SaveAnchor(ck.Size, ck.Note(), t.der, cosigs)
	if errors.Is(err, fs.ErrExist) {
		// Kept before a cut or an error that came before it was named: what stands there is named now.
		cosigs, err = n.recall(ck, &t, cosigs)
	}
	if err != nil {
		return err
	}
	if t.der != nil {
		line := evidence.Token{Size: ck.Size, SHA256: t.info.SHA256}
		if !t.asked.T.IsZero() {
			line.Asked = t.asked.T.UnixMicro()
		}
		if err := n.o.Append(line); err != nil {
			return err
		}
		n.o.Named(evidence.Anchor{Size: ck.Size, Root: ck.Root.String(), Token: t.info.SHA256})
	}
	for _, line := range cosigs {
		c, err := evidence.ParseCosignature(line)
		if err != nil {
			return err
		}
		if err := n.o.Append(evidence.Cosig{Size: ck.Size, Witness: c.Witness, SHA256: c.SHA256()}); err != nil {
			return err
		}
		n.o.Named(evidence.Anchor{Size: ck.Size, Root: ck.Root.String(), Cosig: c.SHA256()})
		n.keptAt[c.Witness] = n.o.Now().Up
	}
	return nil
}

// recall takes the token that stands for the checkpoint in the place of the one just got, and adds the
// cosignatures to those that stand. It returns all that stand, if any were got.
func (n *Notary) recall(ck evidence.Checkpoint, t *token, cosigs []string) ([]string, error) {
	note, der, _, err := n.o.Ledger.ReadAnchor(ck.Size)
	if err != nil {
		return nil, err
	}
	if note != ck.Note() {
		return nil, fmt.Errorf("notary: the anchor at %d is over another checkpoint", ck.Size)
	}
	if t.der != nil && der != nil {
		t.der = der
		t.info.SHA256 = digest(der)
	}
	if len(cosigs) == 0 {
		return nil, nil
	}
	if err := n.o.Ledger.SaveAnchor(ck.Size, note, nil, cosigs); err != nil {
		return nil, err
	}
	_, _, cosigs, err = n.o.Ledger.ReadAnchor(ck.Size)
	return cosigs, err
}
