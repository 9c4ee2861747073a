package capture

import (
	"time"

	"minglu/drivers"
)

// item is one thing that waits to be handed over: a sample, or news of a loss.
type item struct {
	run    *run
	sample drivers.Sample
	lost   int // of sample.Track, if cause is not empty
	cause  string
}

func (i *item) isSample() bool { return i.cause == "" }

// key reports whether a pre-roll can begin here.
func (i *item) key() bool { return i.isSample() && i.sample.Track == 0 && i.sample.Keyframe }

// perItem is what an item costs beside its data; it bounds the memory of tiny samples and news.
const perItem = 200

func (i *item) size() int64 { return int64(len(i.sample.Data)) + perItem }

// ring holds items in order of arrival. It begins at a keyframe, or is empty.
type ring struct {
	items []item // from head on
	head  int
	bytes int64
}

func (r *ring) all() []item { return r.items[r.head:] }

// push adds an item; an empty ring takes a keyframe only.
func (r *ring) push(i item) {
	if len(r.all()) == 0 && !i.key() {
		return
	}
	r.add(i)
}

func (r *ring) add(i item) {
	r.items = append(r.items, i)
	r.bytes += i.size()
}

// drop removes n items from the front, and lets their data go.
func (r *ring) drop(n int) {
	for i := r.head; i < r.head+n; i++ {
		r.bytes -= r.items[i].size()
		r.items[i] = item{}
	}
	r.head += n
	if 2*r.head >= len(r.items) {
		kept := copy(r.items, r.items[r.head:])
		clear(r.items[kept:])
		r.items, r.head = r.items[:kept], 0
	}
}

func (r *ring) clear() { *r = ring{} }

// oneGroup times the limit is what a single group of pictures may take: without its beginning a
// recording would begin only with the next one, up to ten seconds later.
const oneGroup = 2

// trim drops whole groups of pictures: those whose successor begins at or before since, and as many
// as it takes to hold at most limit bytes. What is older than since altogether goes too.
func (r *ring) trim(since time.Duration, limit int64) {
	for len(r.all()) > 0 {
		next := r.secondKey()
		all := r.all()
		switch {
		case next > 0 && (all[next].sample.Arrival <= since || r.bytes > limit):
			r.drop(next)
		case next == 0 && (all[len(all)-1].sample.Arrival < since || r.bytes > oneGroup*limit):
			r.clear()
		default:
			return
		}
	}
}

// secondKey is the index of the second keyframe, 0 if there is none.
func (r *ring) secondKey() int {
	for i, it := range r.all() {
		if i > 0 && it.key() {
			return i
		}
	}
	return 0
}

// last drops all before the last keyframe, and that too if it takes more than oneGroup times limit.
func (r *ring) last(limit int64) {
	all := r.all()
	for i := len(all) - 1; i > 0; i-- {
		if all[i].key() {
			r.drop(i)
			break
		}
	}
	if r.bytes > oneGroup*limit {
		r.clear()
	}
}
