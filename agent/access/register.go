package access

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Bounds of the register.
const (
	maxLine      = 16 << 10
	maxRegister  = 256 << 20 // bytes of one year that are read
	MaxFound     = 5000      // lines of one answer
	lineOverhead = 1 << 10
)

var yearFile = regexp.MustCompile(`^[0-9]{4}\.jsonl$`)

// write makes a line durable and returns what the ledger is to name it by. The caller holds no lock.
func (a *Access) write(l report.Look) (ref string, err error) {
	if a.o.Folder == "" {
		b := make([]byte, 16)
		rand.Read(b)
		return hex.EncodeToString(b), nil
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	l.At = a.now()
	if ref, err = Write(a.o.Folder, l); err == nil && a.o.Told != nil {
		a.o.Told(l)
	}
	return ref, err
}

// Write appends a line to the register in folder, durably, and returns what the ledger is to name it by. At
// is the caller's, Salt is drawn. One caller at a time: it is for commands that run while the agent does not.
func Write(folder string, l report.Look) (ref string, err error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	l.At, l.Salt = l.At.UTC().Truncate(time.Millisecond), hex.EncodeToString(salt)
	b, err := json.Marshal(l)
	if err != nil {
		return "", fmt.Errorf("access: register: %w", err)
	}
	if len(b) > maxLine-lineOverhead {
		return "", fmt.Errorf("access: register: a line of %d bytes", len(b))
	}
	files := durable.Files{Tmp: folder, Perm: 0o600}
	f, err := files.Append(filepath.Join(folder, l.At.Format("2006")+".jsonl"))
	if err != nil {
		return "", fmt.Errorf("access: register: %w", err)
	}
	if err := whole(f); err != nil {
		return "", errors.Join(fmt.Errorf("access: register: %w", err), f.Close())
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("access: register: %w", err)
	}
	return refOf(b), nil
}

// whole ends a line that a power cut tore, so that the next one stands by itself. Nothing is taken away.
func whole(f *durable.File) error {
	if f.Size() == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, f.Size()-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err := f.Write([]byte{'\n'})
	return err
}

func refOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:16])
}

// Query narrows what is found in the register. The zero Query takes everything.
type Query struct {
	From, Until        time.Time // at or after, before
	Who, Session, Body string    // exact; Body "" is every body
	Case               string    // exact
	Text               string    // anywhere in the line
	Looks              bool      // only looks, not what became of wishes
}

func (q Query) takes(l *report.Look, raw []byte) bool {
	return (q.From.IsZero() || !l.At.Before(q.From)) && (q.Until.IsZero() || l.At.Before(q.Until)) &&
		(q.Who == "" || q.Who == l.Who) && (q.Session == "" || q.Session == l.Session) && (q.Body == "" || q.Body == l.Body) &&
		(q.Case == "" || q.Case == l.Case) && (!q.Looks || !strings.HasPrefix(l.Action, "grant.")) &&
		(q.Text == "" || bytes.Contains(raw, []byte(q.Text)))
}

// Find gives lines of the register that u may see, newest first, at most limit (1 to [MaxFound]) of them;
// more says that there are others. Who does not oversee a body sees nothing of it. It reads files and
// holds no lock.
func (a *Access) Find(ctx context.Context, u User, q Query, limit int) (found []report.Look, more bool, err error) {
	// Where there are no logins everybody who got this far came over loopback: Enter saw to it.
	if _, err := a.decide(u, Request{Action: Register, Loopback: a.o.Mode == ModeNone}); err != nil {
		return nil, false, err
	}
	if a.o.Folder == "" {
		return nil, false, nil
	}
	if a.o.Mode != ModeNone {
		q.Body = u.Body
		if q.Body == "" {
			q.Body = a.o.Body
		}
	}
	return find(ctx, a.o.Folder, q, min(max(limit, 1), MaxFound))
}

func find(ctx context.Context, folder string, q Query, limit int) (found []report.Look, more bool, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("access: register: %w", err)
	}
	for _, e := range slices.Backward(entries) { // names sort by year
		if !yearFile.MatchString(e.Name()) || !q.From.IsZero() && e.Name() < q.From.UTC().Format("2006") {
			continue
		}
		if !q.Until.IsZero() && e.Name() > q.Until.UTC().Format("2006")+".jsonl" {
			continue
		}
		l, err := readYear(ctx, filepath.Join(folder, e.Name()), q, limit+1)
		if err != nil {
			return nil, false, err
		}
		slices.Reverse(l)
		if found = append(found, l...); len(found) > limit {
			return found[:limit], true, nil
		}
	}
	return found, false, nil
}

// readYear gives the last limit lines of a file that q takes, in their order. What cannot be read as a line
// is passed over: the ledger tells that it is missing.
func readYear(ctx context.Context, name string, q Query, limit int) ([]report.Look, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("access: register: %w", err)
	}
	defer f.Close()
	var found []report.Look
	s := bufio.NewScanner(io.LimitReader(f, maxRegister))
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		l, err := parseLine(s.Bytes())
		if err != nil || !q.takes(&l, s.Bytes()) {
			continue
		}
		if found = append(found, l); len(found) >= 2*limit {
			found = append(found[:0], found[len(found)-limit:]...)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("access: register: %s: %w", name, err)
	}
	return found[max(0, len(found)-limit):], nil
}

func parseLine(b []byte) (l report.Look, err error) {
	if len(b) > maxLine {
		return l, errors.New("too long")
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, err
	}
	if l.Who == "" || l.Action == "" || l.At.IsZero() {
		return l, errors.New("who, action or time is missing")
	}
	l.Ref = refOf(b)
	return l, nil
}

// Unexplained counts the looks at content since a moment that state no purpose: the standard asks for none
// (access.reason).
func Unexplained(ctx context.Context, folder string, since time.Time) (n int, err error) {
	l, _, err := find(ctx, folder, Query{From: since, Looks: true}, MaxFound)
	for _, x := range l {
		if slices.Contains(content, x.Action) && x.Action != Watch && x.Purpose == "" {
			n++
		}
	}
	return n, err
}
