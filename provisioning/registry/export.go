package registry

import (
	"bytes"
	"encoding/csv"
	"errors"
	"slices"
	"time"
)

// View gives part of a sheet for a page: rows in which text stands, from offset on. false: no such sheet.
func (r *Registry) View(name, text string, offset, limit int) (View, bool) {
	d, z := r.Data(), r.o.Zone
	switch name {
	case Bodies:
		return bodySheet.view(d.Bodies, text, offset, limit, z), true
	case Rooms:
		return roomSheet.view(d.Rooms, text, offset, limit, z), true
	case Officers:
		return officerSheet.view(d.Officers, text, offset, limit, z), true
	case Matters:
		return matterSheet.view(d.Matters, text, offset, limit, z), true
	case Bookings:
		return bookingSheet.view(d.Bookings, text, offset, limit, z), true
	case Cases:
		return caseSheet.view(d.Cases, text, offset, limit, z), true
	}
	return View{}, false
}

// table is a sheet as cells.
type table struct {
	name, zh string
	heads    []Head
	rows     [][]string
}

func (s *sheet[T]) table(rows []T, z *time.Location) table {
	t := table{name: s.name, zh: s.zh}
	for _, c := range s.columns {
		t.heads = append(t.heads, Head{c.zh, c.en, c.note, c.need})
	}
	for i := range rows {
		cells := make([]string, 0, len(s.columns))
		for _, c := range s.columns {
			cells = append(cells, c.get(&rows[i], z))
		}
		t.rows = append(t.rows, cells)
	}
	return t
}

// example is the sheet with rows to start from.
func (s *sheet[T]) example() table {
	t := s.table(nil, nil)
	for n := range 2 {
		var cells []string
		for _, c := range s.columns {
			cells = append(cells, c.egs[n])
		}
		t.rows = append(t.rows, cells)
	}
	return t
}

func (r *Registry) tables() []table {
	d, z := r.Data(), r.o.Zone
	return []table{bodySheet.table(d.Bodies, z), roomSheet.table(d.Rooms, z), officerSheet.table(d.Officers, z), matterSheet.table(d.Matters, z),
		bookingSheet.table(d.Bookings, z), caseSheet.table(d.Cases, z)}
}

// CSV writes one sheet in UTF-8 with a byte order mark, as spreadsheets need it. false: no such sheet.
func (r *Registry) CSV(name string) (file []byte, ok bool, err error) { return csvOf(r.tables(), name) }

func examples() []table {
	return []table{bodySheet.example(), roomSheet.example(), officerSheet.example(), matterSheet.example(), bookingSheet.example(), caseSheet.example()}
}

// ExampleCSV is one sheet to start from: two rows that can be imported as they are, after those of the sheets
// they name. false: no such sheet.
func ExampleCSV(name string) (file []byte, ok bool, err error) { return csvOf(examples(), name) }

func csvOf(tables []table, name string) (file []byte, ok bool, err error) {
	i := slices.IndexFunc(tables, func(t table) bool { return t.name == name })
	if i < 0 {
		return nil, false, nil
	}
	var b bytes.Buffer
	b.WriteString("\ufeff")
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	var heads []string
	for _, h := range tables[i].heads {
		heads = append(heads, h.Zh)
	}
	err = w.Write(heads)
	for _, row := range tables[i].rows {
		for k := range row {
			row[k] = guardCell(row[k])
		}
		err = errors.Join(err, w.Write(row))
	}
	w.Flush()
	return b.Bytes(), true, errors.Join(err, w.Error())
}
