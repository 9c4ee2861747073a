package mirror

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

var (
	sessionID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)
	// extraFile is what may be added to a session after its seal, by its name.
	extraFile = regexp.MustCompile(`^(manifest\.json\.(tsr|sm2)|amendment-[0-9]+\.(json(\.p7s|\.tsr)?|pem)|recovery-[0-9]+\.jsonl|tokens/anchor-[0-9]+\.json|attachments/[0-9a-f]{64})$`)
)

const (
	manifestFile = "manifest.json"
	p7sFile      = "manifest.json.p7s"
	logFile      = "log.jsonl"
	attachments  = "attachments" // each file is called by its SHA-256
)

// folder is the copy of a session on one disk, as listed.
type folder struct {
	disk  Disk
	dir   string
	there bool
	files map[string]file // regular files by name, those of subfolders with their folder
}

type file struct {
	size  int64
	stamp string // changes when the file does
}

// want is a file that each copy shall have.
type want struct {
	name   string
	size   int64  // -1 unknown
	sha256 string // hex; "": nobody signed it, one copy is as good as another
	zeros  [2]int64
}

// good is what a session consists of, by its signed manifest.
type good struct {
	wants []want
	log   []byte // log.jsonl, whole
}

// list reads the names and sizes of a session on a disk. A folder that is not there is no error.
func (m *Mirror) list(d Disk, session string) (*folder, error) {
	f := &folder{disk: d, dir: filepath.Join(d.Dir, "sessions", session), files: make(map[string]file)}
	for _, sub := range []string{"", "aside", "tokens", attachments} {
		entries, err := m.o.Layer.ReadDir(filepath.Join(f.dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			if sub == "" {
				return f, nil
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		f.there = true
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			if info.Mode().IsRegular() {
				f.files[filepath.ToSlash(filepath.Join(sub, e.Name()))] = file{info.Size(), fmt.Sprint(info.Size(), ".", info.ModTime().UnixNano())}
			}
		}
	}
	return f, nil
}

// stamp is the same as long as no file of the copy was exchanged, added or written to.
func (f *folder) stamp() string {
	names := make([]string, 0, len(f.files))
	for n := range f.files {
		names = append(names, n)
	}
	slices.Sort(names)
	h := sha256.New()
	fmt.Fprintln(h, f.disk.ID, f.dir)
	for _, n := range names {
		fmt.Fprintln(h, n, f.files[n].stamp)
	}
	return string(h.Sum(nil))
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

func (m *Mirror) read(name string, limit int64) ([]byte, error) {
	h, err := m.o.Layer.OpenFile(name, 0, 0)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	size, err := h.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", name, size, limit)
	}
	return durable.Files{Layer: m.o.Layer}.ReadFile(name)
}

// manifest returns the signed manifest of a copy. It is nil without an error where there is none yet, or
// where it is damaged: then another copy may tell.
func (m *Mirror) manifest(f *folder, session string) (*evidence.Manifest, []byte, error) {
	for _, name := range []string{manifestFile, p7sFile} {
		if _, ok := f.files[name]; !ok {
			return nil, nil, nil
		}
	}
	b, err := m.read(f.path(manifestFile), evidence.MaxJSON)
	if err != nil {
		return nil, nil, err
	}
	p7s, err := m.read(f.path(p7sFile), evidence.MaxDER)
	if err != nil {
		return nil, nil, err
	}
	v, err := evidence.ParseManifest(b)
	if err != nil || v.Session != session {
		return nil, nil, nil
	}
	var certs []*x509.Certificate
	for _, c := range v.Certs {
		if c.File == "sm2.pem" { // not the device's, and no part of the CMS signature
			continue
		}
		if c.File != "device.pem" && c.File != "chain.pem" {
			return nil, nil, nil
		}
		pem, err := m.read(f.path(c.File), evidence.MaxDER)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		some, err := evidence.CertsPEM(pem)
		if err != nil || evidence.DigestFile(c.File, pem) != c {
			return nil, nil, nil
		}
		certs = append(certs, some...)
	}
	if len(certs) == 0 {
		return nil, nil, nil
	}
	if d, err := evidence.CertDevice(certs[0]); err != nil || !strings.HasPrefix(v.Origin, "minglu/"+d+"/") {
		return nil, nil, nil
	}
	if _, err := evidence.CheckCMS(p7s, b, certs); err != nil {
		return nil, nil, nil
	}
	return v, b, nil
}

// wantsOf lists the files of a session in the order in which they are written.
func wantsOf(v *evidence.Manifest, manifest, p7s []byte, copies []*folder) ([]want, error) {
	var list []want
	for _, c := range v.Certs {
		list = append(list, want{name: c.File, size: -1, sha256: c.SHA256})
	}
	for _, ch := range v.Channels {
		for _, s := range ch.Segments {
			w := want{name: s.File, size: s.Size, sha256: s.SHA256, zeros: [2]int64{s.InitLen, s.InitLen + s.Reserve}}
			if s.SHA256 == "" { // nobody could close it
				w.size = -1
			}
			list = append(list, w)
		}
	}
	for _, a := range v.Aside {
		list = append(list, want{name: a.File, size: a.Size, sha256: a.SHA256})
	}
	signed := make(map[string]bool)
	for _, l := range v.Logs {
		signed[l.File] = true
	}
	extras := make(map[string]bool)
	for _, f := range copies {
		for name := range f.files {
			if extraFile.MatchString(name) && !signed[name] {
				extras[name] = true
			}
		}
	}
	for name := range extras {
		w := want{name: name, size: -1}
		if dir, sum := path.Split(name); dir == attachments+"/" {
			w.sha256 = sum
		}
		list = append(list, w)
	}
	slices.SortFunc(list[len(list)-len(extras):], func(a, b want) int {
		return cmp.Or(cmp.Compare(turn(a.name), turn(b.name)), strings.Compare(a.name, b.name))
	})
	for _, l := range slices.Backward(v.Logs) { // log.jsonl after its recovery files: they are of no use without it
		list = append(list, want{name: l.File, size: l.Bytes, sha256: l.SHA256})
	}
	for _, f := range []struct {
		name string
		b    []byte
	}{{manifestFile, manifest}, {p7sFile, p7s}} {
		list = append(list, want{name: f.name, size: int64(len(f.b)), sha256: digestOf(f.b)})
	}
	for _, w := range list {
		if dir, base := filepath.Split(w.name); !filepath.IsLocal(w.name) || strings.ContainsAny(w.name, "\\\x00") || base == "" || base[0] == '.' || dir != "" && dir != "aside/" && dir != "tokens/" && dir != attachments+"/" {
			return nil, fmt.Errorf("%s names a file %.80q", manifestFile, w.name)
		}
	}
	return list, nil
}

func digestOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// signature is how a sign line ends, evidence-format.md section 1.
var signature = []byte(`,"type":"sign"}`)

// strange says why the log of a copy is not the beginning of the good one, "" if it is. Bytes without a
// whole sign line behind the place where both part are a torn tail: nobody signed them.
func strange(log, good []byte) string {
	if bytes.HasPrefix(good, log) {
		return ""
	}
	if bytes.HasPrefix(log, good) && bytes.Contains(log[len(good):], signature) {
		return "its log goes on after the end of the sealed one"
	}
	n := 0
	for n < len(log) && n < len(good) && log[n] == good[n] {
		n++
	}
	n = bytes.LastIndexByte(log[:n], '\n') + 1
	if bytes.Contains(log[n:], signature) {
		return fmt.Sprintf("its log differs from the sealed one in byte %d, and signed lines follow", n)
	}
	return ""
}
