// Package lists holds what the office sent a room of bodies, officers, matters, bookings and cases, so
// that nobody types them.
//
// It guarantees: what a lookup returns was durable before (a power cut never takes it back); the newest
// lists take the place of the older ones as a whole; a room without an office works with a file put in
// place by hand (minglu-agent lists import), which is seen within [Reread]; lists that are damaged, of a
// later version or of another device change nothing. Lookups never touch the disk, and what they return
// is the caller's own as far as no list within it is written to.
//
// It does not guarantee that the lists are new: the office may be out of reach, see [Book.From].
//
// Use: [Open], then Run until its context ends; [Book.Receive] from the uplink, lookups at any time.
package lists

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Reread is how often the file is looked at for a change made by hand.
const Reread = 5 * time.Second

// Options of [Open].
type Options struct {
	Path    string        // of the file, in the state folder
	Device  string        // name of this device: lists of another are refused
	Files   durable.Files // of the state folder
	Changed func()        // other lists hold now. MUST NOT block. nil: nobody
	Log     *slog.Logger  // nil: none
}

// Book is the newest lists. Its methods are safe for concurrent use.
type Book struct {
	o    Options
	come chan []byte // what the office sent, the newest only
	seen stamp       // of the file as last read; Run's only, after Open

	mu   sync.RWMutex // guards what follows
	held report.Lists
}

// stamp tells one state of a file from another.
type stamp struct {
	mod  time.Time
	size int64
}

// Open reads the lists that are there. None, or none that can be read, is no error: the room works
// without, and the log says why.
func Open(o Options) *Book {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	b := &Book{o: o, come: make(chan []byte, 1)}
	b.reread()
	return b
}

// Receive takes lists as the office sent them. It never blocks: Run checks and keeps them, the newest
// only. What is refused is logged; the office sees from the device's State that it does not hold.
func (b *Book) Receive(payload []byte) {
	for {
		select {
		case b.come <- payload:
			return
		default:
		}
		select {
		case <-b.come:
		default:
		}
	}
}

// Run keeps what the office sends and looks for a file put in place by hand, until ctx ends. It returns nil.
func (b *Book) Run(ctx context.Context) error {
	tick := time.NewTicker(Reread)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-b.come:
			if err := b.take(p); err != nil {
				b.o.Log.Warn("lists from the office are not taken", "err", err)
			}
		case <-tick.C:
			if b.look() != b.seen {
				b.reread()
			}
		}
	}
}

func (b *Book) take(payload []byte) error {
	l, err := report.ParseLists(payload)
	if err == nil {
		err = b.fits(l)
	}
	if err != nil {
		return err
	}
	if l.Version == b.Version() {
		return nil
	}
	if err := b.o.Files.Replace(b.o.Path, payload); err != nil {
		return fmt.Errorf("lists: %w", err)
	}
	b.seen = b.look()
	b.hold(l)
	return nil
}

func (b *Book) fits(l report.Lists) error {
	if l.Device != b.o.Device {
		return fmt.Errorf("lists: they are of device %q, this is %q", l.Device, b.o.Device)
	}
	return nil
}

func (b *Book) hold(l report.Lists) {
	b.mu.Lock()
	b.held = l
	b.mu.Unlock()
	b.o.Log.Info("lists", "version", l.Version[:12], "of", l.T, "bodies", len(l.Bodies), "officers", len(l.Officers), "matters", len(l.Matters), "bookings", len(l.Bookings), "cases", len(l.Cases), "left out", l.LeftOut)
	b.o.Changed()
}

func (b *Book) look() (s stamp) {
	if i, err := os.Stat(b.o.Path); err == nil {
		s = stamp{i.ModTime(), i.Size()}
	}
	return s
}

