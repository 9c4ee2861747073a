package keep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Folders in a disk's tmp/ whose session left sessions/: leaving- comes back after a cut, gone- is deleted.
const (
	leavingPrefix = "leaving-"
	gonePrefix    = "gone-"
)

// errNotYet: what the plan said does not hold any more.
var errNotYet = errors.New("something changed since it was decided: left for the next pass")

func (k *Keeper) files(d Disk) durable.Files {
	return durable.Files{Layer: k.o.Layer, Tmp: filepath.Join(d.Dir, "tmp")}
}

// mark notes that a session is on its way out, so that nobody copies it; the returned function takes that back.
func (k *Keeper) mark(session string) func() {
	set := func(on bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.going[session] = on; !on {
			delete(k.going, session)
		}
	}
	set(true)
	return func() { set(false) }
}

// release deletes the copies here of what the archive has.
func (k *Keeper) release(ctx context.Context, s Session) error {
	if k.o.Archive == nil {
		return errors.New("there is no archive")
	}
	defer k.mark(s.ID)()
	disks := k.o.Disks()
	var copies []fs.FS
	for _, d := range disks {
		dir := filepath.Join(d.Dir, "sessions", s.ID)
		if _, err := os.Stat(dir); err == nil {
			copies = append(copies, os.DirFS(dir))
		}
	}
	if len(copies) == 0 {
		return nil
	}
	receipt, err := k.o.Archive.Proves(ctx, s.ID, copies)
	if err != nil {
		return err
	}
	if k.ends.of(s.ID).Receipt != receipt {
		return fmt.Errorf("%w: the ledger does not name receipt %s", errNotYet, receipt)
	}
	man, err := fs.ReadFile(copies[0], "manifest.json")
	if err != nil {
		return err
	}
	if err := k.o.Files.Replace(k.manifest(s.ID), man); err != nil {
		return err
	}
	if err := k.o.Alone(func() error { return k.leaveDisks(ctx, s, disks, receipt) }); err != nil {
		return err
	}
	k.o.Log.Info("made room: the archive has it", "session", s.ID, "receipt", receipt)
	k.o.Gone(ctx, s.ID, k.ends.of(s.ID))
	return nil
}

// leaveDisks takes the folders of a session out of sessions/, asks once more whether the archive has what is in them,
// for something may have been added a moment ago, and deletes them, or else puts them back.
func (k *Keeper) leaveDisks(ctx context.Context, s Session, disks []Disk, receipt string) error {
	if !k.again(s, Release) {
		return errNotYet
	}
	var moved []Disk
	var copies []fs.FS
	var err error
	for _, d := range disks {
		f := k.files(d)
		if err = f.Mkdir(f.Tmp); err != nil {
			break
		}
		to := filepath.Join(f.Tmp, leavingPrefix+s.ID)
		if err = f.Rename(filepath.Join(d.Dir, "sessions", s.ID), to); errors.Is(err, fs.ErrNotExist) {
			err = nil
			continue
		}
		if err != nil {
			break
		}
		moved, copies = append(moved, d), append(copies, os.DirFS(to))
	}
	if err == nil && len(copies) > 0 {
		var again string
		if again, err = k.o.Archive.Proves(ctx, s.ID, copies); err == nil && again != receipt {
			err = errNotYet
		}
	}
	for _, d := range moved {
		f := k.files(d)
		from := filepath.Join(f.Tmp, leavingPrefix+s.ID)
		if err != nil {
			err = errors.Join(err, f.RenameNew(from, filepath.Join(d.Dir, "sessions", s.ID)))
			continue
		}
		to := filepath.Join(f.Tmp, gonePrefix+s.ID)
		if cerr := k.clear(d, to); cerr != nil {
			return cerr // sweep puts it back
		}
		if rerr := f.Rename(from, to); rerr != nil {
			return rerr
		}
		if cerr := k.clear(d, to); cerr != nil {
			return cerr
		}
	}
	return err
}

