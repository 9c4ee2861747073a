package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Mistake is one thing wrong with a file, and where.
type Mistake struct {
	Sheet  string `json:"sheet,omitempty"`  // as people see it
	Row    int    `json:"row,omitempty"`    // as a spreadsheet numbers it; 0: the sheet as a whole
	Column string `json:"column,omitempty"` // Chinese head; "": the row as a whole
	Key    string `json:"key,omitempty"`    // of the row, as far as it could be read
	Zh     string `json:"zh"`               // whole sentence, place included
	En     string `json:"en"`
}

// Diff is what an import does to one row.
type Diff struct {
	Row    int      `json:"row"`
	Do     string   `json:"do"` // "add", "change", "remove"
	Key    string   `json:"key"`
	Fields []Fields `json:"fields,omitempty"` // of "change"
}

// Fields is one cell that changes.
type Fields struct {
	Column string `json:"column"`
	Old    string `json:"old"`
	New    string `json:"new"`
}

// SheetPlan is what an import does to one sheet.
type SheetPlan struct {
	Sheet  string `json:"sheet"`
	Zh     string `json:"zh"`
	En     string `json:"en"`
	Add    int    `json:"add"`
	Change int    `json:"change"`
	Remove int    `json:"remove"`
	Same   int    `json:"same"`
	Diffs  []Diff `json:"diffs"` // at most MaxDiffs
}

// Plan is what an import would do, or why it cannot be done.
type Plan struct {
	Token    string      `json:"token"` // for [Registry.Apply]; "" if there are mistakes
	Sheets   []SheetPlan `json:"sheets"`
	Ignored  []string    `json:"ignored"`  // sheets of the workbook that are none of ours
	Mistakes []Mistake   `json:"mistakes"` // at most MaxMistakes
	Wrong    int         `json:"wrong"`    // all of them
}

// Bounds of what a plan shows.
const (
	MaxDiffs    = 200 // of a sheet
	MaxMistakes = 500
)

// planner works out what a file does.
type planner struct {
	zone *time.Location
	plan *Plan
	rows map[string]int // of "sheet\x00key" in this file
}

func (p *planner) wrong(m Mistake, err error) {
	var w *words
	if !errors.As(err, &w) {
		w = &words{err.Error(), err.Error()}
	}
	zh, en := "", ""
	if m.Sheet != "" {
		zh, en = "“"+m.Sheet+"”", fmt.Sprintf("%q", m.Sheet)
	}
	if m.Row > 0 {
		zh, en = zh+fmt.Sprintf("第 %d 行", m.Row), strings.TrimSpace(en+fmt.Sprintf(" row %d", m.Row))
	}
	if m.Column != "" {
		zh, en = zh+"，"+m.Column, en+", "+m.Column
	}
	m.Zh, m.En = strings.TrimPrefix(zh+"："+w.zh, "："), strings.TrimPrefix(en+": "+w.en, ": ")
	p.plan.Wrong++
	if len(p.plan.Mistakes) < MaxMistakes {
		p.plan.Mistakes = append(p.plan.Mistakes, m)
	}
}

// heads says which column of the file is which of the sheet's; -1 where none is. del is the one that
// says whether a row is to go.
func heads[T any](s *sheet[T], row []string) (at []int, del int, unknown []string) {
	at, del = make([]int, len(s.columns)), -1
	for i := range at {
		at[i] = -1
	}
	for i, h := range row {
		h = strings.TrimRight(strings.TrimSpace(h), "*＊ ")
		if h == "" {
			continue
		}
		if h == deleteZh || strings.EqualFold(h, deleteEn) {
			del = i
			continue
		}
		k := slices.IndexFunc(s.columns, func(c column[T]) bool { return c.zh == h || strings.EqualFold(c.en, h) })
		if k < 0 || at[k] >= 0 {
			unknown = append(unknown, h)
			continue
		}
		at[k] = i
	}
	return at, del, unknown
}

// fits tells how many heads are the sheet's, and whether all it needs are there.
func (s *sheet[T]) fits(row []string) (n int, all bool) {
	at, _, unknown := heads(s, row)
	all = len(unknown) == 0
	for i, c := range s.columns {
		if at[i] >= 0 {
			n++
		} else if c.need {
			all = false
		}
	}
	return n, all
}

// plan merges a grid into the rows there are: a new key is added, a known one changed, one marked is
// removed. have is not changed.
func (s *sheet[T]) plan(p *planner, have []T, g grid) []T {
	out := SheetPlan{Sheet: s.name, Zh: s.zh, En: s.en, Diffs: []Diff{}}
	defer func() { p.plan.Sheets = append(p.plan.Sheets, out) }()
	if len(g.rows) == 0 {
		return have
	}
	at, del, unknown := heads(s, g.rows[0])
	for _, h := range unknown {
		p.wrong(Mistake{Sheet: s.zh, Row: 1, Column: short(h)}, wrong("没有这一列，或出现了两次；可用的列：%s", "no such column, or it stands there twice; there are: %s", s.headList()))
	}
	for i, c := range s.columns {
		if c.need && at[i] < 0 {
			p.wrong(Mistake{Sheet: s.zh, Row: 1, Column: c.zh}, wrong("缺少这一列", "this column is missing"))
		}
	}
	if p.plan.Wrong > 0 && len(unknown) > 0 {
		return have
	}
	now := make(map[string]T, len(have)+len(g.rows))
	for _, x := range have {
		now[s.key(&x)] = x
	}
	for i, cells := range g.rows[1:] {
		s.row(p, &out, now, at, del, i+2, cells)
	}
	list := make([]T, 0, len(now))
	for _, x := range now {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(s.key(&a), s.key(&b)) })
	if len(list) > s.max {
		p.wrong(Mistake{Sheet: s.zh}, wrong("共 %d 行，最多 %d 行", "%d rows in all, at most %d", len(list), s.max))
	}
	return list
}