func (b *Book) reread() {
	b.seen = b.look()
	if b.seen.size > report.MaxSize {
		b.o.Log.Warn("lists: the file is not read", "file", b.o.Path, "err", report.ErrSize)
		return
	}
	raw, err := os.ReadFile(b.o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var l report.Lists
	if err == nil {
		l, err = report.ParseLists(raw)
	}
	if err == nil {
		err = b.fits(l)
	}
	if err != nil {
		b.o.Log.Warn("lists: the file is not read; the lists so far hold", "file", b.o.Path, "err", err)
		return
	}
	if l.Version != b.Version() {
		b.hold(l)
	}
}

// Version is that of the lists held, "" if there are none.
func (b *Book) Version() string { return b.all().Version }

// From is when the office put the lists together, and how many entries found no place in them; zero if
// there are none.
func (b *Book) From() (t time.Time, leftOut int) {
	l := b.all()
	return l.T, l.LeftOut
}

func (b *Book) all() report.Lists {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.held
}

// Bodies returns the bodies that use this room, its own first.
func (b *Book) Bodies() []report.ListBody { return slices.Clone(b.all().Bodies) }

// Body returns one body by its 统一社会信用代码.
func (b *Book) Body(uscc string) (report.ListBody, bool) {
	return find(b.all().Bodies, func(x report.ListBody) bool { return x.USCC == uscc })
}

// Officers returns the officials of a body, "" for those of all, whose credentials are good on a day,
// "2006-01-02" in the room's time zone. "" as day is any.
func (b *Book) Officers(body, day string) []report.ListOfficer {
	return filter(b.all().Officers, func(o report.ListOfficer) bool {
		return (body == "" || o.Body == body) && (day == "" || o.ValidOn(day))
	})
}

// Officer returns one official by credential, whether it is good today or not.
func (b *Book) Officer(credential string) (report.ListOfficer, bool) {
	return find(b.all().Officers, func(o report.ListOfficer) bool { return o.Credential == credential })
}

// Matters returns what a body may record now: its own matters and those of all bodies, of one kind, "" for
// both.
func (b *Book) Matters(body, kind string) []report.ListMatter {
	return filter(b.all().Matters, func(m report.ListMatter) bool {
		return !m.Retired && (m.Body == "" || m.Body == body) && (kind == "" || m.Kind == kind)
	})
}

// Matter returns the version of a matter that holds now.
func (b *Book) Matter(id string) (report.ListMatter, bool) {
	return find(b.all().Matters, func(m report.ListMatter) bool { return m.ID == id && !m.Retired })
}

// MatterVersion returns a matter as it was when a session took it.
func (b *Book) MatterVersion(id, version string) (report.ListMatter, bool) {
	return find(b.all().Matters, func(m report.ListMatter) bool { return m.ID == id && m.Version == version })
}

// Bookings returns those of this room that have not ended at now, the next one first. One that runs now
// comes first of all.
func (b *Book) Bookings(now time.Time) []report.Booking {
	list := filter(b.all().Bookings, func(x report.Booking) bool { return x.To.After(now) })
	slices.SortStableFunc(list, func(x, y report.Booking) int { return x.From.Compare(y.From) })
	return list
}

// Booking returns one booking by id, whenever it is or was.
func (b *Book) Booking(id string) (report.Booking, bool) {
	return find(b.all().Bookings, func(x report.Booking) bool { return x.ID == id })
}

// Case returns a case by its number 案号. Brackets and spaces are taken as people and scanners write them:
// [2026], (2026) and 〔2026〕 are the same.
func (b *Book) Case(no string) (report.ListCase, bool) {
	no = plain(no)
	return find(b.all().Cases, func(c report.ListCase) bool { return plain(c.Case) == no })
}

// Cases returns the cases of a body, "" for all, that are open.
func (b *Book) Cases(body string) []report.ListCase {
	return filter(b.all().Cases, func(c report.ListCase) bool { return c.Closed == "" && (body == "" || c.Body == body) })
}

func plain(s string) string {
	return strings.ToUpper(strings.NewReplacer("〔", "[", "〕", "]", "（", "[", "）", "]", "(", "[", ")", "]", "【", "[", "】", "]", "［", "[", "］", "]", " ", "", "\u3000", "").Replace(s))
}

func find[T any](list []T, is func(T) bool) (none T, ok bool) {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i], true
	}
	return none, false
}

func filter[T any](list []T, is func(T) bool) []T {
	out := []T{}
	for _, x := range list {
		if is(x) {
			out = append(out, x)
		}
	}
	return out
}
