package registry

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"minglu/agent/report"
)

// ErrChanged: the file or the registry is not what the preview showed. Ask for a preview again.
var ErrChanged = errors.New("registry: not what the preview showed")

// MistakesError holds what is wrong with a file that was to be applied.
type MistakesError struct{ Plan Plan }

func (e *MistakesError) Error() string {
	return fmt.Sprintf("registry: %d mistakes: %s", e.Plan.Wrong, e.Plan.Mistakes[0].En)
}

// Preview says what a file (XLSX, or CSV of one sheet) would do. It changes nothing.
func (r *Registry) Preview(file []byte) Plan {
	_, p := r.planFile(r.Data(), file)
	return p
}

// Apply does what a preview showed, all or nothing. The token is that of the preview; who and name, of
// the file, go on record. Errors: ErrChanged, *MistakesError, or why it could not be written.
func (r *Registry) Apply(file []byte, token, who, name string) (Plan, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	now := r.Data()
	next, p := r.planFile(now, file)
	switch {
	case p.Wrong > 0:
		return p, &MistakesError{p}
	case p.Token != token:
		return p, ErrChanged
	}
	var did []string
	for _, s := range p.Sheets {
		if s.Add+s.Change+s.Remove > 0 {
			did = append(did, fmt.Sprintf("%s +%d ~%d -%d", s.Zh, s.Add, s.Change, s.Remove))
		}
	}
	if len(did) == 0 {
		return p, nil
	}
	next.Rev++
	next.Changes = append(slices.Clone(now.Changes), Change{T: r.o.Now().UTC(), Who: who, File: short(name), What: strings.Join(did, "；")})
	if over := len(next.Changes) - maxChanges; over > 0 {
		next.Changes = next.Changes[over:]
	}
	return p, r.replace(next)
}

// planFile works out what a file makes of d.
func (r *Registry) planFile(d *Data, file []byte) (*Data, Plan) {
	plan := Plan{Sheets: []SheetPlan{}, Ignored: []string{}, Mistakes: []Mistake{}}
	p := &planner{zone: r.o.Zone, plan: &plan, rows: map[string]int{}}
	next := *d
	grids, err := read(file)
	if err != nil {
		p.wrong(Mistake{}, err)
		return nil, plan
	}
	found := 0
	for _, g := range grids {
		if p.sheet(&next, g) {
			found++
		}
	}
	if found == 0 {
		p.wrong(Mistake{}, wrong("没有认出任何清单：工作表须名为 单位、房间、人员、事项、预约 或 案件，CSV 第一行须为列名；可下载示例对照", "no list was recognised: sheets are called 单位, 房间, 人员, 事项, 预约 or 案件 (or Bodies, Rooms, Officers, Matters, Bookings, Cases), a CSV begins with the heads: compare with the example"))
	}
	if plan.Wrong == 0 {
		p.retire(&next)
		p.cross(&next)
	}
	if plan.Wrong == 0 {
		sum := sha256.New()
		fmt.Fprintf(sum, "%d\n", d.Rev)
		sum.Write(file)
		plan.Token = fmt.Sprintf("%x", sum.Sum(nil)[:16])
	}
	return &next, plan
}

// sheet plans one grid, and reports whether it is one of ours.
func (p *planner) sheet(next *Data, g grid) bool {
	is := func(zh, en, name string, fits func([]string) (int, bool)) bool {
		if g.name != "" {
			return g.name == zh || strings.EqualFold(g.name, en)
		}
		if len(g.rows) == 0 {
			return false
		}
		n, all := fits(g.rows[0])
		return all || n >= 3 && p.best(g.rows[0]) == name
	}
	switch {
	case is(bodySheet.zh, bodySheet.en, Bodies, bodySheet.fits):
		next.Bodies = bodySheet.plan(p, next.Bodies, g)
	case is(bookingSheet.zh, bookingSheet.en, Bookings, bookingSheet.fits):
		next.Bookings = bookingSheet.plan(p, next.Bookings, g)
	case is(roomSheet.zh, roomSheet.en, Rooms, roomSheet.fits):
		next.Rooms = roomSheet.plan(p, next.Rooms, g)
	case is(matterSheet.zh, matterSheet.en, Matters, matterSheet.fits):
		next.Matters = matterSheet.plan(p, next.Matters, g)
	case is(officerSheet.zh, officerSheet.en, Officers, officerSheet.fits):
		next.Officers = officerSheet.plan(p, next.Officers, g)
	case is(caseSheet.zh, caseSheet.en, Cases, caseSheet.fits):
		next.Cases = caseSheet.plan(p, next.Cases, g)
	default:
		if g.name != "" {
			p.plan.Ignored = append(p.plan.Ignored, g.name)
		}
		return false
	}
	return true
}

// best is the sheet most of whose heads stand in a row: a file with a wrong head is told which one.
func (p *planner) best(row []string) (name string) {
	most := 0
	for _, s := range []struct {
		name string
		fits func([]string) (int, bool)
	}{{Bodies, bodySheet.fits}, {Rooms, roomSheet.fits}, {Officers, officerSheet.fits}, {Matters, matterSheet.fits}, {Bookings, bookingSheet.fits}, {Cases, caseSheet.fits}} {
		if n, _ := s.fits(row); n > most {
			most, name = n, s.name
		}
	}
	return name
}

