package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"minglu/agent/evidence"
)

const (
	maxFiles     = 100_000 // as the verifier (V1)
	dataFolder   = "data"
	receiptFile  = "receipt.json"
	sourcesTried = 2
)

// subfolder is what may lie in a session folder beside files.
var subfolder = regexp.MustCompile(`^[a-z]{1,32}$`)

// litter is what a desktop leaves behind; it is no part of a session.
func litter(name string) bool {
	return strings.HasPrefix(name, "._") || slices.Contains([]string{".DS_Store", "Thumbs.db", "desktop.ini"}, name)
}

// listFiles returns the size of each file of a session folder, by its path in it.
func listFiles(fsys fs.FS) (map[string]int64, error) {
	files := make(map[string]int64)
	dirs := []string{"."}
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			switch {
			case litter(e.Name()):
			case e.IsDir() && dir == "." && subfolder.MatchString(e.Name()):
				dirs = append(dirs, name)
			case !e.Type().IsRegular() || len(files) >= maxFiles:
				return nil, fmt.Errorf("%s: no regular file, or one of too many: verify the session", name)
			default:
				info, err := e.Info()
				if err != nil {
					return nil, err
				}
				files[name] = info.Size()
			}
		}
	}
	return files, nil
}

// progress is what is known of a session under way. It is durable before anything is sent that it names.
type progress struct {
	Files []sent `json:"files"`
}

// sent is one file of the bag and how far it is.
type sent struct {
	File
	Done   bool   `json:"done"`
	Resume []byte `json:"resume,omitempty"`
}

func (p *progress) of(f File) *sent {
	for i := range p.Files {
		if p.Files[i].File == f {
			return &p.Files[i]
		}
	}
	return nil
}

func (a *Archive) load(session string) *progress {
	p := new(progress)
	if b, err := a.o.Files.ReadFile(a.file(session, progressExt)); err != nil || json.Unmarshal(b, p) != nil {
		return new(progress) // what the archive has already is found by its size and read back: nothing is lost
	}
	return p
}

func (a *Archive) save(session string, p *progress) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return a.o.Files.Replace(a.file(session, progressExt), b)
}

// session hands one session over.
func (a *Archive) session(ctx context.Context, j Job) error {
	if err := a.pace(ctx, a.late(j))(0); err != nil {
		return err
	}
	ctx, stop := a.watch(ctx)
	defer stop()
	var err error
	for range sourcesTried {
		if err = a.hand(ctx, j); !errors.Is(err, errGrown) {
			break // something was added meanwhile: look again
		}
	}
	return cause(ctx, err)
}

func (a *Archive) late(j Job) bool {
	now, _ := a.o.Now()
	return now.Sub(j.Since) > a.o.Late
}

var errGrown = errors.New("files were added to the session meanwhile")

func (a *Archive) hand(ctx context.Context, j Job) error {
	h := &handing{a: a, ctx: ctx, j: j, pace: a.pace(ctx, a.late(j))}
	if err := h.want(); err != nil {
		return err
	}
	for i := range h.files {
		if err := h.send(h.files[i], path.Join(dataFolder, j.Session, h.files[i].File), h.copies[h.files[i].File]); err != nil {
			return err
		}
	}
	if err := h.tags(); err != nil {
		return err
	}
	again := &handing{a: a, ctx: ctx, j: j, pace: h.pace}
	if err := again.want(); err != nil {
		return err
	}
	if !slices.Equal(h.files, again.files) {
		return errGrown
	}
	return h.receipt()
}

// handing is one session on its way.
type handing struct {
	a    *Archive
	ctx  context.Context
	j    Job
	pace func(int) error

	files  []File             // of the session, in the order of sending
	copies map[string][]fs.FS // that have a file of the right size
	man    string             // SHA-256 of manifest.json
	p      *progress
	done   int64
	total  int64
}

