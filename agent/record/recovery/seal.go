package recovery

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"minglu/agent/evidence"
)

// Causes of a cut, evidence-format.md R9.
const (
	PowerLost = "power lost"
	Stopped   = "agent stopped unexpectedly"
	Lost      = "lost with a disk" // a person entered that what follows will not come back
)

// ownCerts writes the device's own certificate if that is the one the session was opened with.
func (j *job) ownCerts() error {
	if len(j.o.Certs) == 0 || digest(evidence.MarshalCertsPEM(j.o.Certs[0])) != j.open.Cert {
		return &stop{Damaged, "device.pem is gone or another: put the certificate back that its open line names"}
	}
	for _, c := range j.copies {
		if _, err := os.Lstat(c.path("device.pem")); err == nil {
			return &stop{Damaged, "device.pem is not the certificate that the open line names"}
		}
		if len(j.o.Certs) > 1 {
			if err := c.files.CreateSame(c.path("chain.pem"), evidence.MarshalCertsPEM(j.o.Certs[1:]...)); err != nil {
				return err
			}
		}
		if err := c.files.CreateSame(c.path("device.pem"), evidence.MarshalCertsPEM(j.o.Certs[0])); err != nil {
			return err
		}
	}
	return nil
}

// writeRecovery composes recovery-N.jsonl, writes it to each copy, and returns the state with it.
func (j *job) writeRecovery(st *state, p *plan) (*state, error) {
	n := len(st.logs) // log.jsonl is number 0
	origin := evidence.RecoveryOrigin(j.open.Origin, n)
	log := j.o.NewLog(origin)
	lines, err := j.lines(st, p)
	if err != nil {
		return nil, err
	}
	for _, v := range lines {
		if _, _, err := log.Append(v); err != nil {
			return nil, fmt.Errorf("recovery file: %w", err)
		}
	}
	if _, _, err := log.Sign(); err != nil {
		return nil, fmt.Errorf("recovery file: %w", err)
	}
	data, name := log.Take(), fmt.Sprintf("recovery-%d.jsonl", n)
	if err := j.each(func(c *replica) error { return c.files.CreateSame(c.path(name), data) }); err != nil {
		return nil, err
	}
	return j.read()
}

// lines are those of the recovery file, in order.
func (j *job) lines(st *state, p *plan) ([]any, error) {
	now := j.o.Now()
	cause, up := Stopped, now.Up
	if j.open.Boot != j.o.BootID {
		cause = PowerLost
	} else if c, at := j.o.Cut(j.id); c != "" {
		cause, up = c, at
	}
	if _, given := j.known.lost[j.id]; given {
		cause = Lost
	}
	if st.late { // the cut was told of before
		cause = st.cause
	}
	j.item.Cause = cause
	src := j.copies[0]
	rec := evidence.Recovery{Of: j.open.Origin, Size: src.dec.Size, Root: src.dec.Root.String(), Boot: j.o.BootID,
		Present: []string{}, Absent: []string{}, Cause: cause, Src: now.Source}
	for _, c := range j.copies {
		rec.Present = append(rec.Present, c.disk.ID)
	}
	slices.Sort(rec.Present)
	for _, id := range j.open.Disks {
		if !slices.Contains(rec.Present, id) {
			rec.Absent = append(rec.Absent, id)
		}
	}
	out := []any{rec}
	for _, a := range p.accepted {
		for _, g := range a.holes {
			out = append(out, g)
		}
		out = append(out, a.line)
		ch := st.channels[a.line.Ch]
		ch.n, ch.to = ch.n+1, max(ch.to, a.line.To)
		a.seg.frags = append(a.seg.frags, a.line)
		j.item.Recovered[a.line.Ch]++
	}
	asides, err := j.asideLines(st)
	if err != nil {
		return nil, err
	}
	out = append(out, asides...)
	gaps, end := j.gaps(st, now.T.UnixMicro(), up.Microseconds(), cause)
	out = append(out, gaps...)
	closes, err := j.closeLines(st, p)
	if err != nil {
		return nil, err
	}
	out = append(out, closes...)
	count := map[string]int64{}
	for id, ch := range st.channels {
		count[id] = ch.n
	}
	reason := cause
	if st.ended != nil { // a person ended it: only the seal was cut
		reason, end = st.ended.Reason, st.ended.At
	}
	return append(out, evidence.Close{At: end, Reason: reason, Fragments: count}, evidence.Seal{}), nil
}

