package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHearing: rows are rules in words.
func TestHearing(t *testing.T) {
	ctx, s := t.Context(), openTest(t)
	day := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	id := func(n int) string {
		return day.Add(time.Duration(n)*time.Hour).Format("20060102T150405Z") + fmt.Sprintf("-%08x", n)
	}
	put := func(n int, continues string, change func(*Session)) {
		r := row(id(n))
		r.Closed, r.Duration, r.Continues = r.Opened.Add(30*time.Minute), 30*time.Minute+10*time.Second, continues
		if change != nil {
			change(&r)
		}
		if err := s.Put(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	put(0, "", nil)
	put(1, id(0), func(r *Session) { r.Closed, r.State, r.Duration = time.Time{}, Recovered, 20*time.Minute })
	put(2, id(1), func(r *Session) { r.Closed = r.Opened.Add(9 * time.Hour) }) // its clock was wrong
	put(3, id(2), nil)
	put(5, "", nil)
	put(6, id(99), nil) // on a disk that is not here
	put(7, id(6), nil)
	put(8, id(6), nil)
	put(20, id(21), nil)
	put(21, id(20), nil)
	for _, tt := range []struct {
		rule string
		ask  int
		want string
	}{
		{"asked by its first part", 0, "0 1+30m0s 2+40m0s 3+0s"},
		{"asked by one in the middle", 2, "0 1+30m0s 2+40m0s 3+0s"},
		{"asked by its last part", 3, "0 1+30m0s 2+40m0s 3+0s"},
		{"a session for itself", 5, "5"},
		{"what it continues is not here; two continue it", 7, "6 7+30m0s 8+30m0s"},
		{"a ring made by hand", 20, "20 21+30m0s"},
	} {
		parts, err := s.Hearing(ctx, id(tt.ask))
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
		}
		var got []string
		for i, p := range parts {
			n := int(p.Opened.Sub(day) / time.Hour)
			if i == 0 {
				got = append(got, fmt.Sprint(n))
			} else {
				got = append(got, fmt.Sprintf("%d+%s", n, p.Gap))
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %s, want %s", tt.rule, got, tt.want)
		}
	}
	if _, err := s.Hearing(ctx, id(98)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a session that is not there: %v", err)
	}
	for n := range MaxParts + 9 {
		c := ""
		if n > 0 {
			c = id(1000 + n - 1)
		}
		put(1000+n, c, nil)
	}
	for _, n := range []int{0, 40, MaxParts + 8} {
		if parts, err := s.Hearing(ctx, id(1000+n)); err != nil || len(parts) != MaxParts {
			t.Errorf("a chain without end, asked at %d: %d parts, %v", n, len(parts), err)
		}
	}
}

// TestHearingByIndex: parts are found without looking at every row, also in a catalogue that an earlier
// version made.
func TestHearingByIndex(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "catalogue.db")
	s, _, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.Exec("DROP INDEX session_continues"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, _, err = Open(Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var plan strings.Builder
	rows, err := s.read.QueryContext(ctx, "EXPLAIN QUERY PLAN SELECT row FROM session WHERE json_extract(row, '$.continues') = 'x' AND json_extract(row, '$.continues') <> '' ORDER BY id DESC LIMIT 64")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var a, b, c int
		var what string
		if err := rows.Scan(&a, &b, &c, &what); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(what + "\n")
	}
	if err := rows.Err(); err != nil || !strings.Contains(plan.String(), "session_continues") || strings.Contains(plan.String(), "SCAN") {
		t.Errorf("SQLite would look at every row: %v\n%s", err, plan.String())
	}
}