// want works out what the session consists of: all files of all copies, those that the manifest signs with its digests.
func (h *handing) want() error {
	h.copies = make(map[string][]fs.FS)
	sizes := make(map[string]int64)
	var man *evidence.Manifest
	for _, c := range h.j.Copies {
		files, err := listFiles(c)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSource, err)
		}
		for name, size := range files {
			if was, ok := sizes[name]; !ok || size > was {
				sizes[name], h.copies[name] = size, []fs.FS{c}
			} else if size == was {
				h.copies[name] = append(h.copies[name], c)
			}
		}
		if man == nil {
			b, err := fs.ReadFile(c, "manifest.json")
			if err == nil {
				man, err = evidence.ParseManifest(b)
			}
			if err == nil && man.Session == h.j.Session {
				h.man = evidence.DigestFile("", b).SHA256
			} else {
				man = nil
			}
		}
	}
	if man == nil {
		return fmt.Errorf("%w: no manifest", ErrSource)
	}
	signed := signedDigests(man)
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		sum := signed[name]
		if sum == "" {
			var err error
			if sum, err = h.sum(name); err != nil {
				return err
			}
		}
		h.files = append(h.files, File{name, sizes[name], sum})
		h.total += sizes[name]
	}
	slices.SortStableFunc(h.files, func(a, b File) int { return rank(a.File) - rank(b.File) })
	h.p = h.a.load(h.j.Session)
	if r, _, err := h.a.Receipt(h.j.Session); err == nil && len(h.p.Files) == 0 && r.Where == h.a.o.Target.Where() {
		for _, f := range r.Files { // what was handed over before
			h.p.Files = append(h.p.Files, sent{File: File{path.Join(dataFolder, h.j.Session, f.File), f.Size, f.SHA256}, Done: true})
		}
	}
	return nil
}

// rank puts media first, then all else, the manifest and its signature last: what ends in the archive without
// them was not handed over whole.
func rank(name string) int {
	switch {
	case strings.HasSuffix(name, ".mp4"):
		return 0
	case name == "manifest.json":
		return 2
	case name == "manifest.json.p7s":
		return 3
	}
	return 1
}

func signedDigests(m *evidence.Manifest) map[string]string {
	d := make(map[string]string)
	for _, c := range m.Channels {
		for _, s := range c.Segments {
			d[s.File] = s.SHA256
		}
	}
	for _, l := range m.Logs {
		d[l.File] = l.SHA256
	}
	for _, c := range m.Certs {
		d[c.File] = c.SHA256
	}
	for _, x := range m.Aside {
		d[x.File] = x.SHA256
	}
	return d
}

// sum reads a file that nobody signed by name. Where copies differ the first is taken: the verifier judges them.
func (h *handing) sum(name string) (string, error) {
	f, err := h.copies[name][0].Open(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrSource, err)
	}
	defer f.Close()
	return digest(f, h.pace)
}

// digest reads to the end.
func digest(r io.Reader, pace func(int) error) (string, error) {
	sum := sha256.New()
	b := make([]byte, chunk)
	for {
		n, err := r.Read(b)
		sum.Write(b[:n])
		if err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err == nil {
			err = pace(n)
		}
		if err != nil {
			return "", err
		}
	}
}

// send hands over one file, from the first copy whose bytes are right.
func (h *handing) send(f File, to string, copies []fs.FS) error {
	defer func() { h.done += f.Size }()
	h.a.tell(func(s *Status) { s.Session, s.File, s.Done, s.Total, s.Idle = h.j.Session, f.File, h.done, h.total, "" })
	full := path.Join(h.a.folder(h.j.Session), to)
	key := File{to, f.Size, f.SHA256}
	it := h.p.of(key)
	if it == nil {
		it = h.add(key)
	}
	if it.Done {
		if ok, err := h.a.o.Target.Holds(h.ctx, full, f.Size); err != nil || ok {
			return err
		}
		it.Done, it.Resume = false, nil
	}
	var err error
	for _, c := range copies {
		if err = h.put(it, full, c, f); !errors.Is(err, ErrDigest) {
			break
		}
		it.Resume = nil
		if h.right(c, f) {
			break // the copy is right: the archive is wrong
		}
		err = fmt.Errorf("%w: %s", ErrSource, f.File)
	}
	if err != nil {
		return err
	}
	it.Done, it.Resume = true, nil
	return h.a.save(h.j.Session, h.p)
}

// add notes a file that is wanted, in place of one of that name.
func (h *handing) add(f File) *sent {
	h.p.Files = slices.DeleteFunc(h.p.Files, func(s sent) bool { return s.File.File == f.File })
	h.p.Files = append(h.p.Files, sent{File: f})
	return &h.p.Files[len(h.p.Files)-1]
}