// row merges one row.
func (s *sheet[T]) row(p *planner, out *SheetPlan, now map[string]T, at []int, del, n int, cells []string) {
	get := func(i int) string {
		if i < 0 || i >= len(cells) {
			return ""
		}
		return cells[i]
	}
	if !slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) != "" }) {
		return
	}
	var x T
	var bad bool
	fail := func(column string, err error) {
		bad = true
		p.wrong(Mistake{Sheet: s.zh, Row: n, Column: column, Key: showKey(s.key(&x))}, err)
	}
	if len(cells) > maxColumns {
		fail("", wrong("超过 %d 列", "more than %d columns", maxColumns))
		return
	}
	remove := false
	if v := strings.TrimSpace(get(del)); v != "" {
		var err error
		if remove, err = truth(v); err != nil {
			fail(deleteZh, err)
		}
	}
	for i, c := range s.columns {
		v, err := cell(get(at[i]))
		switch {
		case err != nil:
		case v != "":
			err = c.set(&x, v, p.zone)
		case c.need && at[i] >= 0 && !remove:
			err = wrong("不能为空", "must not be empty")
		}
		if err != nil && !remove {
			fail(c.zh, err)
		}
	}
	if bad {
		return
	}
	key := s.key(&x)
	if first := p.rows[s.name+"\x00"+key]; first > 0 {
		fail("", wrong("%s 与第 %d 行重复", "%s is the same as row %d", showKey(key), first))
		return
	}
	p.rows[s.name+"\x00"+key] = n
	old, known := now[key]
	d := Diff{Row: n, Key: showKey(key)}
	switch {
	case remove && !known:
		fail("", wrong("要删除的 %s 不存在", "%s is to be removed, but is not there", showKey(key)))
		return
	case remove:
		d.Do = "remove"
		out.Remove++
		delete(now, key)
	case !known:
		d.Do = "add"
		out.Add++
		now[key] = x
	default:
		for i, c := range s.columns {
			if at[i] < 0 { // a column that is not in the file keeps what it has
				if v := c.get(&old, p.zone); v != "" {
					_ = c.set(&x, v, p.zone) // as we wrote it
				}
				continue
			}
			if was, is := c.get(&old, p.zone), c.get(&x, p.zone); was != is {
				d.Fields = append(d.Fields, Fields{c.zh, was, is})
			}
		}
		if len(d.Fields) == 0 {
			out.Same++
			return
		}
		if s.keeps != nil {
			if err := s.keeps(s, &old, &x); err != nil {
				fail("", err)
				return
			}
		}
		d.Do = "change"
		out.Change++
		now[key] = x
	}
	if len(out.Diffs) < MaxDiffs {
		out.Diffs = append(out.Diffs, d)
	}
}

func (s *sheet[T]) headList() string {
	var list []string
	for _, c := range s.columns {
		list = append(list, c.zh)
	}
	return strings.Join(append(list, deleteZh), "、")
}

// showKey is a key for people.
func showKey(key string) string { return strings.TrimRight(strings.ReplaceAll(key, "\x00", " "), " ") }

// Head is a column as pages show it.
type Head struct {
	Zh   string `json:"zh"`
	En   string `json:"en"`
	Note string `json:"note,omitempty"`
	Need bool   `json:"need,omitempty"`
}

// View is part of a sheet for a page.
type View struct {
	Sheet string     `json:"sheet"`
	Heads []Head     `json:"heads"`
	Rows  [][]string `json:"rows"`
	Fit   int        `json:"fit"`   // rows that the text fits
	Total int        `json:"total"` // of the sheet
}

// MaxView is the most rows of a View.
const MaxView = 200

func (s *sheet[T]) view(rows []T, text string, offset, limit int, z *time.Location) View {
	v := View{Sheet: s.name, Rows: [][]string{}, Total: len(rows)}
	for _, c := range s.columns {
		v.Heads = append(v.Heads, Head{c.zh, c.en, c.note, c.need})
	}
	text = strings.ToLower(text)
	limit = min(cmp.Or(limit, 50), MaxView)
	for i := range rows {
		cells := make([]string, len(s.columns))
		fits := text == ""
		for k, c := range s.columns {
			cells[k] = c.get(&rows[i], z)
			fits = fits || strings.Contains(strings.ToLower(cells[k]), text)
		}
		if !fits {
			continue
		}
		if v.Fit++; v.Fit > offset && len(v.Rows) < limit {
			v.Rows = append(v.Rows, cells)
		}
	}
	return v
}
