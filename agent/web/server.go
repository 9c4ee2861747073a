package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is the HTTP server of one room.
type Server struct {
	o         Options
	handler   http.Handler
	watchers  hub
	sending   chan struct{} // a place for each media transfer
	checking  chan struct{} // one verification at a time
	attaching chan struct{} // one attachment at a time
	bound     chan struct{} // closed once addr is set or Run has failed
	once      sync.Once
	addr      string
}

// New checks the options. It opens nothing yet.
func New(o Options) (*Server, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, sending: make(chan struct{}, MaxTransfers), checking: make(chan struct{}, 1), attaching: make(chan struct{}, 1), bound: make(chan struct{})}
	h, err := s.site()
	if err != nil {
		return nil, err
	}
	s.handler = h
	return s, nil
}

// Run listens and serves until ctx ends, then waits at most StopWithin for requests under way. It
// returns nil when it was asked to stop, else why it cannot serve. Call it once.
func (s *Server) Run(ctx context.Context) error {
	defer s.once.Do(func() { close(s.bound) })
	raw, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.Listen)
	if err != nil {
		return fmt.Errorf("web: listen %q: %w: is another program there? change web.listen", s.o.Listen, err)
	}
	s.addr = raw.Addr().String()
	s.once.Do(func() { close(s.bound) })
	return s.Serve(ctx, raw)
}

// Serve is Run on a listener that is open already; it closes it.
func (s *Server) Serve(ctx context.Context, raw net.Listener) error {
	l := net.Listener(&limited{Listener: raw, places: make(chan struct{}, MaxConns)})
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS.Clone())
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // of requests: they end when asked to, not before
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    MaxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return life },
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug), // clients that break off are no news
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.watchers.run(life, s.snapshot) })
	served := make(chan error, 1)
	wg.Go(func() { served <- srv.Serve(l) })
	defer wg.Wait()
	defer end()
	select {
	case err := <-served:
		return fmt.Errorf("web: serve: %w", err)
	case <-ctx.Done():
	}
	s.watchers.close() // event streams end at once, so that only real work is waited for
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), StopWithin)
	defer cancel()
	if err := srv.Shutdown(late); err != nil {
		end()
		if err := srv.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.o.Log.Debug("close", "err", err)
		}
	}
	return nil
}

// Addr blocks until the server listens and gives the address; "" when ctx ends or Run has failed.
func (s *Server) Addr(ctx context.Context) string {
	select {
	case <-s.bound:
		return s.addr
	case <-ctx.Done():
		return ""
	}
}

// Handler gives the whole site as one handler, for tests and for whoever has a listener already.
// Live events flow only while Run runs.
func (s *Server) Handler() http.Handler { return s.handler }

// limited lets at most cap(places) connections from other machines be open. More are closed at
// once: waiting would let them pile up in the kernel. Loopback, the room's own panel, always gets in.
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
		if loopback(c.RemoteAddr()) {
			return c, nil
		}
		select {
		case l.places <- struct{}{}:
			return &placed{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
		default:
			c.Close()
		}
	}
}

type placed struct {
	net.Conn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}
