package recovery

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

func (o *Options) valid() error {
	if o.Ledger == nil || o.NewLog == nil || o.Now == nil || o.Key == nil || o.Device == "" || o.BootID == "" {
		return errors.New("recovery: options: Ledger, NewLog, Now, Key, Device and BootID are needed")
	}
	if _, ok := o.Key.Public().(*ecdsa.PublicKey); !ok {
		return errors.New("recovery: options: Key is not ECDSA")
	}
	if o.Skip == nil {
		o.Skip = func(string) bool { return false }
	}
	if o.Cut == nil {
		o.Cut = func(string) (string, time.Duration) { return "", 0 }
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Layer == nil {
		o.Layer = durable.OS{}
	}
	return nil
}

// Run repairs every unfinished session on the disks, one after the other, oldest first. It blocks until
// done or until ctx ends (between two sessions, or while a long one is copied to a disk that lacks it). A session that cannot be repaired is reported and does
// not stop the others; the error is non-nil only if ctx ended, the options are unusable, the ledger
// cannot be read or a disk cannot be listed. Run may work beside a recorder as long as Skip names its
// sessions; only one Run at a time.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.valid(); err != nil {
		return Report{}, err
	}
	start := o.Now().Up
	known, err := scan(o.Ledger)
	if err != nil {
		return Report{}, fmt.Errorf("recovery: ledger: %w", err)
	}
	ids, errs := folders(o.Disks)
	var todo []string
	for _, id := range ids {
		if !o.Skip(id) && (!sealedEverywhere(o.Disks, id) || known.unsealed(id) || begun(o.Disks, id)) {
			todo = append(todo, id)
		}
	}
	rep := Report{Items: []Item{}}
	for i, id := range todo {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		o.Progress(Progress{id, i + 1, len(todo)})
		job := &job{ctx: ctx, o: &o, id: id, known: known, item: Item{Session: id, Recovered: map[string]int64{}}}
		job.run()
		o.Log.Info("recovery: session done", "session", id, "outcome", job.item.Outcome, "cause", job.item.Cause,
			"notes", job.item.Notes, "err", job.item.Err)
		rep.Items = append(rep.Items, job.item)
	}
	rep.Took = o.Now().Up - start
	return rep, errors.Join(errs...)
}

// known is what the ledger of this generation holds of sessions.
type known struct {
	origin string
	heads  map[headKey]string   // root
	files  [][2]string          // session and log file of each head
	any    map[string]bool      // sessions with a head of log.jsonl
	sealed map[string][2]string // digests of manifest and p7s
	amends map[amendKey]bool
	ended  map[string]int64 // t of the newest head or seal
	lost   map[string]int64 // sessions given up where a disk held more, with ended: what was known of it is void
}

type headKey struct {
	session, log string
	size         int64
}

type amendKey struct {
	session string
	n       int64
}

func scan(l Ledger) (*known, error) {
	b, err := l.BytesFrom(0)
	if err != nil {
		return nil, err
	}
	k := &known{origin: l.Origin(), heads: map[headKey]string{}, any: map[string]bool{}, sealed: map[string][2]string{}, amends: map[amendKey]bool{}, ended: map[string]int64{}, lost: map[string]int64{}}
	for line := range bytes.Lines(b) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if !bytes.Contains(line, []byte(`"type":"head"`)) && !bytes.Contains(line, []byte(`"type":"sealed"`)) && !bytes.Contains(line, []byte(`"type":"amend"`)) && !bytes.Contains(line, []byte(`"type":"lost"`)) {
			continue
		}
		p, err := evidence.ParseLine(line)
		if err != nil {
			return nil, err
		}
		switch p.Type {
		case "head":
			var h evidence.Head
			if err := p.Decode(&h); err != nil {
				return nil, err
			}
			k.heads[headKey{h.Session, h.Log, h.Size}] = h.Root
			k.files = append(k.files, [2]string{h.Session, h.Log})
			k.any[h.Session], k.ended[h.Session] = true, h.T
		case "sealed":
			var s evidence.Sealed
			if err := p.Decode(&s); err != nil {
				return nil, err
			}
			if _, again := k.sealed[s.Session]; !again { // the first one holds
				k.sealed[s.Session], k.ended[s.Session] = [2]string{s.Manifest, s.P7S}, s.T
			}
		case "amend":
			var a evidence.AmendRef
			if err := p.Decode(&a); err != nil {
				return nil, err
			}
			k.amends[amendKey{a.Session, a.N}] = true
		case "lost":
			var x evidence.LostTail
			if err := p.Decode(&x); err != nil {
				return nil, err
			}
			k.giveUp(x.Session)
		}
	}
	return k, nil
}

// giveUp forgets what the ledger says of a session's heads and seal: a person entered that the disk that held
// them will not come back, and what is here is brought to an end of its own.
func (k *known) giveUp(id string) {
	k.lost[id] = k.ended[id]
	delete(k.sealed, id)
	maps.DeleteFunc(k.heads, func(h headKey, _ string) bool { return h.session == id })
	maps.DeleteFunc(k.amends, func(a amendKey, _ bool) bool { return a.session == id })
	k.files = slices.DeleteFunc(k.files, func(f [2]string) bool { return f[0] == id })
}

// unsealed tells whether this generation of the ledger opened the session and lacks its end. Sessions
// of an earlier generation have theirs there.
func (k *known) unsealed(id string) bool {
	_, sealed := k.sealed[id]
	return k.any[id] && !sealed
}

// job is the repair of one session.
type job struct {
	ctx   context.Context
	o     *Options
	id    string
	known *known
	item  Item

	copies []*replica // usable ones, source first
	open   evidence.Open
	pub    *ecdsa.PublicKey // of the device
	logPub *ecdsa.PublicKey // of log.jsonl: the same, or a key for this session (evidence.Open.LogKey)
}

func (j *job) note(format string, args ...any) {
	j.item.Notes = append(j.item.Notes, fmt.Sprintf(format, args...))
}

// stop is an outcome reached early.
type stop struct {
	outcome Outcome
	why     string
}

func (s *stop) Error() string { return s.why }

func (j *job) run() {
	err := j.repair()
	if s := (*stop)(nil); errors.As(err, &s) {
		j.item.Outcome, j.item.Err = s.outcome, errors.New("recovery: "+j.id+": "+s.why)
		return
	}
	if err != nil {
		j.item.Outcome, j.item.Err = Failed, fmt.Errorf("recovery: %s: %w", j.id, err)
	}
}

// repair is the order of the package comment.
func (j *job) repair() error {
	if err := j.load(); err != nil {
		return err
	}
	st, err := j.read()
	if err != nil {
		return err
	}
	p, err := j.plan(st)
	if err != nil {
		return err
	}
	if st.late {
		if err := j.each(j.begin); err != nil {
			return err
		}
		if err := j.sealFirst(st); err != nil {
			return err
		}
	}
	if err := j.apply(st, p); err != nil {
		return err
	}
	if !st.sealed {
		if st, err = j.writeRecovery(st, p); err != nil {
			return err
		}
	}
	if err := j.index(st); err != nil {
		return err
	}
	if err := j.seal(st); err != nil {
		return err
	}
	if err := j.amend(st); err != nil {
		return err
	}
	return j.each(j.end)
}

// path names a file of the session on a copy's disk.
func (c *replica) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }
