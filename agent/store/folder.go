package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"minglu/agent/evidence"
)

// Limits of what is read from a folder that anybody may have written.
const (
	maxLogBytes = 512 << 20 // two days of four channels
)

// sessionID is S of evidence-format.md section 1.
var sessionID = regexp.MustCompile(`^\d{8}T\d{6}Z-[0-9a-f]{8}$`)

// FromFolder reads the session's folder on those of the disks that hold it into a row: from
// manifest.json if there is one, else from log.jsonl, as far as its lines can be read. It never
// fails: what cannot be read becomes a row with state damaged and a note. It reads at most the
// manifest or one log, and no media.
func FromFolder(disks []Disk, id string) Session {
	best := damaged(id, errors.New("on no disk that is present"))
	var holders []string
	for _, d := range disks {
		dir := filepath.Join(d.Dir, "sessions", id)
		if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
			continue
		}
		holders = append(holders, d.ID)
		s, err := readFolder(dir, id)
		if err != nil {
			s = damaged(id, fmt.Errorf("disk %s: %w", d.ID, err))
		}
		if len(holders) == 1 || rank(s) > rank(best) || rank(s) == rank(best) && (s.Amended > best.Amended || s.Amended == best.Amended && s.Duration > best.Duration) {
			best = s
		}
	}
	best.Disks = holders
	return best
}

// rank orders the copies of one session by how much they tell.
func rank(s Session) int {
	return slices.Index([]State{Damaged, Recording, Sealing, Recovered, Sealed}, s.State)
}

func damaged(id string, cause error) Session {
	s := Session{ID: id, State: Damaged, Note: cause.Error(), Flags: []string{}, Officers: []evidence.Officer{}, Channels: []Channel{}}
	if len(id) >= 16 {
		s.Opened, _ = time.Parse("20060102T150405Z", id[:16]) // zero if it is no time
	}
	return s
}

func readFolder(dir, id string) (Session, error) {
	if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() {
		return Session{}, errors.Join(errors.New("not a folder"), err)
	}
	root, err := os.OpenRoot(dir) // nothing in the folder can lead out of it
	if err != nil {
		return Session{}, err
	}
	defer root.Close()
	if _, err := root.Lstat("manifest.json"); errors.Is(err, os.ErrNotExist) {
		return fromLog(root, id)
	}
	return fromManifest(root, id)
}

// openRegular opens a plain file: a pipe would block, a link may point anywhere.
func openRegular(root *os.Root, name string) (*os.File, int64, error) {
	fi, err := root.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	if !fi.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := root.Open(name)
	return f, fi.Size(), err
}

// regular opens nothing but plain files.
type regular struct{ root *os.Root }

func (r regular) Open(name string) (fs.File, error) {
	f, _, err := openRegular(r.root, name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func fromManifest(root *os.Root, id string) (Session, error) {
	m, f, err := evidence.ReadFacts(regular{root})
	if m == nil {
		return Session{}, err
	}
	if m.Session != id {
		return Session{}, fmt.Errorf("manifest.json: is of session %.40q", m.Session)
	}
	s := Session{
		ID: id, Device: m.Device, Body: f.Body, Case: f.Case, Matter: f.Matter, Flags: f.Flags, Officers: f.Officers,
		MatterID: f.MatterID, MatterVersion: f.MatterVersion, Booking: f.Booking, Attachments: f.Attachments, Refused: f.Refused, Amended: f.Amended,
		Trigger: m.Trigger, Reason: m.Reason, Opened: at(m.Opened.T), Closed: at(m.Closed.T), State: Sealed,
		Channels: []Channel{}, Breaks: int64(len(m.Breaks)), Gaps: int64(len(m.Gaps)), Marks: int64(len(m.Marks)),
		Continues: m.Continues,
	}
	if err != nil { // what comes before it is shown
		s.Note = err.Error()
	}
	for _, l := range m.Logs {
		if strings.HasPrefix(l.File, "recovery-") {
			s.State = Recovered
		}
	}
	var end int64
	for _, c := range m.Channels {
		s.Channels = append(s.Channels, Channel{ID: c.ID, Kind: c.Kind, Codec: c.Codec, Segments: int64(len(c.Segments))})
		for _, g := range c.Segments {
			s.Bytes += g.Size
			end = max(end, g.To)
		}
	}
	s.Duration = time.Duration(end) * time.Microsecond
	if _, err := root.Lstat("manifest.json.p7s"); err != nil {
		s.State = Sealing // the cut came between the two
	}
	return s, nil
}

func at(us int64) time.Time { return time.UnixMicro(us).UTC() }

// fromLog reads an unfinished session. It stops at the first line that is none: a torn end is the
// rule here, and what lies before it is worth showing.
func fromLog(root *os.Root, id string) (Session, error) {
	f, size, err := openRegular(root, "log.jsonl")
	if err != nil {
		return Session{}, err
	}
	defer f.Close()
	if size > maxLogBytes {
		return Session{}, fmt.Errorf("log.jsonl: %d bytes, more than %d", size, maxLogBytes)
	}
	r := logReader{row: Session{ID: id, State: Recording, Flags: []string{}, Officers: []evidence.Officer{}, Channels: []Channel{}}}
	in := bufio.NewReaderSize(io.LimitReader(f, maxLogBytes), evidence.MaxLine+2)
	for n := 0; ; n++ {
		line, err := in.ReadSlice('\n')
		if err == nil {
			err = r.line(n, bytes.TrimSuffix(line, []byte("\n")))
		}
		if err != nil && n == 0 {
			return Session{}, fmt.Errorf("log.jsonl: line 0: %w", err)
		}
		if err != nil {
			break
		}
	}
	r.row.Bytes, err = mediaBytes(root)
	return r.row, err
}

func mediaBytes(root *os.Root) (sum int64, err error) {
	d, err := root.Open(".")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if path.Ext(e.Name()) != ".mp4" || !e.Type().IsRegular() {
				continue
			}
			if fi, err := e.Info(); err == nil {
				sum += fi.Size()
			}
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}

// logReader gathers a row from the lines of a session log.
type logReader struct {
	row Session
}

// line takes the next line; an error ends the reading. Fields are read leniently: a catalogue row
// proves nothing, and the verifier is strict for it.
func (r *logReader) line(n int, line []byte) error {
	var c struct {
		Type string `json:"type"`
		To   int64  `json:"to"`
		T    int64  `json:"t"`
	}
	if err := json.Unmarshal(line, &c); err != nil {
		return err
	}
	if n == 0 {
		return r.open(line)
	}
	switch c.Type {
	case "fragment":
		r.row.Duration = max(r.row.Duration, time.Duration(c.To)*time.Microsecond)
	case "details":
		var d evidence.Details
		if err := json.Unmarshal(line, &d); err != nil {
			return err
		}
		r.row.Case, r.row.Matter = d.Case, d.Matter
		r.row.Officers, r.row.Flags = append([]evidence.Officer{}, d.Officers...), append([]string{}, d.Flags...)
	case "segment.open":
		var o evidence.SegmentOpen
		if err := json.Unmarshal(line, &o); err != nil {
			return err
		}
		r.segment(o)
	case "pause":
		r.row.Breaks++
	case "gap":
		r.row.Gaps++
	case "mark":
		r.row.Marks++
	case "close":
		var end evidence.Close
		if err := json.Unmarshal(line, &end); err != nil {
			return err
		}
		r.row.State, r.row.Reason, r.row.Closed = Sealing, end.Reason, at(end.T)
	}
	return nil
}

func (r *logReader) open(line []byte) error {
	var o evidence.Open
	if err := json.Unmarshal(line, &o); err != nil {
		return err
	}
	if o.Type != "open" || o.Session != r.row.ID {
		return fmt.Errorf("is %.20q of session %.40q", o.Type, o.Session)
	}
	r.row.Device = o.Device
	r.row.Body, r.row.Trigger, r.row.Opened, r.row.Continues = o.Body, o.Trigger, at(o.T), o.Continues
	return nil
}

func (r *logReader) segment(o evidence.SegmentOpen) {
	i := slices.IndexFunc(r.row.Channels, func(c Channel) bool { return c.ID == o.Ch })
	if i < 0 {
		kind := "microphone"
		if len(o.Codec) > 0 && (strings.HasPrefix(o.Codec[0], "avc") || strings.HasPrefix(o.Codec[0], "hvc") || strings.HasPrefix(o.Codec[0], "hev")) {
			kind = "camera"
		}
		i = len(r.row.Channels)
		r.row.Channels = append(r.row.Channels, Channel{ID: o.Ch, Kind: kind})
	}
	c := &r.row.Channels[i]
	c.Segments++
	for _, codec := range o.Codec {
		if !slices.Contains(c.Codec, codec) {
			c.Codec = append(c.Codec, codec)
		}
	}
}
