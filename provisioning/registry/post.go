package registry

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"minglu/agent/report"
)

const (
	postEvery    = time.Second      // looks for rooms that hold another version
	postAgain    = 15 * time.Second // before the same lists are sent to a room again
	postAgainMax = 5 * time.Minute  // it waits twice as long each time, up to this
	composeEvery = 5 * time.Minute  // bookings come into sight, and cases get sessions
)

// Held is what a device that is there says it holds.
type Held struct {
	Device  string
	Version string // of its lists, "" if it has none
	Since   string // changes with each new connection
}

// PostOptions of [NewPost].
type PostOptions struct {
	Registry *Registry
	Online   func() []Held                             // the devices that are connected now
	Recorded func(device string) []string              // cases with sessions in its room, newest first; nil: none
	Send     func(device string, payload []byte) error // MUST NOT wait
	Now      func() time.Time
	Log      *slog.Logger
}

// Post sends each room its lists until the room says that it holds them. Safe for concurrent use.
type Post struct {
	o PostOptions

	mu       sync.Mutex // guards what follows
	composed map[string]*composed
	rev      int64
	at       time.Time
}

// composed is what one room is to hold.
type composed struct {
	version string
	payload []byte
	leftOut int
	trouble string

	sent  time.Time
	wait  time.Duration
	since string // the connection it was sent over
}

// NewPost returns a Post.
func NewPost(o PostOptions) *Post {
	if o.Recorded == nil {
		o.Recorded = func(string) []string { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Post{o: o, composed: map[string]*composed{}}
}

// Run sends until ctx ends. It returns nil.
func (p *Post) Run(ctx context.Context) error {
	tick := time.NewTicker(postEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.look()
		}
	}
}

func (p *Post) look() {
	now := p.o.Now()
	for _, h := range p.o.Online() {
		c := p.of(h.Device, now)
		if c == nil || c.version == h.Version || c.payload == nil {
			continue
		}
		p.mu.Lock()
		due := c.since != h.Since || now.Sub(c.sent) >= c.wait
		if due {
			if c.since != h.Since {
				c.wait = 0
			}
			c.wait = min(max(2*c.wait, postAgain), postAgainMax)
			c.sent, c.since = now, h.Since
		}
		p.mu.Unlock()
		if !due {
			continue
		}
		if err := p.o.Send(h.Device, c.payload); err != nil {
			p.o.Log.Warn("lists were not sent; they will be", "device", h.Device, "err", err)
		}
	}
}

// of is what a device is to hold; nil for one the registry does not know and that was never sent anything.
func (p *Post) of(device string, now time.Time) *composed {
	d := p.o.Registry.Data()
	p.mu.Lock()
	if p.rev != d.Rev || now.Sub(p.at) >= composeEvery || now.Before(p.at) {
		for _, c := range p.composed {
			c.payload = nil // to be made anew
		}
		p.rev, p.at = d.Rev, now
	}
	c := p.composed[device]
	p.mu.Unlock()
	if c != nil && (c.payload != nil || c.trouble != "") {
		return c
	}
	if _, known := d.Room(device); !known && c == nil { // it may hold what a person brought it as a file
		return nil
	}
	l := d.For(device, p.o.Recorded(device), now)
	b, err := report.Marshal(l)
	p.mu.Lock()
	defer p.mu.Unlock()
	next := &composed{version: l.Version, payload: b, leftOut: l.LeftOut}
	if err != nil { // a limit of the message that the sheets do not have
		next.trouble, next.payload = err.Error(), nil
		p.o.Log.Error("lists cannot be made", "device", device, "err", err)
	}
	if c != nil && c.version == next.version {
		next.sent, next.wait, next.since = c.sent, c.wait, c.since
	}
	p.composed[device] = next
	return next
}

// Delivery is where the lists of one room stand.
type Delivery struct {
	Device  string    `json:"device"`
	Name    string    `json:"name"`
	Wanted  string    `json:"wanted"` // version it is to hold
	Held    string    `json:"held"`   // as it says; "" if it says nothing or is not connected
	Online  bool      `json:"online"`
	Done    bool      `json:"done"` // it holds what it is to hold
	Sent    time.Time `json:"sent,omitzero"`
	LeftOut int       `json:"left_out"`
	Trouble string    `json:"trouble,omitempty"`
}

// Deliveries tells of each room of the registry and each device that is connected. held is what devices
// last said they hold, also those that are away.
func (p *Post) Deliveries(held map[string]string) []Delivery {
	now := p.o.Now()
	d := p.o.Registry.Data()
	online := map[string]Held{}
	names := map[string]string{}
	for _, r := range d.Rooms {
		names[r.Device] = r.Name
	}
	for _, h := range p.o.Online() {
		online[h.Device] = h
		if _, ok := names[h.Device]; !ok {
			names[h.Device] = ""
		}
	}
	list := []Delivery{}
	for device, name := range names {
		x := Delivery{Device: device, Name: name, Held: held[device]}
		if h, ok := online[device]; ok {
			x.Online, x.Held = true, h.Version
		}
		if c := p.of(device, now); c != nil {
			p.mu.Lock()
			x.Wanted, x.Sent, x.LeftOut, x.Trouble = c.version, c.sent, c.leftOut, c.trouble
			p.mu.Unlock()
			x.Done = x.Held == x.Wanted
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Delivery) int {
		switch {
		case a.Done != b.Done && b.Done:
			return -1
		case a.Done != b.Done:
			return 1
		case a.Device < b.Device:
			return -1
		}
		return 1
	})
	return list
}
