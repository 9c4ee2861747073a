package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"minglu/agent/report"
)

// Look is one line of a room's register, as the room told it.
type Look struct {
	Device string `json:"device"`
	Room   string `json:"room"` // name for people, as now
	report.Look
}

// LookFilter chooses lines of the registers of all rooms. The zero filter is all.
type LookFilter struct {
	From, Until time.Time // at or after, before
	Body        string    // USCC
	Who         string    // exact
	Text        string    // anywhere in the line
	Looks       bool      // without what became of wishes
	Before      int64     // only those entered before this one: the next page
	Limit       int       // 0: DefaultLimit; never more than MaxLimit
}

// Register gives lines of the registers of all rooms, newest first by when they came, and the key of the
// last for the next page, 0 if there is none.
func (f *Fleet) Register(ctx context.Context, q LookFilter) (list []Look, next int64, err error) {
	list = []Look{}
	where, args := []string{"1"}, []any{}
	add := func(is bool, cond string, arg ...any) {
		if is {
			where, args = append(where, cond), append(args, arg...)
		}
	}
	add(!q.From.IsZero(), "t >= ?", q.From.UnixMilli())
	add(!q.Until.IsZero(), "t < ?", q.Until.UnixMilli())
	add(q.Body != "", "body = ?", q.Body)
	add(q.Who != "", "who = ?", q.Who)
	add(q.Looks, "action NOT LIKE 'grant.%'")
	add(q.Text != "", "instr(row, ?) > 0", q.Text)
	add(q.Before > 0, "id < ?", q.Before)
	limit := limitOf(q.Limit)
	rows, err := f.read.QueryContext(ctx, "SELECT id, device, row FROM look WHERE "+strings.Join(where, " AND ")+" ORDER BY id DESC LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return nil, 0, fmt.Errorf("fleet: register: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	last := int64(0)
	for rows.Next() {
		var id int64
		var row string
		var l Look
		if err := rows.Scan(&id, &l.Device, &row); err != nil {
			return nil, 0, fmt.Errorf("fleet: register: %w", err)
		}
		if len(list) == limit {
			next = last
			break
		}
		if err := json.Unmarshal([]byte(row), &l.Look); err != nil {
			return nil, 0, fmt.Errorf("fleet: register: %w", err)
		}
		l.Room = f.roomOf(l.Device)
		list, last = append(list, l), id
	}
	return list, next, rows.Err()
}

// roomOf is what people call the room of a device.
func (f *Fleet) roomOf(device string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if r := f.rooms[device]; r != nil && r.state.Room != "" {
		return r.state.Room
	}
	return device
}
