package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minglu/agent/evidence"
)

// What is in this file concerns disks that come and go: a session recovered without one of them (R10).

// recoveryFile returns recovery file n, nil if there is none. Two disks recovered apart may each have
// made one, if a cut kept the ledger from naming the first: the one that the ledger names holds, else the
// one of the copy that is sealed, else that of the source. The other ones become strays.
func (j *job) recoveryFile(st *state, name string, n int) ([]byte, error) {
	var best []byte
	rank := 0
	have := map[*replica][]byte{}
	for _, c := range j.copies {
		b, err := readFile(c.path(name), maxLogBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		have[c] = b
		if r := j.rank(c, name, n, b); best == nil || r > rank {
			best, rank = b, r
		}
	}
	for _, c := range j.copies {
		if b := have[c]; b != nil && !bytes.Equal(b, best) {
			if rank == 0 { // altered in place, perhaps all of them: nobody can say which was first
				return nil, &stop{Damaged, name + " is not the same on all disks"}
			}
			j.note("disk %s: %s is not the one that holds", c.disk.ID, name)
			st.strays = append(st.strays, piece{c: c, file: name, len: int64(len(b)), whole: true, stray: true, why: beyond})
		}
	}
	return best, nil
}

// rank tells how good a claim a recovery file has to its number; 0: its signature does not hold.
func (j *job) rank(c *replica, name string, n int, data []byte) int {
	dec, err := evidence.Decide(data, evidence.RecoveryOrigin(j.open.Origin, n), j.pub)
	if err != nil || dec.End != int64(len(data)) {
		return 0
	}
	if j.known.heads[headKey{j.id, name, dec.Size}] == dec.Root.String() {
		return 3
	}
	if _, err := os.Lstat(c.path("manifest.json")); err == nil {
		return 2
	}
	return 1
}

// whole leaves a session alone that the ledger says was recovered or sealed on a disk that is not here,
// and finds what of a copy that lost is left in its aside/.
func (j *job) whole(st *state) error {
	for _, f := range j.known.files {
		var n int
		if f[0] == j.id && strings.HasPrefix(f[1], "recovery-") {
			if _, err := fmt.Sscanf(f[1], "recovery-%d.jsonl", &n); err == nil && n >= len(st.logs) {
				return &stop{Waiting, f[1] + " is on a disk that is not here: attach it"}
			}
		}
	}
	if _, ok := j.known.sealed[j.id]; ok && !st.sealed && !st.late {
		return &stop{Waiting, "it was sealed on a disk that is not here: attach it"}
	}
	if err := j.otherSeals(st); err != nil || !st.sealed {
		return err
	}
	for _, c := range j.copies {
		names, err := c.asideNames()
		if err != nil {
			return err
		}
		for _, name := range names {
			if st.aside[name] {
				continue
			}
			size, err := sizeOf(c.path(name))
			if err != nil {
				return err
			}
			st.strays = append(st.strays, piece{c: c, file: name, len: size, whole: true, stray: true, why: beyond})
		}
	}
	return nil
}

// otherSeals finds seals that lost. A disk may have got its manifest just before the cut, and the session
// have been recovered and sealed without it since: what the ledger names holds, and without that what was
// made from a recovery file. Nobody has seen the other one: a seal is published once the ledger has it.
func (j *job) otherSeals(st *state) error {
	want, known := j.known.sealed[j.id]
	for _, c := range j.copies {
		b, err := readFile(c.path("manifest.json"), maxManifestBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := evidence.ParseManifest(b)
		switch {
		case known && digest(b) == want[0]:
			continue
		case !st.late && (!known || len(st.logs) == 1):
			continue // what is wrong with it shows when it is compared with the logs
		case !known && err == nil && madeFrom(m, st.logs):
			continue
		}
		j.note("disk %s: manifest.json is not the one that holds", c.disk.ID)
		for _, name := range []string{"manifest.json", "manifest.json.p7s", "manifest.json.tsr", "manifest.json.sm2"} {
			size, err := sizeOf(c.path(name))
			if err != nil {
				return err
			}
			if size > 0 {
				st.strays = append(st.strays, piece{c: c, file: name, len: size, whole: true, stray: true, why: beyond})
			}
		}
	}
	return nil
}

// madeFrom tells whether the last log that a manifest names is one of the recovery files here.
func madeFrom(m *evidence.Manifest, logs []evidence.LogFile) bool {
	n := len(m.Logs) - 1
	return n > 0 && n < len(logs) && m.Logs[n].File == logs[n].File && m.Logs[n].SHA256 == digest(logs[n].Data)
}

// sealedLogs are those that the manifest is derived from: the manifest of a session that was sealed
// before a late tail stays what it was. Where the ledger knows its digest, that tells.
func (j *job) sealedLogs(st *state, certs []evidence.FileDigest) ([]evidence.LogFile, error) {
	if want, ok := j.known.sealed[j.id]; ok {
		for n := 1; n <= len(st.logs); n++ {
			named := &evidence.Manifest{Logs: make([]evidence.LogDigest, n)}
			logs := evidence.SealedLogs(st.logs, named)
			if m, err := evidence.DeriveManifest(logs, certs); err == nil {
				if b, err := m.Marshal(); err == nil && digest(b) == want[0] {
					return logs, nil
				}
			}
		}
		for _, id := range j.open.Disks {
			if !slices.ContainsFunc(j.copies, func(c *replica) bool { return c.disk.ID == id }) {
				return nil, &stop{Waiting, "the manifest that the ledger sealed is on a disk that is not here: attach it"}
			}
		}
		return nil, &stop{Damaged, "the ledger sealed another manifest: left alone"}
	}
	for _, c := range j.copies {
		b, err := readFile(c.path("manifest.json"), maxManifestBytes)
		if err != nil {
			continue
		}
		if m, err := evidence.ParseManifest(b); err == nil {
			return evidence.SealedLogs(st.logs, m), nil
		}
	}
	return st.logs, nil
}

// sealFirst has the ledger name the seal that a late tail comes after, before any other copy gets the
// recovery file it was made from: a start with such a copy alone could else make a second one.
func (j *job) sealFirst(st *state) error {
	if _, ok := j.known.sealed[j.id]; ok {
		return nil
	}
	i := slices.IndexFunc(j.copies, func(c *replica) bool {
		_, err := os.Lstat(c.path("manifest.json"))
		return err == nil && !slices.ContainsFunc(st.strays, func(p piece) bool { return p.c == c && p.file == "manifest.json" })
	})
	if i < 0 {
		return nil
	}
	c := j.copies[i]
	manifest, err := readFile(c.path("manifest.json"), maxManifestBytes)
	if err != nil {
		return err
	}
	m, err := evidence.ParseManifest(manifest)
	if err != nil {
		return &stop{Damaged, fmt.Sprintf("disk %s: manifest.json: %v: left alone", c.disk.ID, err)}
	}
	certs, _, err := c.certs()
	if err != nil {
		return err
	}
	p7s, err := j.signature(manifest, certs, time.UnixMicro(m.Closed.T).UTC())
	if err != nil {
		return err
	}
	if err := same(c, "manifest.json.p7s", p7s); err != nil {
		return err
	}
	j.known.sealed[j.id] = [2]string{digest(manifest), digest(p7s)}
	return j.o.Ledger.Sealed(j.id, digest(manifest), digest(p7s))
}

// amend tells of a late tail in amendment-N.json, which the ledger names.
func (j *job) amend(st *state) error {
	_, digests, err := j.copies[0].certs()
	if err != nil {
		return err
	}
	if logs, err := j.sealedLogs(st, digests); err != nil || len(logs) == len(st.logs) {
		return err
	}
	j.item.Outcome = LateTail
	json, n, prev, err := j.amendment(st)
	if err != nil {
		return err
	}
	manifest, err := readFile(j.copies[0].path("manifest.json"), maxManifestBytes)
	if err != nil {
		return err
	}
	certs, _, err := j.copies[0].certs()
	if err != nil {
		return err
	}
	if json == nil {
		now := j.o.Now()
		a := evidence.Amendment{Session: j.id, N: n, Manifest: digest(manifest), Kind: evidence.LateTail, T: now.T.UnixMicro(), TE: -1,
			Data: evidence.LateTailData(st.logs)}
		if now.Error >= 0 {
			a.TE = now.Error.Microseconds()
		}
		if prev != nil {
			a.Prev = digest(prev)
		}
		if json, _, err = evidence.BuildAmendment(a, certs, j.o.Key); err != nil {
			return err
		}
	}
	name := evidence.AmendmentName(n)
	if err := j.each(func(c *replica) error { return same(c, name, json) }); err != nil {
		return err
	}
	p7s, err := j.amendmentSignature(name, json, n, manifest, prev)
	if err != nil {
		return err
	}
	if err := j.each(func(c *replica) error { return same(c, name+".p7s", p7s) }); err != nil {
		return err
	}
	if j.known.amends[amendKey{j.id, n}] {
		return nil
	}
	if err := j.o.Ledger.Amend(j.id, n, digest(json)); err != nil {
		return fmt.Errorf("ledger: amend: %w", err)
	}
	return nil
}

// amendment finds the amendment that tells of this late tail, or, json being nil, the number of the next
// one. prev is the amendment before it. Each copy gets the amendments before it.
func (j *job) amendment(st *state) (json []byte, n int64, prev []byte, err error) {
	last := st.logs[len(st.logs)-1].File
	for n = 1; ; n++ {
		name := evidence.AmendmentName(n)
		i := slices.IndexFunc(j.copies, func(c *replica) bool { _, err := os.Lstat(c.path(name)); return err == nil })
		if i < 0 {
			return nil, n, prev, nil
		}
		b, err := readFile(j.copies[i].path(name), maxManifestBytes)
		if err != nil {
			return nil, 0, nil, err
		}
		a, err := evidence.ParseAmendment(b)
		if err != nil {
			return nil, 0, nil, &stop{Damaged, fmt.Sprintf("%s: %v: left alone", name, err)}
		}
		if a.Kind == evidence.LateTail && a.Data["recovery"] == last {
			return b, n, prev, nil
		}
		for _, extra := range []string{name, name + ".p7s"} {
			if _, err := os.Lstat(j.copies[i].path(extra)); err != nil {
				continue
			}
			if err := j.each(func(c *replica) error { return j.mirror(j.copies[i], c, extra) }); err != nil {
				return nil, 0, nil, err
			}
		}
		prev = b
	}
}

// amendmentSignature returns the signature that is on a disk already, if it holds, else a new one.
func (j *job) amendmentSignature(name string, json []byte, n int64, manifest, prev []byte) ([]byte, error) {
	certs, _, err := j.copies[0].certs()
	if err != nil {
		return nil, err
	}
	for _, c := range j.copies {
		b, err := readFile(c.path(name+".p7s"), maxPEMBytes)
		if err != nil {
			continue
		}
		if _, err := evidence.CheckAmendment(json, b, n, j.id, manifest, prev, certs); err == nil {
			return b, nil
		}
	}
	a, err := evidence.ParseAmendment(json)
	if err != nil {
		return nil, err
	}
	_, p7s, err := evidence.BuildAmendment(*a, certs, j.o.Key)
	return p7s, err
}

// A sealed copy that a late tail is being added to is marked, so that a start without the disk the tail
// came from looks at it again.

func (c *replica) mark(id string) string { return filepath.Join(c.files.Tmp, "late-"+id) }

func (j *job) begin(c *replica) error {
	return errors.Join(c.makeTmp(), c.files.CreateSame(c.mark(j.id), nil))
}

func (j *job) end(c *replica) error {
	if _, err := os.Lstat(c.mark(j.id)); err != nil {
		return nil
	}
	return c.files.Remove(c.mark(j.id))
}

// begun tells whether a late tail was being added to a copy of the session.
func begun(disks []Disk, id string) bool {
	return slices.ContainsFunc(disks, func(d Disk) bool {
		_, err := os.Lstat(filepath.Join(d.Dir, "tmp", "recovery", "late-"+id))
		return err == nil
	})
}

// ours tells whether nothing on a disk shows that another device wrote to it (R12): a ledger that this
// device's key did not sign. It matters for folders in which nothing tells whose they are.
func (j *job) ours(d Disk) bool {
	entries, err := os.ReadDir(filepath.Join(d.Dir, "ledger"))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for _, e := range entries {
		log, err := readFile(filepath.Join(d.Dir, "ledger", e.Name(), "log.jsonl"), maxLogBytes)
		if err != nil || len(log) == 0 || strings.Contains(e.Name(), ".") {
			continue // disk.json, or a copy set aside
		}
		if dec, err := evidence.Decide(log, evidence.LedgerOrigin(j.o.Device, e.Name()), j.pub); err != nil && dec.Lines > 1 {
			return false
		}
	}
	return true
}