func (h *handing) put(it *sent, to string, c fs.FS, f File) error {
	src, err := c.Open(f.File)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	defer src.Close()
	at, ok := src.(io.ReaderAt)
	if !ok {
		return fmt.Errorf("BUG: %T cannot be read at an offset", src)
	}
	if it.Resume == nil { // before the first byte: what is in the archive is never unknown here
		if err := h.a.save(h.j.Session, h.p); err != nil {
			return err
		}
	}
	moved := int64(0)
	return h.a.o.Target.Put(h.ctx, Upload{Path: to, Size: f.Size, SHA256: f.SHA256, Src: at, Resume: it.Resume, Save: func(b []byte) error {
		it.Resume = b
		return h.a.save(h.j.Session, h.p)
	}}, func(n int) error {
		moved += int64(n)
		h.a.tell(func(s *Status) { s.Done = h.done + min(moved/2, f.Size) }) // sent, and read back
		return h.pace(n)
	})
}

// right reads a copy's file and tells whether its bytes are those that were signed.
func (h *handing) right(c fs.FS, f File) bool {
	r, err := c.Open(f.File)
	if err != nil {
		return false
	}
	defer r.Close()
	sum, err := digest(r, h.pace)
	return err == nil && sum == f.SHA256
}

// tags makes the folder in the archive a bag (RFC 8493), which minglu-agent verify reads as it is.
func (h *handing) tags() error {
	var sums, info bytes.Buffer
	for _, f := range h.files {
		fmt.Fprintf(&sums, "%s  %s\n", f.SHA256, path.Join(dataFolder, h.j.Session, f.File))
	}
	for _, kv := range h.a.o.Info {
		fmt.Fprintf(&info, "%s: %s\n", kv[0], kv[1])
	}
	fmt.Fprintf(&info, "External-Identifier: %s\nPayload-Oxum: %d.%d\n", h.j.Session, h.total, len(h.files))
	tags := []struct {
		name string
		b    []byte
	}{
		{"bagit.txt", []byte("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")},
		{"bag-info.txt", info.Bytes()},
		{"manifest-sha256.txt", sums.Bytes()},
	}
	var over bytes.Buffer
	for _, t := range tags {
		fmt.Fprintf(&over, "%s  %s\n", evidence.DigestFile("", t.b).SHA256, t.name)
		if err := h.bytes(t.name, t.b); err != nil {
			return err
		}
	}
	return h.bytes("tagmanifest-sha256.txt", over.Bytes())
}

// bytes hands over a small file of our own making.
func (h *handing) bytes(name string, b []byte) error {
	f := File{name, int64(len(b)), evidence.DigestFile("", b).SHA256}
	return h.send(f, name, []fs.FS{oneFile{name, b}})
}

// receipt makes durable here what the archive proved, leaves it there too, and enters it.
func (h *handing) receipt() error {
	r, _, err := h.a.Receipt(h.j.Session)
	if err != nil || r.Manifest != h.man || r.Where != h.a.o.Target.Where() || !slices.Equal(r.Files, h.files) {
		now, te := h.a.o.Now()
		r = &Receipt{Type: "receipt", V: 1, Session: h.j.Session, Manifest: h.man, Where: h.a.o.Target.Where(), How: "read back", T: now.UnixMicro(), TE: te, Files: h.files}
	}
	b, err := evidence.MarshalCanonical(*r)
	if err != nil {
		return err
	}
	sum := evidence.DigestFile("", b).SHA256
	if err := h.a.o.Files.Replace(h.a.file(h.j.Session, receiptExt), b); err != nil {
		return err
	}
	if err := h.bytes(receiptFile, b); err != nil {
		return err
	}
	if err := h.a.o.Archived(h.ctx, *r, sum); err != nil {
		return err
	}
	return h.a.o.Files.Remove(h.a.file(h.j.Session, progressExt))
}

// oneFile is a file system with one small file in it.
type oneFile struct {
	name string
	b    []byte
}

type memory struct {
	*bytes.Reader
	fs.FileInfo
}

func (o oneFile) Open(name string) (fs.File, error) {
	if name != o.name {
		return nil, fs.ErrNotExist
	}
	return memory{Reader: bytes.NewReader(o.b)}, nil
}

func (m memory) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (m memory) Close() error               { return nil }

// Size resolves which of the two is meant.
func (m memory) Size() int64 { return m.Reader.Size() }
