// Package export packs a session for somebody outside: a bag as RFC 8493 (BagIt 1.0) defines it, with the
// session folder as it is, proofs from the device ledger, and a script that checks it with sha256sum and
// openssl alone.
//
// It guarantees: each byte of the session is copied as it is and read back by its digest; the bag appears
// under its name only when it is whole and durable; a name that is taken is refused. It decides nothing:
// who may have a bag, and the entry made before it is written, are main's.
//
// The bag shows nothing of other sessions: of the ledger it carries the lines of this one with hashes in
// place of all others.
package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/durable"
)

// Options say what goes into a bag.
type Options struct {
	Session string            // its id: the bag is To/Session, the session folder To/Session/data/Session
	From    fs.FS             // the session folder
	To      string            // a folder that exists
	More    map[string][]byte // further files, by path below data/
	Info    [][2]string       // bag-info.txt, in order: names and values of one line
	Files   durable.Files     // Tmp is not used
	// Progress is told of each piece copied; must not block; nil: nobody.
	Progress func(file string, done, total int64)
}

// Bag is what was written.
type Bag struct {
	Dir   string
	Files int
	Bytes int64
}

// ErrExists means that the bag's name is taken.
var ErrExists = errors.New("already there: move it away or choose another folder")

const chunk = 1 << 20

// writer fills one bag.
type writer struct {
	o      Options
	dir    string // being filled
	sums   map[string]string
	done   int64
	total  int64
	folder map[string]bool
}

// Write makes the bag. It blocks for as long as copying and reading back takes. After an error or the end
// of ctx what was written so far is in To/.Session.partial, which the next Write begins anew.
func Write(ctx context.Context, o Options) (Bag, error) {
	b, err := write(ctx, o)
	if err != nil {
		return Bag{}, fmt.Errorf("export: %w", err)
	}
	return b, nil
}

func write(ctx context.Context, o Options) (Bag, error) {
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	final := filepath.Join(o.To, o.Session)
	if _, err := os.Lstat(final); err == nil {
		return Bag{}, fmt.Errorf("%s: %w", final, ErrExists)
	}
	w := &writer{o: o, dir: filepath.Join(o.To, "."+o.Session+".partial"), sums: map[string]string{}, folder: map[string]bool{}}
	if err := os.RemoveAll(w.dir); err != nil { // of our own making, by its name
		return Bag{}, err
	}
	if err := o.Files.MkdirAll(w.dir); err != nil {
		return Bag{}, err
	}
	if err := w.payload(ctx); err != nil {
		return Bag{}, err
	}
	if err := w.tags(); err != nil {
		return Bag{}, err
	}
	if err := o.Files.RenameNew(w.dir, final); err != nil {
		return Bag{}, err
	}
	return Bag{Dir: final, Files: len(w.sums), Bytes: w.done}, nil
}

// payload copies what lies below data/.
func (w *writer) payload(ctx context.Context) error {
	var names []string
	err := fs.WalkDir(w.o.From, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("%s is no regular file: verify the session first", name)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		w.total += info.Size()
		names = append(names, name)
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.copy(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range sorted(w.o.More) {
		if err := w.put(path.Join("data", name), w.o.More[name]); err != nil {
			return err
		}
	}
	return nil
}

// open makes a file of the bag.
func (w *writer) open(name string) (*durable.File, error) {
	full := filepath.Join(w.dir, filepath.FromSlash(name))
	if dir := filepath.Dir(full); !w.folder[dir] {
		if err := w.o.Files.MkdirAll(dir); err != nil {
			return nil, err
		}
		w.folder[dir] = true
	}
	return w.o.Files.CreateFile(full)
}

// put writes a small file.
func (w *writer) put(name string, b []byte) error {
	f, err := w.open(name)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	s := sha256.Sum256(b)
	w.sums[name] = hex.EncodeToString(s[:])
	w.done += int64(len(b))
	return nil
}

// copy brings one file of the session over and reads it back.
func (w *writer) copy(ctx context.Context, name string) (err error) {
	in, err := w.o.From.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	to := path.Join("data", w.o.Session, name)
	out, err := w.open(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	h, buf := sha256.New(), make([]byte, chunk)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := in.Read(buf)
		h.Write(buf[:n])
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		w.done += int64(n)
		w.o.Progress(name, w.done, max(w.done, w.total))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := out.Sync(); err != nil {
		return err
	}
	back := sha256.New()
	if _, err := io.Copy(back, io.NewSectionReader(out, 0, out.Size())); err != nil {
		return err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if hex.EncodeToString(back.Sum(nil)) != sum {
		return fmt.Errorf("%s: the medium gives back other bytes than were written: use another", to)
	}
	w.sums[to] = sum
	return nil
}

// tags writes what makes the folder a bag, RFC 8493 section 2.
func (w *writer) tags() error {
	files, bytes := len(w.sums), w.done
	var payload strings.Builder
	for _, name := range sorted(w.sums) {
		fmt.Fprintf(&payload, "%s  %s\n", w.sums[name], escape(name))
	}
	info := ""
	for _, f := range append(slices.Clone(w.o.Info), [2]string{"Payload-Oxum", fmt.Sprintf("%d.%d", bytes, files)}) {
		info += f[0] + ": " + strings.Join(strings.Fields(f[1]), " ") + "\n"
	}
	tagged := map[string][]byte{
		"bagit.txt":           []byte("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"),
		"bag-info.txt":        []byte(info),
		"manifest-sha256.txt": []byte(payload.String()),
		"verify.sh":           []byte(script),
		"README.txt":          []byte(readme),
	}
	var tags strings.Builder
	for _, name := range sorted(tagged) {
		if err := w.put(name, tagged[name]); err != nil {
			return err
		}
		fmt.Fprintf(&tags, "%s  %s\n", w.sums[name], name)
	}
	return w.put("tagmanifest-sha256.txt", []byte(tags.String()))
}

// escape encodes what RFC 8493 section 2.1.3 asks to encode in a path.
func escape(name string) string {
	return strings.NewReplacer("%", "%25", "\n", "%0A", "\r", "%0D").Replace(name)
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
