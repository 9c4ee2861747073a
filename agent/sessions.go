package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
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
	"time"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/store"
	"minglu/agent/web"
)

// sessions serves recorded sessions to the pages from the catalogue and the folders on the disks.
type sessions struct {
	store    *store.Store
	disks    func() []store.Disk    // those present now
	own      string                 // D of this device
	live     func() []web.Session   // those being recorded or sealed, newest first
	trust    func() *evidence.Trust // state/trust and this device's own certificate
	room     func(*web.Session)     // fills Room and Device
	disk     func(id string) string // how people call a disk, "" one that is not of this room
	results  string                 // folder of the last verification of each session
	files    durable.Files          // of the state folder
	verified func()                 // called after each verification
}

var (
	sessionID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)
	channelID = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
)

func (s *sessions) List(ctx context.Context, limit int, before string) ([]web.Session, error) {
	rows, err := s.store.List(ctx, store.Filter{Before: before}, limit, 0)
	if err != nil {
		return nil, err
	}
	list := []web.Session{}
	live := s.live()
	if before == "" {
		list = append(list, live...)
	}
	for _, r := range rows {
		if !slices.ContainsFunc(live, func(l web.Session) bool { return l.ID == r.ID }) {
			list = append(list, s.convert(r))
		}
	}
	return list, nil
}

func (s *sessions) Get(ctx context.Context, id string) (web.Session, error) {
	for _, l := range s.live() {
		if l.ID == id {
			return l, nil
		}
	}
	row, err := s.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return web.Session{}, web.ErrNotFound
	}
	if err != nil {
		return web.Session{}, err
	}
	w := s.convert(row)
	if m, sum := s.sealedManifest(id); m != nil {
		w.Manifest = sum
		for _, b := range m.Breaks {
			w.Breaks = append(w.Breaks, web.Break{From: b.From, To: b.To, Reason: b.Reason, Who: b.Who})
		}
		if len(m.Clock) > 0 { // read when the session was opened, right after the trigger
			w.PrerollUS = m.Clock[0].At
		}
		for _, k := range m.Marks {
			w.Marks = append(w.Marks, web.Mark{At: k.At, Text: k.Text, Kind: k.Kind})
		}
	}
	return w, nil
}

