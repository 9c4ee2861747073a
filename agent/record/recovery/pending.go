package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"minglu/agent/evidence"
)

// maxLogBytes is the longest log that is read: two days of four channels.
const maxLogBytes = 512 << 20

// sessionID is S of evidence-format.md section 1.
var sessionID = regexp.MustCompile(`^\d{8}T\d{6}Z-[0-9a-f]{8}$`)

// Pending lists the unfinished sessions on the disks, oldest first, quickly and without writing: main
// decides with it whether to record on as a continuation (R1) before [Run] repairs beside it. It looks
// at whole lines up to the last sign line of the longest copy and verifies no signature. A disk that
// cannot be listed is an error beside what the others have.
func Pending(disks []Disk) ([]Open, error) {
	ids, errs := folders(disks)
	out := []Open{}
	for _, id := range ids {
		if sealedEverywhere(disks, id) && !begun(disks, id) {
			continue
		}
		best := Open{Session: id}
		for _, d := range disks {
			log, err := readFile(filepath.Join(d.Dir, "sessions", id, "log.jsonl"), maxLogBytes)
			if err != nil {
				continue // Run reports it
			}
			if o := look(id, log); best.Info == nil || o.Last.After(best.Last) {
				best = o
			}
		}
		best.Ended = best.Ended || sealedAnywhere(disks, id)
		out = append(out, best)
	}
	return out, errors.Join(errs...)
}

// folders lists the session ids found on any disk, oldest first.
func folders(disks []Disk) ([]string, []error) {
	var (
		ids  = map[string]bool{}
		errs []error
	)
	for _, d := range disks {
		entries, err := os.ReadDir(filepath.Join(d.Dir, "sessions"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("recovery: disk %s: %w", d.ID, err))
		}
		for _, e := range entries {
			if e.IsDir() && sessionID.MatchString(e.Name()) {
				ids[e.Name()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ids)), errs
}

// sealedEverywhere tells whether each disk that holds the session holds its manifest and signature, and
// the same one.
func sealedEverywhere(disks []Disk, id string) bool {
	var first []byte
	for _, d := range disks {
		dir := filepath.Join(d.Dir, "sessions", id)
		if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, "manifest.json")); err != nil {
			return false
		}
		b, err := readFile(filepath.Join(dir, "manifest.json.p7s"), maxPEMBytes)
		if err != nil || first != nil && !bytes.Equal(b, first) {
			return false
		}
		first = b
	}
	return true
}

// sealedAnywhere tells whether some disk holds the session's seal: then only a copy of it is unfinished.
func sealedAnywhere(disks []Disk, id string) bool {
	return slices.ContainsFunc(disks, func(d Disk) bool {
		_, err := os.Lstat(filepath.Join(d.Dir, "sessions", id, "manifest.json.p7s"))
		return err == nil
	})
}

// look reads what Pending tells from the bytes of a log.
func look(id string, log []byte) Open {
	o := Open{Session: id}
	if i := bytes.LastIndex(log, []byte(`,"type":"sign"}`+"\n")); i >= 0 {
		log = log[:i]
	}
	log = log[:bytes.LastIndexByte(log, '\n')+1] // the sign line's own start goes too
	first, _, ok := bytes.Cut(log, []byte("\n"))
	if !ok {
		return o
	}
	var open evidence.Open
	if l, err := evidence.ParseLine(first); err != nil || l.Type != "open" || l.Decode(&open) != nil {
		return o
	}
	o.Info, o.Boot = first, open.Boot
	o.Details, _ = last(log, "details")
	_, pause := last(log, "pause")
	_, resume := last(log, "resume")
	_, end := last(log, "close")
	o.Paused, o.Ended = pause > resume, end >= 0
	for len(log) > 0 {
		i := bytes.LastIndexByte(log[:len(log)-1], '\n') + 1
		if l, err := evidence.ParseLine(log[i : len(log)-1]); err == nil && l.Type != "sign" {
			o.Last, o.LastUp = time.UnixMicro(l.T).UTC(), time.Duration(l.Up)*time.Microsecond
			break
		}
		log = log[:i]
	}
	return o
}

// last finds the last line of a type, and its offset; -1 if there is none. Free text cannot look like
// the field: its quotes are escaped.
func last(log []byte, typ string) (line []byte, off int) {
	for end := len(log); ; {
		i := bytes.LastIndex(log[:end], []byte(`"type":"`+typ+`"`))
		if i < 0 {
			return nil, -1
		}
		from := bytes.LastIndexByte(log[:i], '\n') + 1
		line, _, _ := bytes.Cut(log[from:], []byte("\n"))
		if l, err := evidence.ParseLine(line); err == nil && l.Type == typ {
			return line, from
		}
		end = from
	}
}

// readFile reads a regular file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, size, err := openFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", name, size, limit)
	}
	b := make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), b)
	return b, err
}

// openFile opens a regular file for reading: a pipe would block, a link may point anywhere.
func openFile(name string) (*os.File, int64, error) {
	fi, err := os.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	if !fi.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := os.Open(name)
	return f, fi.Size(), err
}
