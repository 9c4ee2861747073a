package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"minglu/agent/report"
)

// ErrNotFound: there is no such room.
var ErrNotFound = errors.New("not found")

// Limits of the answers.
const (
	DefaultLimit = 200
	MaxLimit     = 1000
)

// Counts is the start page in numbers.
type Counts struct {
	Rooms     int   `json:"rooms"`
	Pass      int   `json:"pass"`
	Partial   int   `json:"partial"`
	Fail      int   `json:"fail"`
	Silent    int   `json:"silent"`
	Recording int   `json:"recording"`
	Alarms    int   `json:"alarms"`  // open
	Missing   int64 `json:"missing"` // numbers that never came
	Refused   int64 `json:"refused"` // messages and tries
	Events    int64 `json:"events"`
}

// Counts counts the rooms as they stand now.
func (f *Fleet) Counts() Counts {
	now := f.o.Now()
	f.mu.RLock()
	defer f.mu.RUnlock()
	var c Counts
	for _, r := range f.rooms {
		class, recording := r.class(now)
		c.Rooms++
		switch class {
		case Passing:
			c.Pass++
		case Partial:
			c.Partial++
		case Failing:
			c.Fail++
		default:
			c.Silent++
		}
		if recording {
			c.Recording++
		}
		c.Alarms += len(r.alarms)
		c.Missing += r.missing
		c.Events += r.events
	}
	for _, r := range f.refused {
		c.Refused += r.N
	}
	return c
}

// Filter chooses rooms. The zero Filter is all of them.
type Filter struct {
	Class     Class
	Recording bool
	Text      string // in the device, its room or body
	Item      string // rooms in which this item fails
}

// Rooms gives at most limit rooms (0: DefaultLimit), worst first, then by body and name; how many the
// filter fits; and the number of the newest change, for [Fleet.Changed].
func (f *Fleet) Rooms(q Filter, limit int) (rooms []Room, fit int, change int64) {
	now := f.o.Now()
	f.mu.RLock()
	defer f.mu.RUnlock()
	rooms = []Room{}
	for _, r := range f.rooms {
		if s := r.show(now); q.fits(&s) {
			rooms = append(rooms, s)
		}
	}
	rank := map[Class]int{Failing: 0, Silent: 1, Partial: 2, Passing: 3}
	slices.SortFunc(rooms, func(a, b Room) int {
		return cmp.Or(cmp.Compare(rank[a.Class], rank[b.Class]), cmp.Compare(a.Body, b.Body), cmp.Compare(a.Room, b.Room), cmp.Compare(a.Device, b.Device))
	})
	return rooms[:min(len(rooms), limitOf(limit))], len(rooms), f.change
}

func limitOf(n int) int {
	if n <= 0 {
		return DefaultLimit
	}
	return min(n, MaxLimit)
}

func (q *Filter) fits(r *Room) bool {
	text := strings.ToLower(q.Text)
	return (q.Class == "" || r.Class == q.Class) && (!q.Recording || r.Recording) &&
		(text == "" || strings.Contains(strings.ToLower(r.Device+"\n"+r.Room+"\n"+r.Body), text)) &&
		(q.Item == "" || slices.ContainsFunc(r.Failed, func(it FailedItem) bool { return it.Item == q.Item }))
}

// Held is what a device last said it holds of the office's lists.
type Held struct {
	Device  string
	Version string // "": none
	Online  bool
	Since   string // changes with each new connection
}

// Held gives what each device that ever spoke says it holds.
func (f *Fleet) Held() []Held {
	f.mu.RLock()
	defer f.mu.RUnlock()
	list := make([]Held, 0, len(f.rooms))
	for _, r := range f.rooms {
		if r.state.Run != "" {
			list = append(list, Held{r.name, r.state.Lists, r.state.Online, r.state.Run + "." + strconv.FormatInt(r.state.BdSeq, 10)})
		}
	}
	return list
}

