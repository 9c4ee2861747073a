package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Year is what happened in a stretch of time, body by body, and how its rooms stand now.
type Year struct {
	From   time.Time  `json:"from"`
	Until  time.Time  `json:"until"`
	Bodies []BodyYear `json:"bodies"`
}

// BodyYear is the year of one body. Sessions that are drills count as Drills alone.
type BodyYear struct {
	Key        string     `json:"key"` // USCC, or the name where there is none
	Name       string     `json:"name"`
	Sessions   int        `json:"sessions"`
	MediaMS    int64      `json:"media_ms"`
	Recovered  int        `json:"recovered"`  // ended by a power cut or a crash
	Unchecked  int        `json:"unchecked"`  // began with items of the check before use that failed
	Unsealed   int        `json:"unsealed"`   // not sealed as far as is known: under way, or never told
	Archived   int        `json:"archived"`   // the archive has proved receipt
	Drills     int        `json:"drills"`     // not evidence
	Unrecorded int        `json:"unrecorded"` // lawfully not recorded, with a reason
	Months     [][2]int64 `json:"months"`     // for each month of the stretch: sessions, ms
}

// Year counts the sessions opened in [from, until), by body, the most sessions first. The months are those
// of from's time zone.
func (f *Fleet) Year(ctx context.Context, from, until time.Time) (y Year, err error) {
	y = Year{From: from, Until: until, Bodies: []BodyYear{}}
	by := map[string]*BodyYear{}
	f.mu.RLock()
	names := make(map[string]string, len(f.bodies))
	for k, n := range f.bodies {
		names[k] = n
	}
	f.mu.RUnlock()
	months := monthsOf(from, until)
	of := func(key string) *BodyYear {
		b := by[key]
		if b == nil {
			b = &BodyYear{Key: key, Name: cmp.Or(names[key], key), Months: make([][2]int64, len(months))}
			by[key] = b
		}
		return b
	}
	for i, m := range months {
		end := until
		if i+1 < len(months) {
			end = months[i+1]
		}
		if err := f.month(ctx, m, end, i, of); err != nil {
			return y, fmt.Errorf("fleet: year: %w", err)
		}
	}
	if err := f.eachRow(ctx, func(s scanner) error {
		var key string
		var n int
		err := s.Scan(&key, &n)
		of(key).Unrecorded = n
		return err
	}, "SELECT body, count(*) FROM unrecorded WHERE t >= ? AND t < ? GROUP BY body", from.UnixMilli(), until.UnixMilli()); err != nil {
		return y, fmt.Errorf("fleet: year: %w", err)
	}
	for _, b := range by {
		y.Bodies = append(y.Bodies, *b)
	}
	slices.SortFunc(y.Bodies, func(a, b BodyYear) int {
		return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key))
	})
	return y, nil
}

// monthsOf gives the beginnings of the months in [from, until); the first one is from itself.
func monthsOf(from, until time.Time) []time.Time {
	list := []time.Time{from}
	for m := time.Date(from.Year(), from.Month()+1, 1, 0, 0, 0, 0, from.Location()); m.Before(until) && len(list) < 240; m = m.AddDate(0, 1, 0) {
		list = append(list, m)
	}
	return list
}

// month adds what was opened in [from, until) as month i.
func (f *Fleet) month(ctx context.Context, from, until time.Time, i int, of func(string) *BodyYear) error {
	return f.eachRow(ctx, func(s scanner) error {
		var key, state string
		var drill, unchecked, archived bool
		var n int
		var media int64
		if err := s.Scan(&key, &drill, &state, &unchecked, &archived, &n, &media); err != nil {
			return err
		}
		b := of(key)
		if drill {
			b.Drills += n
			return nil
		}
		b.Sessions += n
		b.MediaMS += media
		b.Months[i][0] += int64(n)
		b.Months[i][1] += media
		switch state {
		case wordRecovered:
			b.Recovered += n
		case "recording", "paused":
			b.Unsealed += n
		}
		if unchecked {
			b.Unchecked += n
		}
		if archived {
			b.Archived += n
		}
		return nil
	}, "SELECT body, drill, state, unchecked, archived, count(*), sum(media) FROM session INDEXED BY session_year WHERE opened >= ? AND opened < ? GROUP BY body, drill, state, unchecked, archived", from.UnixMilli(), until.UnixMilli())
}

func (f *Fleet) eachRow(ctx context.Context, visit func(scanner) error, query string, args ...any) (err error) {
	rows, err := f.read.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := visit(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// UnrecordedFilter chooses what was not recorded.
type UnrecordedFilter struct {
	Body        string // key of a body
	From, Until time.Time
	Limit       int // 0: DefaultLimit; never more than MaxLimit
}

// Unrecorded gives what was lawfully not recorded, with reason, person and time, newest first.
func (f *Fleet) Unrecorded(ctx context.Context, q UnrecordedFilter) ([]Unrecorded, error) {
	list := []Unrecorded{}
	err := f.eachRow(ctx, func(s scanner) error {
		var row string
		var u Unrecorded
		err := s.Scan(&row)
		if err == nil {
			err = json.Unmarshal([]byte(row), &u)
		}
		list = append(list, u)
		return err
	}, "SELECT row FROM unrecorded WHERE t >= ? AND t < ? AND ? IN ('', body) ORDER BY t DESC LIMIT ?", q.From.UnixMilli(), q.Until.UnixMilli(), q.Body, limitOf(q.Limit))
	if err != nil {
		return nil, fmt.Errorf("fleet: not recorded: %w", err)
	}
	return list, nil
}

// Looks counts the looks at recordings in [from, until) by the USCC of the body, "" where none was told. What
// became of grants does not count.
func (f *Fleet) Looks(ctx context.Context, from, until time.Time) (map[string]int, error) {
	by := map[string]int{}
	err := f.eachRow(ctx, func(s scanner) error {
		var body string
		var n int
		err := s.Scan(&body, &n)
		by[body] = n
		return err
	}, "SELECT body, count(*) FROM look WHERE t >= ? AND t < ? AND action NOT LIKE 'grant.%' GROUP BY body", from.UnixMilli(), until.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("fleet: looks: %w", err)
	}
	return by, nil
}

// SessionKeys gives the sessions opened in [from, until) that were sealed and are no drills, of one body or
// ("") all, in the order of device and id: what a sample is drawn from. At most max.
func (f *Fleet) SessionKeys(ctx context.Context, body string, from, until time.Time, max int) (keys [][2]string, err error) {
	err = f.eachRow(ctx, func(s scanner) error {
		var k [2]string
		err := s.Scan(&k[0], &k[1])
		keys = append(keys, k)
		return err
	}, "SELECT device, session FROM session WHERE opened >= ? AND opened < ? AND ? IN ('', body) AND drill = 0 AND state IN ('sealed', 'recovered') ORDER BY device, session LIMIT ?",
		from.UnixMilli(), until.UnixMilli(), body, max)
	if err != nil {
		return nil, fmt.Errorf("fleet: sessions: %w", err)
	}
	return keys, nil
}
