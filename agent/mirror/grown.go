package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"minglu/agent/evidence"
)

// What is in this file concerns sessions that grew after their seal (R10): a disk came back whose log went
// on, and log and media are not those that the manifest names any more.

// grown tells whether a copy has a recovery file that the manifest does not name.
func grown(v *evidence.Manifest, copies []*folder) bool {
	for _, f := range copies {
		for name := range f.files {
			if strings.HasPrefix(name, "recovery-") && !slices.ContainsFunc(v.Logs, func(l evidence.LogDigest) bool { return l.File == name }) {
				return true
			}
		}
	}
	return false
}

// asItIs takes for good what the verifier finds sound, the copy with the longest log first. Without deep
// the longest log alone decides.
func (m *Mirror) asItIs(ctx context.Context, j *job, deep bool) (*good, error) {
	candidates := slices.DeleteFunc(slices.Clone(j.copies), func(f *folder) bool { _, sealed := f.files[p7sFile]; return !sealed })
	slices.SortStableFunc(candidates, func(a, b *folder) int { return cmp.Compare(b.files[logFile].size, a.files[logFile].size) })
	for _, f := range candidates {
		if deep {
			p := &paced{ctx: ctx, m: m, FS: os.DirFS(f.dir)}
			r := evidence.Verify(p, evidence.VerifyOptions{Path: f.dir})
			if p.err != nil {
				return nil, p.err
			}
			if r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound {
				continue
			}
		}
		log, err := m.read(f.path(logFile), evidence.MaxLog)
		if err != nil {
			return nil, err
		}
		g := &good{log: log}
		for name, have := range f.files {
			w := want{name: name, size: have.size}
			if path.Base(name)[0] == '.' {
				continue // litter
			}
			if deep {
				if w.sha256, err = (&writer{m: m, ctx: ctx}).sum(f.path(name)); err != nil {
					return nil, err
				}
			}
			g.wants = append(g.wants, w)
		}
		slices.SortFunc(g.wants, func(a, b want) int {
			return cmp.Or(cmp.Compare(turn(a.name), turn(b.name)), cmp.Compare(a.name, b.name))
		})
		return g, nil
	}
	return nil, fmt.Errorf("it grew after its seal, and no copy of it is sound: verify the session")
}

// turn is when a file is written: what a cut leaves must not claim what is not there yet.
func turn(name string) int {
	switch {
	case name == p7sFile:
		return 6
	case name == manifestFile:
		return 5
	case name == logFile:
		return 4
	case strings.HasSuffix(name, ".jsonl"):
		return 3
	case strings.HasPrefix(name, "amendment-"):
		return 2
	case strings.HasSuffix(name, ".pem"):
		return 0
	}
	return 1
}

// paced lets a verification keep to the rate, and end when the disks are needed.
type paced struct {
	ctx context.Context
	m   *Mirror
	err error // why it was ended
	fs.FS
}

func (p *paced) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if d, ok := f.(fs.ReadDirFile); err == nil && ok {
		return &pacedFile{ReadDirFile: d, p: p}, nil
	}
	return f, err
}

type pacedFile struct {
	fs.ReadDirFile
	p *paced
}

func (f *pacedFile) Read(b []byte) (int, error) {
	n, err := f.ReadDirFile.Read(b)
	if stop := f.p.m.pace(f.p.ctx, n); stop != nil {
		f.p.err = errors.Join(f.p.err, stop)
		return 0, stop
	}
	return n, err
}