// Changed gives the rooms that look different since change, at most MaxLimit of them; all is false if
// there are more: then ask for [Fleet.Rooms] anew.
func (f *Fleet) Changed(since int64) (rooms []Room, all bool, change int64) {
	now := f.o.Now()
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.change == since {
		return nil, true, since
	}
	for _, r := range f.rooms {
		if r.change > since {
			if len(rooms) == MaxLimit {
				return nil, false, f.change
			}
			rooms = append(rooms, r.show(now))
		}
	}
	return rooms, true, f.change
}

// Detail is one room with everything it last said.
type Detail struct {
	Room
	Compliance *report.Compliance `json:"compliance"` // nil: none yet
	Health     *report.Health     `json:"health"`
	Holes      []Hole             `json:"holes"`
	Refusals   []Refusal          `json:"refusals"`
}

// Room gives one room. ErrNotFound if there is none.
func (f *Fleet) Room(ctx context.Context, device string) (Detail, error) {
	now := f.o.Now()
	f.mu.RLock()
	r := f.rooms[device]
	d := Detail{Holes: []Hole{}, Refusals: []Refusal{}}
	var health []byte
	if r != nil {
		d.Room, health = r.show(now), r.health
		for _, x := range f.refused {
			if x.Device == device {
				d.Refusals = append(d.Refusals, *x)
			}
		}
	}
	f.mu.RUnlock()
	if r == nil {
		return Detail{}, fmt.Errorf("fleet: room %q: %w", device, ErrNotFound)
	}
	slices.SortFunc(d.Refusals, func(a, b Refusal) int { return cmp.Compare(a.Why, b.Why) })
	var comp, stored string
	err := f.read.QueryRowContext(ctx, "SELECT compliance, health FROM room WHERE device = ?", device).Scan(&comp, &stored)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Detail{}, fmt.Errorf("fleet: room %q: %w", device, err)
	}
	if c, err := report.ParseCompliance([]byte(comp)); err == nil {
		d.Compliance = &c
	}
	if health == nil {
		health = []byte(stored)
	}
	if h, err := report.ParseHealth(health); err == nil {
		d.Health = &h
	}
	d.Holes, err = f.holes(ctx, device)
	return d, err
}

// Hole is a stretch of missing numbers.
type Hole struct {
	Device string    `json:"device"`
	Outbox string    `json:"outbox"`
	From   int64     `json:"from"`
	To     int64     `json:"to"`
	Since  time.Time `json:"since"` // when it was noticed
	Lost   bool      `json:"lost"`  // no longer waited for
}

