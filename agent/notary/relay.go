package notary

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"minglu/agent/report"
)

// relay asks the office to ask an authority, over MQTT. One request at a time: the uplink keeps only the
// newest message of a kind.
type relay struct {
	send   func(report.Message) error
	online func() bool
	turn   chan struct{} // capacity 1: who holds it may ask

	mu     sync.Mutex // guards what follows
	id     string     // of the request under way, "" none
	answer chan report.Timestamp
}

func newRelay(send func(report.Message) error, online func() bool) *relay {
	return &relay{send: send, online: online, turn: make(chan struct{}, 1)}
}

func (r *relay) ask(ctx context.Context, request []byte) ([]byte, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, errors.New("another request takes too long")
	}
	if !r.online() {
		return nil, errOffline
	}
	raw := make([]byte, 8)
	rand.Read(raw) // never fails since Go 1.24
	id, answer := hex.EncodeToString(raw), make(chan report.Timestamp, 1)
	r.mu.Lock()
	r.id, r.answer = id, answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.id = ""
		r.mu.Unlock()
	}()
	if err := r.send(report.Timestamp{ID: id, Request: base64.StdEncoding.EncodeToString(request)}); err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		return reply(m)
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer within %v", askTSA)
	}
}

func reply(m report.Timestamp) ([]byte, error) {
	switch {
	case m.Error == "unconfigured":
		return nil, errUnwanted
	case m.Error != "":
		return nil, fmt.Errorf("the office says %q", m.Error)
	}
	return base64.StdEncoding.DecodeString(m.Reply)
}

func (r *relay) receive(m report.Timestamp) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id == "" || m.ID != r.id {
		return errors.New("notary: a time-stamp reply that nobody waits for")
	}
	r.id = ""
	r.answer <- m
	return nil
}
