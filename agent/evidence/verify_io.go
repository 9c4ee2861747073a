package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// readLimited reads a regular file of at most limit bytes.
func readLimited(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, more than the limit of %d", name, info.Size(), limit)
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead) // the size is within limit, so an int even on 32 bit
	n, err := b.ReadFrom(io.LimitReader(f, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("%s: more than the limit of %d bytes", name, limit)
	}
	return b.Bytes(), err
}

// tooMany and notRegular are what step V1 refuses.
var errTooMany = fmt.Errorf("more than %d files", MaxFiles)

// listFiles returns the size of every file below the root, by its slash path. It follows no link and
// refuses anything that is neither file nor folder (step V1).
func listFiles(fsys fs.FS) (map[string]int64, error) {
	files := make(map[string]int64)
	entries := 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entries++; entries > MaxFiles {
			return errTooMany
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is a link or a special file: only regular files can be checked", name)
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // went away while we looked: if it is listed, it will be missed
		}
		if err != nil {
			return err
		}
		files[name] = info.Size()
		return nil
	})
	return files, err
}

// litter tells whether a file is one that desktops leave behind (section 3, "session folder").
func litter(name string) bool {
	base := path.Base(name)
	switch base {
	case ".DS_Store", "Thumbs.db", "desktop.ini":
		return true
	}
	return strings.HasPrefix(base, "._")
}

// lineAt cuts the next line off data. ok is false at the end and at a torn tail.
func lineAt(data []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return nil, data, false
	}
	return data[:i], data[i+1:], true
}
