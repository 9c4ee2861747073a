package amend

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// work is one amendment under way.
type work struct {
	session   string
	n         int64
	json, p7s []byte
	pem       []byte // nil: signed with the session's certificates
	file      []byte // of an attachment
}

// Names within the folder of one amendment under way. The amendment itself is written last: with it, all is.
const (
	stagedJSON = "amendment.json"
	stagedP7S  = "amendment.p7s"
	stagedPEM  = "certs.pem"
	stagedFile = "attachment"
)

func (w work) name() string { return fmt.Sprintf("%s.%d", w.session, w.n) }

// stage makes w durable in the state folder.
func (a *Amender) stage(w work) error {
	dir := filepath.Join(a.o.Folder, w.name())
	if err := a.o.Files.MkdirAll(dir); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{stagedFile, w.file}, {stagedPEM, w.pem}, {stagedP7S, w.p7s}, {stagedJSON, w.json}} {
		if f.data == nil {
			continue
		}
		if err := a.o.Files.Replace(filepath.Join(dir, f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}

// staged reads what is under way. An error wrapping fs.ErrNotExist means that it never became whole.
func (a *Amender) staged(name string) (w work, err error) {
	session, number, _ := strings.Cut(name, ".")
	w.session = session
	if w.n, err = strconv.ParseInt(number, 10, 64); err != nil {
		return w, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	dir := filepath.Join(a.o.Folder, name)
	for _, f := range []struct {
		name string
		to   *[]byte
		must bool
	}{{stagedJSON, &w.json, true}, {stagedP7S, &w.p7s, true}, {stagedPEM, &w.pem, false}, {stagedFile, &w.file, false}} {
		b, err := a.o.Files.ReadFile(filepath.Join(dir, f.name))
		if errors.Is(err, fs.ErrNotExist) && !f.must {
			continue
		}
		if err != nil {
			return w, err
		}
		*f.to = b
	}
	return w, nil
}

func (a *Amender) drop(name string) error {
	dir := filepath.Join(a.o.Folder, name)
	for _, f := range []string{stagedJSON, stagedP7S, stagedPEM, stagedFile} { // the amendment first: what is left is not whole
		if err := a.o.Files.Remove(filepath.Join(dir, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return a.o.Files.SyncDir(a.o.Folder)
}

// publish brings w to the disks that hold its session, then into the ledger, and forgets it. One disk is enough:
// the mirror completes the others.
func (a *Amender) publish(w work) error {
	switch taken, err := a.taken(w); {
	case err != nil:
		return err
	case taken:
		return errTaken
	}
	var errs []error
	done := 0
	for _, d := range a.o.Disks() {
		dir := filepath.Join(d, "sessions", w.session)
		if _, err := os.Stat(filepath.Join(dir, "manifest.json.p7s")); err != nil {
			continue
		}
		if err := a.write(durable.Files{Layer: a.o.Layer, Tmp: filepath.Join(d, "tmp")}, dir, w); err != nil {
			a.o.Log.Error("an amendment is not on a disk", "session", w.session, "n", w.n, "disk", d, "err", err)
			errs = append(errs, err)
			continue
		}
		done++
	}
	if done == 0 {
		return errors.Join(append(errs, ErrNoDisk)...)
	}
	sum, err := a.o.Ledger.Amended(w.session, w.n)
	if err == nil && sum == "" {
		err = a.o.Ledger.Amend(w.session, w.n, digest(w.json))
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return a.drop(w.name())
}

// write puts the files of w into one copy. Each step may be repeated.
func (a *Amender) write(files durable.Files, dir string, w work) error {
	if w.file != nil {
		if err := files.Mkdir(filepath.Join(dir, "attachments")); err != nil {
			return err
		}
		if err := files.CreateSame(filepath.Join(dir, filepath.FromSlash(evidence.AttachmentPath(digest(w.file)))), w.file); err != nil {
			return err
		}
	}
	if w.pem != nil {
		if err := files.CreateSame(filepath.Join(dir, fmt.Sprintf("amendment-%d.pem", w.n)), w.pem); err != nil {
			return err
		}
	}
	name := filepath.Join(dir, evidence.AmendmentName(w.n))
	if err := files.CreateSame(name, w.json); err != nil {
		return err
	}
	return files.CreateSame(name+".p7s", w.p7s)
}