func (s *sessions) convert(r store.Session) web.Session {
	w := web.Session{
		ID: r.ID, State: string(r.State), Body: r.Body, Opened: stamp(r.Opened), Closed: stamp(r.Closed), DurationUS: r.Duration.Microseconds(),
		Trigger: r.Trigger, Reason: r.Reason, Continues: r.Continues, Case: r.Case, Matter: r.Matter, Flags: r.Flags, SizeBytes: r.Bytes, Disks: slices.Clone(r.Disks),
	}
	s.room(&w)
	if r.Device.ID != "" && r.Device.ID != s.own {
		w.Room, w.Device, w.Adopted = r.Device.Room, r.Device.Name, true
	}
	for i, id := range w.Disks {
		w.Disks[i] = cmp.Or(s.disk(id), id[:min(8, len(id))])
	}
	for _, o := range r.Officers {
		w.Officers = append(w.Officers, web.Officer(o))
	}
	for _, c := range r.Channels {
		w.Channels = append(w.Channels, web.SessionMedia{ID: c.ID, Kind: c.Kind, Codecs: c.Codec, Segments: c.Segments})
	}
	w.Amended = r.Amended
	for _, t := range r.Attachments {
		w.Attached = append(w.Attached, web.Attached{Name: t.Name, Kind: t.Kind, Size: t.Size, SHA256: t.SHA256, At: stamp(time.UnixMicro(t.T)), Who: t.Who})
	}
	for _, x := range r.Refused {
		w.Refused = append(w.Refused, web.Refused{Party: x.Party, Reason: x.Reason, At: stamp(time.UnixMicro(x.T)), Who: x.Who})
	}
	if !r.Verified.At.IsZero() {
		w.Checked = &web.Checked{At: stamp(r.Verified.At), Exit: r.Verified.Exit, Grade: r.Verified.Grade}
		w.Spans = s.spans(r.ID)
	}
	return w
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// folders are the copies of a session on the disks present.
func (s *sessions) folders(id string) []string {
	var dirs []string
	if !sessionID.MatchString(id) {
		return nil
	}
	for _, d := range s.disks() {
		dir := filepath.Join(d.Dir, "sessions", id)
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Hearing gives the sessions of one interview or hearing, in order of time.
func (s *sessions) Hearing(ctx context.Context, id string) ([]web.Session, error) {
	parts, err := s.store.Hearing(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, web.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	var all []web.Session
	for _, p := range parts {
		w, err := s.Get(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// sealedManifest is the manifest with the digest of its file, nil if there is none.
func (s *sessions) sealedManifest(id string) (m *evidence.Manifest, sha256hex string) {
	for _, dir := range s.folders(id) {
		b, err := readAtMost(filepath.Join(dir, "manifest.json"), evidence.MaxJSON)
		if err != nil {
			continue
		}
		if m, err := evidence.ParseManifest(b); err == nil {
			sum := sha256.Sum256(b)
			return m, hex.EncodeToString(sum[:])
		}
	}
	return nil, ""
}

func readAtMost(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return b, err
}

// Segments reads the channel's files and fragments from the logs of the copy that has most of them.
func (s *sessions) Segments(ctx context.Context, id, channel string) ([]web.Segment, error) {
	var best []web.Segment
	for _, dir := range s.folders(id) {
		segs, err := readSegments(ctx, dir, channel)
		if err == nil && len(segs) >= len(best) {
			best = segs
		}
	}
	if best == nil {
		return nil, web.ErrNotFound
	}
	return best, nil
}

// readSegments gathers segment.open, fragment and recovered lines of one channel from a session folder.
func readSegments(ctx context.Context, dir, channel string) ([]web.Segment, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "recovery-*.jsonl"))
	if err != nil {
		return nil, err
	}
	slices.Sort(logs)
	c := segmentReader{channel: channel}
	for _, name := range append([]string{filepath.Join(dir, "log.jsonl")}, logs...) {
		if err := c.read(ctx, name); err != nil {
			return nil, err
		}
	}
	for i := range c.segs {
		g := &c.segs[i]
		if st, err := os.Stat(filepath.Join(dir, g.File)); err == nil {
			g.Size = st.Size()
		}
		if n := len(g.Fragments); n > 0 {
			g.Start, g.Duration = g.Fragments[0].From, g.Fragments[n-1].To-g.Fragments[0].From
			g.Wall = c.wall(g.Start)
		}
	}
	return c.segs, nil
}

type segmentReader struct {
	channel string
	segs    []web.Segment
	clocks  []evidence.Clock
}

func (c *segmentReader) read(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), 64<<10)
	for lines.Scan() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b := lines.Bytes()
		// Most lines are of other channels: look before parsing. The forms are canonical, so these bytes must occur.
		isClock := bytes.Contains(b, []byte(`"type":"clock"`))
		if !isClock && !bytes.Contains(b, []byte(`"ch":"`+c.channel+`"`)) {
			continue
		}
		if err := c.line(b); err != nil {
			break // a torn or foreign tail: what stands before it can be shown
		}
	}
	return nil
}

func (c *segmentReader) line(b []byte) error {
	l, err := evidence.ParseLine(b)
	if err != nil {
		return err
	}
	switch l.Type {
	case "clock":
		var k evidence.Clock
		err = l.Decode(&k)
		c.clocks = append(c.clocks, k)
	case "segment.open":
		var o evidence.SegmentOpen
		if err = l.Decode(&o); err == nil && o.Ch == c.channel {
			c.segs = append(c.segs, web.Segment{N: o.Seg, File: fmt.Sprintf("%s-%05d.mp4", o.Ch, o.Seg), Codecs: o.Codec, Init: web.Range{Off: 0, Len: o.InitLen}, Fragments: []web.FragSpan{}})
		}
	case "fragment", "recovered":
		var g evidence.Fragment
		if err = l.Decode(&g); err != nil || g.Ch != c.channel {
			break
		}
		for i := range c.segs {
			if c.segs[i].N == g.Seg {
				c.segs[i].Fragments = append(c.segs[i].Fragments, web.FragSpan{Off: g.Off, Len: g.Len, From: g.From, To: g.To})
			}
		}
	}
	return err
}

// wall turns media time into wall time by the last clock line at or before it.
func (c *segmentReader) wall(m int64) string {
	for i := len(c.clocks) - 1; i >= 0; i-- {
		if k := c.clocks[i]; k.At <= m || i == 0 {
			return stamp(time.UnixMicro(k.T + m - k.At))
		}
	}
	return ""
}

func (s *sessions) OpenMedia(_ context.Context, id, channel string, n int64) (web.Media, error) {
	if !channelID.MatchString(channel) || n < 1 {
		return web.Media{}, web.ErrNotFound
	}
	name := fmt.Sprintf("%s-%05d.mp4", channel, n)
	for _, dir := range s.folders(id) {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		st, err := f.Stat()
		if err != nil || !st.Mode().IsRegular() {
			f.Close()
			continue
		}
		return web.Media{ReadSeekCloser: f, Name: name, Modified: st.ModTime()}, nil
	}
	return web.Media{}, web.ErrNotFound
}

// OpenFolder gives the copy that the last verification judged by, else the sealed one with most in it.
func (s *sessions) OpenFolder(_ context.Context, id string) (fs.FS, error) {
	best, most := "", int64(-1)
	for _, dir := range s.folders(id) {
		n := int64(0)
		entries, _ := os.ReadDir(dir) // a copy that cannot be read is not the best
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				n += info.Size()
			}
			if e.Name() == "manifest.json.p7s" {
				n += 1 << 50
			}
		}
		if r := s.result(id); r != nil && slices.Contains(r.Sessions[0].Paths[:min(1, len(r.Sessions[0].Paths))], dir) {
			n += 1 << 51
		}
		if n > most {
			best, most = dir, n
		}
	}
	if best == "" {
		return nil, web.ErrNotFound
	}
	return os.DirFS(best), nil
}