func (f *Fleet) holes(ctx context.Context, device string) ([]Hole, error) {
	out := []Hole{}
	rows, err := f.read.QueryContext(ctx, "SELECT device, outbox, lo, hi, since, lost FROM hole WHERE ? IN ('', device) AND device >= ? ORDER BY device, outbox, lo LIMIT ?", device, device, MaxLimit)
	if err != nil {
		return nil, fmt.Errorf("fleet: holes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h Hole
		var since int64
		if err := rows.Scan(&h.Device, &h.Outbox, &h.From, &h.To, &since, &h.Lost); err != nil {
			return nil, fmt.Errorf("fleet: holes: %w", err)
		}
		h.Since = time.UnixMilli(since).UTC()
		out = append(out, h)
	}
	return out, rows.Err()
}

// Event is one numbered message on record.
type Event struct {
	ID       int64           `json:"id"` // order of arrival
	Device   string          `json:"device"`
	Outbox   string          `json:"outbox"`
	N        int64           `json:"n"`
	T        string          `json:"t"` // by the device's clock
	Received time.Time       `json:"received"`
	Type     string          `json:"type"`
	Body     json.RawMessage `json:"body"`
	// MissingBefore is how many numbers between this one and the one before it in its outbox never came.
	MissingBefore int64 `json:"missing_before,omitempty"`
}

// EventFilter chooses events. The zero filter is the newest.
type EventFilter struct {
	Device string
	Type   string // whole, or a first word with its dot: "alarm."
	Before int64  // id
	Limit  int
}

// Events gives events, newest first.
func (f *Fleet) Events(ctx context.Context, q EventFilter) ([]Event, error) {
	where, args := []string{"1"}, []any{}
	add := func(is bool, cond string, arg ...any) {
		if is {
			where, args = append(where, cond), append(args, arg...)
		}
	}
	add(q.Device != "", "device = ?", q.Device)
	// The plus keeps SQLite from sorting all of a kind: it walks back from the newest instead.
	add(strings.HasSuffix(q.Type, "."), "+type >= ? AND +type < ?", q.Type, strings.TrimSuffix(q.Type, ".")+"/")
	add(q.Type != "" && !strings.HasSuffix(q.Type, "."), "type = ?", q.Type)
	add(q.Before > 0, "id < ?", q.Before)
	rows, err := f.read.QueryContext(ctx, `SELECT id, device, outbox, n, t, received, type, body,
		coalesce((SELECT hi - lo + 1 FROM hole h WHERE h.device = e.device AND h.outbox = e.outbox AND h.hi = e.n - 1), 0)
		FROM event e WHERE `+strings.Join(where, " AND ")+" ORDER BY id DESC LIMIT ?", append(args, limitOf(q.Limit))...)
	if err != nil {
		return nil, fmt.Errorf("fleet: events: %w", err)
	}
	defer rows.Close()
	out := []Event{}
	for rows.Next() {
		var e Event
		var received int64
		var body string
		if err := rows.Scan(&e.ID, &e.Device, &e.Outbox, &e.N, &e.T, &received, &e.Type, &body, &e.MissingBefore); err != nil {
			return nil, fmt.Errorf("fleet: events: %w", err)
		}
		e.Received, e.Body = time.UnixMilli(received).UTC(), json.RawMessage(body)
		out = append(out, e)
	}
	return out, rows.Err()
}

// Alarms gives open alarms, newest first, at most limit.
func (f *Fleet) Alarms(limit int) []OpenAlarm {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := []OpenAlarm{}
	for _, r := range f.rooms {
		for _, a := range r.alarms {
			out = append(out, OpenAlarm{r.name, cmp.Or(r.state.Room, r.name), a})
		}
	}
	slices.SortFunc(out, func(a, b OpenAlarm) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Ch, b.Ch))
	})
	return out[:min(len(out), limitOf(limit))]
}

// Refusal counts what was refused of one device for one reason. Device is "" for strangers.
type Refusal struct {
	Device string    `json:"device"`
	Why    string    `json:"why"`
	N      int64     `json:"n"`
	Last   time.Time `json:"last"`
	Detail string    `json:"detail"` // of the last one
}

type refusalKey struct{ device, why string }

const maxDetail = 300 // bytes

// Refuse counts something refused, by the fleet or the broker. Memory is bounded: a device that is no
// room counts as a stranger.
func (f *Fleet) Refuse(device, why, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse(device, why, detail)
}

func (f *Fleet) refuse(device, why, detail string) {
	r := f.rooms[device]
	if r == nil {
		device = ""
	}
	k := refusalKey{device, why}
	x := f.refused[k]
	if x == nil {
		x = &Refusal{Device: device, Why: why}
		f.refused[k] = x
	}
	x.N++
	x.Last = f.o.Now().UTC()
	x.Detail = strings.ToValidUTF8(detail[:min(len(detail), maxDetail)], "")
	f.dirty[k] = true
	if x.N == 1 || x.N%1000 == 0 {
		f.o.Log.Warn("refused", "device", device, "why", why, "times", x.N, "detail", x.Detail)
	}
	if r != nil {
		r.refused++
		f.touch(r)
	}
}

// Refused lists what was refused, most often first.
func (f *Fleet) Refused() []Refusal {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := make([]Refusal, 0, len(f.refused))
	for _, r := range f.refused {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Why, b.Why))
	})
	return out[:min(len(out), MaxLimit)]
}