// destroy deletes every copy in reach, by the appraisal.
func (k *Keeper) destroy(ctx context.Context, s Session) error {
	e := k.ends.of(s.ID)
	defer k.mark(s.ID)()
	digest := e.Appraisal
	if digest == "" {
		digest = s.Appraisal
		if err := k.names(digest, s); err != nil {
			return err
		}
	}
	disks := k.o.Disks()
	for _, d := range disks {
		if err := k.leave(d, digest); err != nil {
			return err
		}
	}
	if e.Kind != Destroying && e.Kind != Destroyed {
		if !k.again(s, Destroy) {
			return errNotYet
		}
		if err := k.o.Ledger.Destroying(s.ID, digest); err != nil {
			return err
		}
		if err := k.ends.more(k.o.Ledger); err != nil {
			return err
		}
	}
	if err := k.o.Alone(func() error {
		for _, d := range disks {
			if err := k.remove(d, s.ID); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := errors.Join(k.o.Forget(s.ID), k.o.Files.Remove(k.manifest(s.ID))); err != nil {
		return err
	}
	if e.Kind == Destroyed { // a copy that came back
		k.o.Log.Warn("a destroyed session came back on a disk and was destroyed again", "session", s.ID)
		k.o.Gone(ctx, s.ID, e)
		return nil
	}
	if k.o.Archive != nil {
		if err := k.o.Archive.Remove(ctx, s.ID); err != nil {
			return err
		}
	} else if e.Receipt != "" {
		return errors.New("it was archived, and no archive is configured that could give it up")
	}
	if err := k.o.Ledger.Destroyed(s.ID, digest); err != nil {
		return err
	}
	if err := k.ends.more(k.o.Ledger); err != nil {
		return err
	}
	k.o.Log.Info("destroyed by an appraisal", "session", s.ID, "appraisal", digest)
	k.o.Gone(ctx, s.ID, k.ends.of(s.ID))
	return nil
}

// names makes sure that the appraisal names the session with the manifest that is here.
func (k *Keeper) names(digest string, s Session) error {
	k.mu.Lock()
	a := k.appraisals[digest]
	k.mu.Unlock()
	if a == nil {
		return errNotYet
	}
	want := a.of(s.ID)
	if want == nil {
		return errNotYet
	}
	man, err := k.o.Files.ReadFile(k.manifest(s.ID)) // of a session that only the archive has
	for _, d := range k.o.Disks() {
		b, rerr := os.ReadFile(filepath.Join(d.Dir, "sessions", s.ID, "manifest.json"))
		if rerr != nil {
			continue
		}
		if man, err = b, nil; evidence.DigestFile("", b).SHA256 != want.Manifest {
			return fmt.Errorf("the appraisal names manifest %s, the disk holds another: let the appraisers look again", want.Manifest)
		}
	}
	if err != nil {
		return fmt.Errorf("no manifest of it is at hand: %w", err)
	}
	if evidence.DigestFile("", man).SHA256 != want.Manifest {
		return fmt.Errorf("the appraisal names manifest %s, this is another", want.Manifest)
	}
	return nil
}

// remove takes a session off a disk.
func (k *Keeper) remove(d Disk, session string) error {
	if !sessionID.MatchString(session) {
		return fmt.Errorf("BUG: %q is no session", session)
	}
	f := k.files(d)
	from, to := filepath.Join(d.Dir, "sessions", session), filepath.Join(d.Dir, "tmp", gonePrefix+session)
	if err := f.Mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	if err := k.clear(d, to); err != nil { // of an earlier try
		return err
	}
	if err := f.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, other := range []string{"superseded-", leavingPrefix} {
		if err := k.clear(d, filepath.Join(d.Dir, "tmp", other+session)); err != nil {
			return err
		}
	}
	return k.clear(d, to)
}

// clear deletes a folder and what is in it; none is a success.
func (k *Keeper) clear(d Disk, dir string) error {
	entries, err := k.o.Layer.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = k.clear(d, name)
		} else {
			err = k.o.Layer.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return k.files(d).Remove(dir)
}

// sweep deletes what a cut left in the disks' tmp/ of what had left sessions/ for good, and puts back what had not.
func (k *Keeper) sweep() error {
	var errs []error
	for _, d := range k.o.Disks() {
		entries, err := k.o.Layer.ReadDir(filepath.Join(d.Dir, "tmp"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if id, is := strings.CutPrefix(e.Name(), gonePrefix); is && sessionID.MatchString(id) {
				errs = append(errs, k.clear(d, filepath.Join(d.Dir, "tmp", e.Name())))
			}
			if id, is := strings.CutPrefix(e.Name(), leavingPrefix); is && sessionID.MatchString(id) {
				from := filepath.Join(d.Dir, "tmp", e.Name())
				err := k.files(d).RenameNew(from, filepath.Join(d.Dir, "sessions", id))
				if errors.Is(err, fs.ErrExist) { // completed from the other disk meanwhile, which had not left
					err = k.clear(d, from)
				}
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Sweep deletes what a cut left of sessions that had left for good, and puts back those that had not. Call it once
// before anybody looks for sessions on the disks; each pass does it too.
func (k *Keeper) Sweep() error {
	k.work.Lock()
	defer k.work.Unlock()
	return k.sweep()
}

// leave puts an appraisal on a disk.
func (k *Keeper) leave(d Disk, digest string) error {
	k.mu.Lock()
	a := k.appraisals[digest]
	k.mu.Unlock()
	if a == nil { // of a destruction that another state folder began: the disk it began on has it
		return nil
	}
	f := k.files(d)
	if err := f.Mkdir(f.Tmp); err != nil {
		return err
	}
	dir := filepath.Join(d.Dir, "ledger", evidence.AppraisalsFolder)
	if err := f.Mkdir(dir); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		if err := f.CreateSame(filepath.Join(dir, name), a.files[name]); err != nil {
			return err
		}
	}
	return nil
}
