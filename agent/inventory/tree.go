package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Record looks at a machine and writes down every file, folder and link of /sys, /proc and /dev that was looked
// at, so that the same look can be repeated elsewhere: for a board nobody here has (docs/add-driver.md). It
// holds the serial numbers of what is plugged in, and no recording, password or key.
func Record(o Options) (*Machine, []byte) {
	r := &recorder{root: o.Root, entries: map[string]entry{}}
	o.Root = r
	m := Look(o)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# minglu-agent devices --record; %s, %s\n", o.Arch, m.Seen.Model)
	names := []string{}
	for n := range r.entries {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		switch e := r.entries[n]; {
		case e.link != "":
			fmt.Fprintf(&b, "%s -> %s\n", n, e.link)
		case e.dir:
			fmt.Fprintf(&b, "%s/\n", n)
		default:
			fmt.Fprintf(&b, "%s = %s\n", n, strconv.Quote(string(e.data)))
		}
	}
	return m, b.Bytes()
}

type entry struct {
	data []byte
	link string
	dir  bool
}

// recorder is a file system that remembers what was asked of it, under the real paths.
type recorder struct {
	root    fs.FS
	entries map[string]entry
}

const maxLinks = 40

// real follows the links on the way to a file, the last part too if all is set, and remembers them.
func (r *recorder) real(name string, all bool) (string, error) {
	done, rest := ".", strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		next := path.Join(done, rest[0])
		rest = rest[1:]
		to, err := fs.ReadLink(r.root, next)
		if err != nil || (len(rest) == 0 && !all) {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", errors.New("too many links")
		}
		if path.IsAbs(to) { // a recorded tree is not at the root
			to = strings.Repeat("../", strings.Count(next, "/")) + strings.TrimPrefix(to, "/")
		}
		r.entries[next] = entry{link: to}
		rest = append(strings.Split(path.Join(path.Dir(next), to), "/"), rest...)
		done = "."
	}
	return done, nil
}

func (r *recorder) Open(name string) (fs.File, error) {
	at, err := r.real(name, true)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f, err := r.root.Open(at)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && !st.IsDir() {
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxFile))
		if err != nil { // a file of /sys may have nothing to say just now
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		r.entries[at] = entry{data: b}
		return &memory{st, bytes.NewReader(b)}, nil
	}
	return f, nil
}

// memory is a file whose content was read.
type memory struct {
	st fs.FileInfo
	*bytes.Reader
}

func (m *memory) Stat() (fs.FileInfo, error) { return m.st, nil }
func (m *memory) Close() error               { return nil }

func (r *recorder) ReadDir(name string) ([]fs.DirEntry, error) {
	at, err := r.real(name, true)
	if err != nil {
		return nil, err
	}
	list, err := fs.ReadDir(r.root, at)
	for _, e := range list {
		n := path.Join(at, e.Name())
		if _, ok := r.entries[n]; ok {
			continue
		}
		if to, err := fs.ReadLink(r.root, n); err == nil {
			if path.IsAbs(to) {
				to = strings.Repeat("../", strings.Count(n, "/")) + strings.TrimPrefix(to, "/")
			}
			r.entries[n] = entry{link: to}
		} else if e.IsDir() {
			r.entries[n] = entry{dir: true}
		} else {
			r.entries[n] = entry{data: []byte{}}
		}
	}
	return list, err
}

func (r *recorder) ReadLink(name string) (string, error) {
	at, err := r.real(name, false)
	if err != nil {
		return "", err
	}
	to, err := fs.ReadLink(r.root, at)
	if err == nil {
		if path.IsAbs(to) {
			to = strings.Repeat("../", strings.Count(at, "/")) + strings.TrimPrefix(to, "/")
		}
		r.entries[at] = entry{link: to}
		return to, nil
	}
	return "", err
}

func (r *recorder) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(r.root, name) }
