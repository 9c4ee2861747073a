// Package console serves the office's pages and the JSON API under /api/v1: which rooms pass, fail,
// are silent or record now, what fails in each with its clause and what to do, events, alarms, and
// what was refused.
//
// It guarantees: each request is checked for its Host and Origin first (no DNS rebinding, no
// cross-site request); nothing but the login is shown to somebody who is not logged in; bodies,
// headers, connections and the time a slow client may take are bounded; an error is JSON
// {"error":{code,zh,en}} that says what to do. Pages use what this server sends and nothing else.
//
// It does not guarantee that what it shows is still so: a room may have changed in the half second
// since. It keeps nothing itself: what people change is kept, and put on record, by the packages behind it.
//
// Use: [New], then Run until its context ends.
package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"minglu/agent/standard"
	"minglu/provisioning/fleet"
	"minglu/provisioning/registry"
	"minglu/provisioning/users"
)

// Limits.
const (
	MaxBodyBytes   = 16 << 10
	MaxHeaderBytes = 16 << 10
	MaxConns       = 512
	MaxWatchers    = 64                     // event streams
	Frame          = 500 * time.Millisecond // changes are looked for this often while somebody watches
	SlowClient     = 30 * time.Second
	StopWithin     = 3 * time.Second
)

// Fleet is what is shown; *fleet.Fleet is one.
type Fleet interface {
	Counts() fleet.Counts
	Rooms(q fleet.Filter, limit int) (rooms []fleet.Room, fit int, change int64)
	Changed(since int64) (rooms []fleet.Room, all bool, change int64)
	Room(ctx context.Context, device string) (fleet.Detail, error)
	Events(ctx context.Context, q fleet.EventFilter) ([]fleet.Event, error)
	Alarms(limit int) []fleet.OpenAlarm
	Refused() []fleet.Refusal
	Trouble() string

	Sessions(ctx context.Context, q fleet.SessionFilter) (list []fleet.Session, fit int, err error)
	Session(ctx context.Context, device, id string) (fleet.Session, error)
	SessionBodies() []fleet.Named
	SessionKeys(ctx context.Context, body string, from, until time.Time, max int) ([][2]string, error)
	Year(ctx context.Context, from, until time.Time) (fleet.Year, error)
	Unrecorded(ctx context.Context, q fleet.UnrecordedFilter) ([]fleet.Unrecorded, error)
	Register(ctx context.Context, q fleet.LookFilter) (list []fleet.Look, next int64, err error)
	Looks(ctx context.Context, from, until time.Time) (map[string]int, error)
}

// Door lets people in; *users.Door is one.
type Door interface {
	Login(remote, name, password string) (token string, who users.Person, err error)
	Who(token string, use bool) (users.Person, bool)
	Logout(token string)
}

// Options of [New].
type Options struct {
	Listen string
	Hosts  []string    // names, beside localhost and the address itself, that may stand in Host
	TLS    *tls.Config // nil: Listen must be a loopback address
	Name   string      // of the office
	Fleet  Fleet
	Door   Door // nil: everybody on loopback is "demo"
	Log    *slog.Logger

	Lists      Lists                      // nil: this office keeps none
	Deliveries func() []registry.Delivery // of the lists to the rooms; nil: nothing is known
	Reviews    Reviews                    // nil: this office keeps none
	Profile    *standard.Profile          // what the year is compared with; nil: there is no year page

	Now  func() time.Time // nil: time.Now
	Zone *time.Location   // of the days people write; nil: time.Local
}

// Console is the HTTP server. Safe for concurrent use.
type Console struct {
	o       Options
	handler http.Handler
	live    hub
	bound   chan struct{}
	once    sync.Once
	addr    string
}

// New checks the options. It opens nothing yet.
func New(o Options) (*Console, error) {
	if o.Fleet == nil {
		return nil, errors.New("console: Options.Fleet is needed")
	}
	if o.TLS == nil || o.Door == nil {
		ap, err := netip.ParseAddrPort(o.Listen)
		if err != nil || !ap.Addr().IsLoopback() {
			return nil, fmt.Errorf("console: listen %q: without TLS and login only a loopback address such as 127.0.0.1:8090 will do", o.Listen)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	c := &Console{o: o, bound: make(chan struct{})}
	h, err := c.site()
	if err != nil {
		return nil, err
	}
	c.handler = h
	return c, nil
}

// Run listens and serves until ctx ends, then waits at most StopWithin for requests under way. It
// returns nil when it was asked to stop, else why it cannot serve. Call it once.
func (c *Console) Run(ctx context.Context) error {
	defer c.once.Do(func() { close(c.bound) })
	raw, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.o.Listen)
	if err != nil {
		return fmt.Errorf("console: listen %q: %w: is another program there? change web.listen", c.o.Listen, err)
	}
	c.addr = raw.Addr().String()
	c.once.Do(func() { close(c.bound) })
	l := net.Listener(&limited{Listener: raw, places: make(chan struct{}, MaxConns)})
	if c.o.TLS != nil {
		l = tls.NewListener(l, c.o.TLS.Clone())
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // of requests
	srv := &http.Server{Handler: c.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: MaxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return life },
		ErrorLog:    slog.NewLogLogger(c.o.Log.Handler(), slog.LevelDebug)} // clients that break off are no news
	var wg sync.WaitGroup
	wg.Go(func() { c.live.run(life, c.o.Fleet) })
	served := make(chan error, 1)
	wg.Go(func() { served <- srv.Serve(l) })
	defer wg.Wait()
	defer end()
	select {
	case err := <-served:
		return fmt.Errorf("console: serve: %w", err)
	case <-ctx.Done():
	}
	c.live.close() // event streams end at once
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), StopWithin)
	defer cancel()
	if srv.Shutdown(late) != nil {
		end()
		_ = srv.Close()
	}
	return nil
}

// Addr blocks until the server listens and gives the address; "" when ctx ends or Run has failed.
func (c *Console) Addr(ctx context.Context) string {
	select {
	case <-c.bound:
		return c.addr
	case <-ctx.Done():
		return ""
	}
}

// limited lets at most cap(places) connections be open; more are closed at once.
type limited struct {
	net.Listener
	places chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.places <- struct{}{}:
			return &placed{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
		default:
			_ = c.Close()
		}
	}
}

type placed struct {
	net.Conn
	leave func()
}

func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
