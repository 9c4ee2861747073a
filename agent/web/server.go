package web

import (
	"context"
	"net/http"
)

// Server is the HTTP server of one room.
type Server struct{ o Options }

// New checks the options. It opens nothing yet.
func New(o Options) (*Server, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	return &Server{o}, nil
}

// Run listens and serves until ctx ends, then waits at most StopWithin for requests under way. It
// returns nil when it was asked to stop, else why it cannot serve.
func (s *Server) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Addr blocks until the server listens and gives the address; "" when ctx ends or Run has failed.
func (s *Server) Addr(ctx context.Context) string { return "" }

// Handler gives the whole site as one handler, for tests and for whoever has a listener already.
// Live events flow only while Run runs.
func (s *Server) Handler() http.Handler { return nil }
