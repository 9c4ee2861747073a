package pipeline

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// overlay keeps the file whose text a process draws into the picture. It is replaced as a whole, so that
// the process never reads half a line (ffmpeg: drawtext=textfile=…:reload=1).
type overlay struct {
	dir, file string
	text      func() string
}

// maxOverlay bounds the text: a picture holds no more.
const maxOverlay = 1000

func newOverlay(dir string, text func() string) (*overlay, error) {
	dir, err := os.MkdirTemp(dir, "minglu-overlay-")
	if err != nil {
		return nil, err
	}
	o := &overlay{dir: dir, file: filepath.Join(dir, "text"), text: text}
	if err := o.write(); err != nil {
		o.remove()
		return nil, err
	}
	return o, nil
}

func (o *overlay) remove() { _ = os.RemoveAll(o.dir) }

// keep writes the text anew as each second of the wall clock begins, until ctx ends.
func (o *overlay) keep(ctx context.Context, log *slog.Logger) {
	failed := false
	for {
		now := time.Now()
		t := time.NewTimer(now.Truncate(time.Second).Add(time.Second).Sub(now))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		err := o.write()
		if err != nil && !failed {
			log.Error("pipeline: the text in the picture stands still", "err", err)
		}
		failed = err != nil
	}
}

func (o *overlay) write() error {
	tmp := o.file + ".new"
	if err := os.WriteFile(tmp, []byte(drawable(o.text())), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, o.file)
}

// drawable is text without what drawtext would take for a command of its own (%{…} and backslashes, in its
// default mode), and without what cannot be drawn.
func drawable(s string) string {
	if r := []rune(s); len(r) > maxOverlay {
		s = string(r[:maxOverlay])
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '%':
			return '％'
		case r == '\\':
			return '＼'
		case r == '\n' || unicode.IsPrint(r):
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
}
