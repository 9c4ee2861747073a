package registry

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"minglu/agent/report"
)

// BookedAhead is how far ahead a room learns of its bookings.
const BookedAhead = 14 * 24 * time.Hour

// room in a message for everything but its entries.
const frame = 4 << 10

// For puts together what one device needs: the bodies that use its room, their officers, matters, bookings
// from now on and cases. recorded are the cases that have sessions in the room, newest first: they go
// before other cases, closed or not, because how long the sessions are kept depends on them. What finds no
// place in a message is counted in LeftOut. A device the registry does not know gets empty lists.
func (d *Data) For(device string, recorded []string, now time.Time) report.Lists {
	l := report.Lists{Device: device, T: now.UTC()}
	p := &packer{l: &l, left: report.MaxSize - frame}
	room, ok := d.Room(device)
	if !ok {
		l.Version = l.Digest()
		return l
	}
	for _, code := range room.Bodies {
		if b, ok := d.Body(code); ok {
			pack(p, &l.Bodies, b.ListBody, 100)
		}
	}
	uses := func(code string) bool { return slices.Contains(room.Bodies, code) }
	for _, m := range d.Matters {
		if m.Body == "" || uses(m.Body) {
			pack(p, &l.Matters, m, 300)
		}
	}
	for _, b := range d.Bookings {
		if b.Device == device && b.To.After(now) && b.From.Before(now.Add(BookedAhead)) {
			pack(p, &l.Bookings, b.Booking, 500)
		}
	}
	for _, o := range d.Officers {
		if uses(o.Body) {
			pack(p, &l.Officers, o, 2000)
		}
	}
	for _, c := range d.casesFor(uses, recorded) {
		pack(p, &l.Cases, c, 2000)
	}
	l.Version = l.Digest()
	return l
}

// casesFor gives the recorded cases in their order, then the open ones, the highest number first: those
// of this year.
func (d *Data) casesFor(uses func(string) bool, recorded []string) []Case {
	rank := make(map[string]int, len(recorded))
	for i, no := range recorded {
		rank[no] = len(recorded) - i
	}
	var list []Case
	for _, c := range d.Cases {
		if uses(c.Body) && (c.Closed == "" || rank[c.Case] > 0) {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(x, y Case) int {
		return cmp.Or(cmp.Compare(rank[y.Case], rank[x.Case]), strings.Compare(y.Case, x.Case))
	})
	return list
}

// packer fills a message as far as it goes.
type packer struct {
	l    *report.Lists
	left int // bytes
}

func pack[T any](p *packer, list *[]T, x T, most int) {
	b, err := json.Marshal(x)
	if err != nil || len(*list) >= most || len(b)+1 > p.left {
		p.l.LeftOut++
		return
	}
	p.left -= len(b) + 1
	*list = append(*list, x)
}