// retire lets the version of a matter that this file adds take the place of the older ones.
func (p *planner) retire(d *Data) {
	newest := map[string]int{} // by id: row of the version that came with this file
	for i := range d.Matters {
		m := &d.Matters[i]
		if row := p.rows[Matters+"\x00"+matterSheet.key(m)]; row > 0 && !m.Retired {
			if other := newest[m.ID]; other > 0 {
				p.wrong(Mistake{Sheet: matterSheet.zh, Row: max(row, other), Key: m.ID}, wrong("事项 %s 有两个在用版本（另见第 %d 行）：请将旧的一行标为停用", "matter %s has two versions in use (see row %d): mark the older one as retired", m.ID, min(row, other)))
			}
			newest[m.ID] = row
		}
	}
	if len(newest) == 0 {
		return
	}
	d.Matters = slices.Clone(d.Matters)
	for i := range d.Matters {
		if m := &d.Matters[i]; newest[m.ID] > 0 && p.rows[Matters+"\x00"+matterSheet.key(m)] == 0 {
			m.Retired = true
		}
	}
}

// cross checks what rows say of each other.
func (p *planner) cross(d *Data) {
	at := func(sheet, zh, key, column string, err error) {
		m := Mistake{Sheet: zh, Row: p.rows[sheet+"\x00"+key], Column: column, Key: showKey(key)}
		if m.Row == 0 { // a row that was there before: the file takes away what it needs
			var w *words
			errors.As(err, &w)
			err = wrong("现有的 %s：%s", "%s, which is there already: %s", showKey(key), w.zh)
			err.(*words).en = showKey(key) + ", which is there already: " + w.en
		}
		p.wrong(m, err)
	}
	body := func(sheet, zh, key, column, code string) {
		if _, ok := d.Body(code); !ok {
			at(sheet, zh, key, column, wrong("单位 %s 不在“单位”表中", "body %s is not in the sheet of bodies", code))
		}
	}
	for i := range d.Rooms {
		for _, code := range d.Rooms[i].Bodies {
			body(Rooms, roomSheet.zh, d.Rooms[i].Device, "使用单位", code)
		}
	}
	for i := range d.Officers {
		o := &d.Officers[i]
		body(Officers, officerSheet.zh, o.Credential, "单位代码", o.Body)
		if o.From != "" && o.To != "" && o.To < o.From {
			at(Officers, officerSheet.zh, o.Credential, "有效期至", wrong("早于有效期自", "before the first day"))
		}
	}
	for i := range d.Matters {
		m := &d.Matters[i]
		key := matterSheet.key(m)
		if m.Body != "" {
			body(Matters, matterSheet.zh, key, "单位代码", m.Body)
		}
		if m.Kind == report.MatterInterview && len(m.Agenda) > 0 {
			at(Matters, matterSheet.zh, key, "议程", wrong("只有听证有议程", "only a hearing has an agenda"))
		}
	}
	for i := range d.Cases {
		c := &d.Cases[i]
		body(Cases, caseSheet.zh, caseSheet.key(c), "单位代码", c.Body)
		if c.KeepUntil != "" && c.KeepUntil != report.KeepForever && c.Closed > c.KeepUntil {
			at(Cases, caseSheet.zh, caseSheet.key(c), "保存至", wrong("早于结案日期", "before the case was closed"))
		}
	}
	p.bookings(d, at, body)
}

func (p *planner) bookings(d *Data, at func(sheet, zh, key, column string, err error), body func(sheet, zh, key, column, code string)) {
	byRoom := map[string][]*Booking{}
	for i := range d.Bookings {
		b := &d.Bookings[i]
		byRoom[b.Device] = append(byRoom[b.Device], b)
		if p.rows[Bookings+"\x00"+b.ID] == 0 {
			continue // one that was there before may be long over, with people who have left
		}
		body(Bookings, bookingSheet.zh, b.ID, "单位代码", b.Body)
		room, ok := d.Room(b.Device)
		switch {
		case !ok:
			at(Bookings, bookingSheet.zh, b.ID, "设备名称", wrong("设备 %s 不在“房间”表中", "device %s is not in the sheet of rooms", b.Device))
		case !slices.Contains(room.Bodies, b.Body):
			at(Bookings, bookingSheet.zh, b.ID, "单位代码", wrong("单位 %s 不使用房间 %s", "body %s does not use room %s", b.Body, b.Device))
		}
		if !b.To.After(b.From) {
			at(Bookings, bookingSheet.zh, b.ID, "结束", wrong("不晚于开始", "not after the beginning"))
		}
		if b.Matter != "" {
			if m, ok := d.Matter(b.Matter); !ok || m.Body != "" && m.Body != b.Body {
				at(Bookings, bookingSheet.zh, b.ID, "事项编号", wrong("事项 %s 不存在、已停用或不属于该单位", "matter %s does not exist, is retired or is another body's", b.Matter))
			}
		}
		day := b.From.In(p.zone).Format("2006-01-02")
		for _, credential := range b.Officers {
			o, ok := d.Officer(credential)
			switch {
			case !ok:
				at(Bookings, bookingSheet.zh, b.ID, "人员证号", wrong("证号 %s 不在“人员”表中", "credential %s is not in the sheet of officers", credential))
			case !o.ValidOn(day):
				at(Bookings, bookingSheet.zh, b.ID, "人员证号", wrong("证号 %s 在 %s 无效", "credential %s is not good on %s", credential, day))
			}
		}
	}
	for _, list := range byRoom {
		slices.SortFunc(list, func(x, y *Booking) int { return x.From.Compare(y.From) })
		for i := range list[:len(list)-1] {
			x, y := list[i], list[i+1]
			if !y.From.Before(x.To) {
				continue
			}
			if p.rows[Bookings+"\x00"+y.ID] == 0 {
				x, y = y, x
			}
			if p.rows[Bookings+"\x00"+y.ID] > 0 {
				at(Bookings, bookingSheet.zh, y.ID, "开始", wrong("与同一房间的预约 %s 时间重叠", "overlaps booking %s of the same room", x.ID))
			}
		}
	}
}