// asideLines names the files of aside/ that no earlier recovery named. All copies have the same.
func (j *job) asideLines(st *state) ([]any, error) {
	c := j.copies[0]
	names, err := c.asideNames()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, name := range names {
		if st.aside[name] {
			continue
		}
		f, size, err := openFile(c.path(name))
		if err != nil {
			return nil, err
		}
		sum, err := digestOf(f, 0, size)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		out = append(out, evidence.Aside{File: name, Size: size, SHA256: sum, Why: whyOf(name)})
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func whyOf(name string) string {
	if n := len(name) - len(beyond); n > 0 && name[n:] == beyond {
		return beyond
	}
	return torn
}

// gaps runs from the end of each channel to this boot, or this start if the machine ran on; see
// [state.lost] for a channel that was silent before. A room that was paused, or whose session had
// ended, lost nothing: its break is declared. end is the media time of the close line. now and up are µs.
func (j *job) gaps(st *state, now, up int64, cause string) (out []any, end int64) {
	elapsed := up - st.lastUp
	if cause == PowerLost {
		elapsed = now - up - st.lastT
	}
	if last := j.known.lost[j.id]; last > 0 { // it was over by then, as the ledger says
		elapsed = last - st.lastT
	}
	// A wall clock that went back tells nothing: the gap is then only known to exist.
	end = max(st.lastTo+max(elapsed, 1), st.signedTo+1)
	for _, ch := range st.channels {
		end = max(end, ch.to+1)
	}
	if st.before != nil { // the next start came then, not now
		end = st.signedTo + 1
		for _, ch := range st.channels {
			end = max(end, ch.to+1)
		}
		end = max(end, st.before.At)
	}
	if st.paused || st.ended != nil {
		return nil, end
	}
	j.item.GapTo = end
	first := true
	for _, id := range sortedKeys(st.channels) {
		ch := st.channels[id]
		for _, g := range st.lost(id, ch.to, end, j.open.AheadMS, cause) {
			out = append(out, g)
		}
		if first || ch.to < j.item.GapFrom {
			j.item.GapFrom, first = ch.to, false
		}
	}
	return out, end
}

// closeLines close the segments that the cut left open, with the digest each will have once its index
// is in place.
func (j *job) closeLines(st *state, p *plan) ([]any, error) {
	var out []any
	for _, t := range p.targets {
		s := t.seg
		if s.closed != nil {
			continue
		}
		i := slices.IndexFunc(j.copies, func(c *replica) bool {
			fi, err := os.Lstat(c.path(s.File))
			return err == nil && !t.alone[c] && fi.Size() == s.end()
		})
		if i < 0 {
			continue // nobody has it whole: the manifest shows it with size 0
		}
		line, err := closeLine(j.copies[i], s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.File, err)
		}
		out = append(out, line)
	}
	return out, nil
}

func closeLine(c *replica, s *segment) (evidence.SegmentClose, error) {
	f, size, err := openFile(c.path(s.File))
	if err != nil {
		return evidence.SegmentClose{}, err
	}
	defer f.Close()
	reserve, err := indexFor(f, s)
	if err != nil { // damaged inside its signed part: no index, the reserve stays as it is
		reserve = make([]byte, min(s.Reserve, max(size-s.InitLen, 0)))
		if _, err := f.ReadAt(reserve, s.InitLen); err != nil && !errors.Is(err, io.EOF) {
			return evidence.SegmentClose{}, err
		}
	}
	h2, h3 := sha256.New(), sm3.New()
	in := io.MultiReader(io.NewSectionReader(f, 0, s.InitLen), bytes.NewReader(reserve),
		io.NewSectionReader(f, s.InitLen+s.Reserve, size-s.InitLen-s.Reserve))
	if _, err := io.Copy(io.MultiWriter(h2, h3), in); err != nil {
		return evidence.SegmentClose{}, err
	}
	return evidence.SegmentClose{Ch: s.Ch, Seg: s.Seg, Size: size, SHA256: hex.EncodeToString(h2.Sum(nil)),
		SM3: hex.EncodeToString(h3.Sum(nil)), Index: digest(reserve)}, nil
}

// index writes the index of each closed segment whose reserve does not hold it yet.
func (j *job) index(st *state) error {
	for _, s := range st.segments {
		if s.closed == nil {
			continue
		}
		for _, c := range j.copies {
			if err := j.indexOne(c, s); err != nil {
				return fmt.Errorf("disk %s: %s: index: %w", c.disk.ID, s.File, err)
			}
		}
	}
	return nil
}

func (j *job) indexOne(c *replica, s *segment) error {
	f, size, err := openFile(c.path(s.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // plan has noted it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if size < s.InitLen+s.Reserve {
		return nil
	}
	if have, err := digestOf(f, s.InitLen, s.Reserve); err != nil || have == s.closed.Index {
		return err
	}
	b, err := indexFor(f, s)
	if err != nil || digest(b) != s.closed.Index {
		j.note("disk %s: %s: the index is not what the log names: left as it is", c.disk.ID, s.File)
		return nil
	}
	out, err := c.files.Append(c.path(s.File))
	if err != nil {
		return err
	}
	if err = out.WriteAt(b, s.InitLen); err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// seal finishes W3: heads, manifest, its signature, the sealed line.
func (j *job) seal(st *state) error {
	for i, l := range st.logs {
		origin, pub := j.open.Origin, j.logPub
		if i > 0 {
			origin, pub = evidence.RecoveryOrigin(origin, i), j.pub
		}
		dec, err := evidence.Decide(l.Data, origin, pub)
		if err != nil {
			return fmt.Errorf("%s: %w", l.File, err)
		}
		if k := (headKey{j.id, l.File, dec.Size}); j.known.heads[k] == "" {
			if err := j.o.Ledger.Head(j.id, l.File, dec.Size, dec.Root); err != nil {
				return fmt.Errorf("ledger: head: %w", err)
			}
		}
	}
	certs, digests, err := j.copies[0].certs()
	if err != nil {
		return err
	}
	logs, err := j.sealedLogs(st, digests)
	if err != nil {
		return err
	}
	m, err := evidence.DeriveManifest(logs, digests)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	manifest, err := m.Marshal()
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if err := j.each(func(c *replica) error { return same(c, "manifest.json", manifest) }); err != nil {
		return err
	}
	if slices.ContainsFunc(digests, func(f evidence.FileDigest) bool { return f.File == "sm2.pem" }) {
		if err := j.extras(manifest); err != nil {
			return err
		}
	}
	p7s, err := j.signature(manifest, certs, time.UnixMicro(m.Closed.T).UTC())
	if err != nil {
		return err
	}
	if have, ok := j.known.sealed[j.id]; ok && have[1] != digest(p7s) { // made by a key that never signs the same twice
		return &stop{Waiting, "manifest.json.p7s, which the ledger names, is on a disk that is not here: attach it"}
	}
	if err := j.each(func(c *replica) error { return same(c, "manifest.json.p7s", p7s) }); err != nil {
		return err
	}
	j.item.Outcome = Finished
	if len(st.logs) > 1 {
		j.item.Outcome, j.item.Cause = Recovered, st.cause
	}
	if _, ok := j.known.sealed[j.id]; ok {
		return nil
	}
	if err := j.o.Ledger.Sealed(j.id, digest(manifest), digest(p7s)); err != nil {
		return fmt.Errorf("ledger: sealed: %w", err)
	}
	return nil
}

// same writes a file of the seal, or finds it there; another one in its place is damage.
func same(c *replica, name string, data []byte) error {
	err := c.files.CreateSame(c.path(name), data)
	if errors.Is(err, fs.ErrExist) {
		return &stop{Damaged, fmt.Sprintf("disk %s: %s is not what the logs say: left alone", c.disk.ID, name)}
	}
	return err
}

// signature returns the CMS signature: the one that is on a disk already, if it holds, else a new one.
func (j *job) signature(manifest []byte, certs []*x509.Certificate, at time.Time) ([]byte, error) {
	for _, c := range j.copies {
		b, err := readFile(c.path("manifest.json.p7s"), maxPEMBytes)
		if err != nil {
			continue
		}
		if _, err := evidence.CheckCMS(b, manifest, certs); err == nil {
			return b, nil
		}
	}
	b, err := evidence.SignManifest(manifest, certs, j.o.Key, at)
	if err != nil {
		return nil, fmt.Errorf("manifest: sign: %w", err)
	}
	return b, nil
}

// extras writes the signatures beside the CMS one: those on a disk already if there are, else new ones.
func (j *job) extras(manifest []byte) error {
	if sig := j.signedSM2(manifest); sig != nil {
		return j.each(func(c *replica) error { return same(c, sm2Sig, sig) })
	}
	if j.o.Extras == nil {
		return &stop{Damaged, "its SM2 key is not here: put sm2.key back, or seal it on the device that has it"}
	}
	files, err := j.o.Extras(manifest)
	if err != nil {
		return err
	}
	for name, b := range files {
		for _, c := range j.copies {
			if have, err := readFile(c.path(name), maxPEMBytes); err == nil {
				b = have // it is not deterministic, and each copy has the same
				break
			}
		}
		if err := j.each(func(c *replica) error { return same(c, name, b) }); err != nil {
			return err
		}
	}
	return nil
}

const sm2Sig = "manifest.json.sm2"

// signedSM2 is the SM2 signature that is on a disk already, if it holds; nil if none does. The key need not be here.
func (j *job) signedSM2(manifest []byte) []byte {
	for _, c := range j.copies {
		sig, err := readFile(c.path(sm2Sig), maxPEMBytes)
		if err != nil {
			continue
		}
		b, err := readFile(c.path("sm2.pem"), maxPEMBytes)
		if err != nil {
			continue
		}
		if certs, err := evidence.SM2CertsPEM(b); err == nil && len(certs) > 0 && evidence.VerifySM2(manifest, sig, certs[0]) == nil {
			return sig
		}
	}
	return nil
}

// certs reads device.pem and chain.pem, and digests sm2.pem too.
func (c *replica) certs() (certs []*x509.Certificate, digests []evidence.FileDigest, err error) {
	for _, name := range []string{"device.pem", "chain.pem"} {
		b, err := readFile(c.path(name), maxPEMBytes)
		if errors.Is(err, fs.ErrNotExist) && name == "chain.pem" {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		some, err := evidence.CertsPEM(b)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		certs = append(certs, some...)
		digests = append(digests, evidence.FileDigest{File: name, SHA256: digest(b)})
	}
	switch b, err := readFile(c.path("sm2.pem"), maxPEMBytes); {
	case err == nil:
		digests = append(digests, evidence.FileDigest{File: "sm2.pem", SHA256: digest(b)})
	case !errors.Is(err, fs.ErrNotExist):
		return nil, nil, err
	}
	return certs, digests, nil
}
