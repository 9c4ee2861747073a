package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"minglu/agent/evidence"
)

// Receipt is what an archive proved to hold of a session (evidence-format.md section 3).
type Receipt struct {
	Type     string `json:"type"` // "receipt"
	V        int64  `json:"v"`    // 1
	Session  string `json:"session"`
	Manifest string `json:"manifest"` // SHA-256 of manifest.json
	Where    string `json:"where"`
	How      string `json:"how"` // how the digests were compared: "read back"
	T        int64  `json:"t"`   // µs since 1970 by the device's clock
	TE       int64  `json:"te"`  // error bound of T, -1 unknown
	Files    []File `json:"files"`
}

// File is one file of a session.
type File struct {
	File   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const (
	receiptExt  = ".receipt"
	progressExt = ".progress"
	maxReceipt  = 32 << 20 // 100,000 files
)

func (a *Archive) file(session, ext string) string { return filepath.Join(a.o.State, session+ext) }

// ParseReceipt reads a receipt strictly.
func ParseReceipt(b []byte) (*Receipt, error) {
	r := new(Receipt)
	if err := evidence.UnmarshalCanonical(b, r, true); err != nil {
		return nil, fmt.Errorf("archive: receipt: %w", err)
	}
	if r.Type != "receipt" || r.V != 1 || r.Session == "" || len(r.Manifest) != 64 {
		return nil, errors.New("archive: receipt: type, version, session or manifest is out of range")
	}
	return r, nil
}

// Receipt returns the receipt of a session and its digest; an error wraps fs.ErrNotExist if there is none.
func (a *Archive) Receipt(session string) (*Receipt, string, error) {
	return ReadReceipt(a.o.Files.ReadFile, a.file(session, receiptExt))
}

// ReadReceipt reads a receipt file.
func ReadReceipt(read func(string) ([]byte, error), name string) (*Receipt, string, error) {
	b, err := read(name)
	if err != nil {
		return nil, "", fmt.Errorf("archive: receipt: %w", err)
	}
	r, err := ParseReceipt(b)
	if err != nil {
		return nil, "", err
	}
	return r, evidence.DigestFile("", b).SHA256, nil
}

// Covered tells whether the receipt names all files of all copies of a session by name and size, and is entered.
// What is no part of a session is passed over.
func (a *Archive) Covered(j Job) bool {
	if _, err := a.o.Files.ReadFile(a.file(j.Session, progressExt)); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	r, _, err := a.Receipt(j.Session)
	if err != nil || len(j.Copies) == 0 {
		return false
	}
	for _, c := range j.Copies {
		if files, err := listFiles(c); err != nil || !r.Covers(files) {
			return false
		}
	}
	return true
}

// Covers tells whether the receipt names files by name and size.
func (r *Receipt) Covers(files map[string]int64) bool {
	held := make(map[string]int64, len(r.Files))
	for _, f := range r.Files {
		held[f.File] = f.Size
	}
	for name, size := range files {
		if s, ok := held[name]; !ok || s != size {
			return false
		}
	}
	return len(files) > 0
}

// ErrBusy means that the archive is in use for something that takes long: ask again later.
var ErrBusy = errors.New("the archive is in use: later")

// Proves returns the digest of the receipt if it names every file of every copy given, and the archive still holds
// each of them in its size. It does not wait: an error wraps [ErrBusy] while something is being sent.
func (a *Archive) Proves(ctx context.Context, session string, copies []fs.FS) (string, error) {
	if !a.work.TryLock() {
		return "", ErrBusy
	}
	defer a.work.Unlock()
	if !a.Covered(Job{Session: session, Copies: copies}) {
		return "", fmt.Errorf("archive: the receipt does not name all of %s", session)
	}
	r, sum, err := a.Receipt(session)
	if err != nil {
		return "", err
	}
	ctx, stop := a.watch(ctx)
	defer stop()
	for _, f := range r.Files {
		if err := a.pace(ctx, true)(0); err != nil {
			return "", err
		}
		ok, err := a.o.Target.Holds(ctx, path.Join(a.folder(session), dataFolder, session, f.File), f.Size)
		if err != nil {
			return "", fmt.Errorf("archive: %s: %w", session, cause(ctx, err))
		}
		if !ok {
			return "", fmt.Errorf("archive: %s lost %s of %s: it must be handed over again", a.o.Target.Where(), f.File, session)
		}
	}
	return sum, nil
}
