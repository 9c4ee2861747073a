package inventory

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"testing/fstest"
)

// maxTree bounds what recorded reads.
const maxTree = 4 << 20

// recorded is the file system that Record wrote down.
func recorded(b []byte) (fs.FS, error) {
	if len(b) > maxTree {
		return nil, fmt.Errorf("inventory: a tree of %d bytes, want %d at most", len(b), maxTree)
	}
	tree := fstest.MapFS{}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, maxTree)
	for n := 1; s.Scan(); n++ {
		l := s.Text()
		if strings.HasPrefix(l, "#") || l == "" {
			continue
		}
		if name, to, ok := strings.Cut(l, " -> "); ok {
			tree[name] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(to)}
		} else if name, value, ok := strings.Cut(l, " = "); ok {
			data, err := strconv.Unquote(value)
			if err != nil {
				return nil, fmt.Errorf("inventory: tree: line %d: %w", n, err)
			}
			tree[name] = &fstest.MapFile{Data: []byte(data), Mode: 0o444}
		} else if name, ok := strings.CutSuffix(l, "/"); ok {
			tree[name] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		} else {
			return nil, fmt.Errorf("inventory: tree: line %d: %q is neither file, link nor folder", n, l)
		}
	}
	return tree, s.Err()
}