func (s *sessions) Verify(ctx context.Context, id string, progress func(done, all int64)) (json.RawMessage, error) {
	dirs := s.folders(id)
	if len(dirs) == 0 {
		return nil, web.ErrNotFound
	}
	places := make([]evidence.Place, 0, len(dirs))
	for _, dir := range dirs {
		places = append(places, evidence.Place{Path: dir, FS: ctxFS{ctx, os.DirFS(dir)}})
	}
	r := evidence.VerifyPlaces(places, evidence.VerifyOptions{Trust: s.trust(), Require: evidence.DefaultRequire, Progress: func(p evidence.Progress) { progress(p.Done, p.Total) }})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	if len(r.Sessions) == 1 {
		s.keepResult(ctx, id, r, b)
	}
	return json.Marshal(shownResult{r, r.Chinese()})
}

// shownResult is a verification with Chinese words for what it says in English, by the English.
type shownResult struct {
	evidence.Result
	Chinese map[string]string `json:"chinese"`
}

// keepResult remembers a verification; failing to is no failure of the verification.
func (s *sessions) keepResult(ctx context.Context, id string, r evidence.Result, b []byte) {
	if s.files.Replace(filepath.Join(s.results, id+".json"), b) == nil {
		s.verified()
		_ = s.store.SetVerified(ctx, id, store.Verified{Exit: r.Exit, Grade: r.Sessions[0].Grade, At: time.Now()})
	}
}

// result is the last verification of a session, nil if none.
func (s *sessions) result(id string) *evidence.Result {
	b, err := readAtMost(filepath.Join(s.results, id+".json"), evidence.MaxJSON)
	if err != nil {
		return nil
	}
	r := new(evidence.Result)
	if json.Unmarshal(b, r) != nil || len(r.Sessions) != 1 {
		return nil
	}
	return r
}

func (s *sessions) spans(id string) []web.Span {
	r := s.result(id)
	if r == nil {
		return nil
	}
	var spans []web.Span
	for _, p := range r.Sessions[0].Spans {
		spans = append(spans, web.Span{Ch: p.Channel, From: p.From, To: p.To, Finding: string(p.Finding)})
	}
	return spans
}

// ctxFS makes a long verification end when whoever asked for it has left.
type ctxFS struct {
	ctx context.Context
	fs.FS
}

func (c ctxFS) Open(name string) (fs.File, error) {
	if c.ctx.Err() != nil {
		return nil, c.ctx.Err()
	}
	return c.FS.Open(name)
}
