package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	listed     = 100 // sessions in one answer unless told
	listMax    = 500
	listRounds = 50                     // of as many sessions, at most, that are looked through for one answer
	told       = 250 * time.Millisecond // between two progress events
)

type list struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next"` // give it as before= for the older ones; "" there are none
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, u User) error {
	n, err := number(r, "limit", listed, 1, listMax)
	if err != nil {
		return err
	}
	l := list{Sessions: []Session{}, Next: r.URL.Query().Get("before")}
	for range listRounds { // what belongs to other bodies is left out
		all, err := s.o.Store.List(r.Context(), n, l.Next)
		if err != nil {
			return err
		}
		for _, x := range all {
			if len(l.Sessions) < n && s.o.Access.Sees(u, about(request(r, "list"), &x)) {
				l.Sessions = append(l.Sessions, x.whole())
			}
			if len(l.Sessions) < n || l.Sessions[n-1].ID == x.ID {
				l.Next = x.ID
			}
		}
		if len(all) < n && len(l.Sessions) < n || len(all) == 0 {
			l.Next = ""
			break
		}
		if len(l.Sessions) == n {
			break
		}
	}
	return writeJSON(w, http.StatusOK, l)
}

// about says in q which session it is about.
func about(q Request, x *Session) Request {
	q.Session, q.Body, q.Case, q.Flags = x.ID, x.Body.USCC, x.Case, x.Flags
	for _, o := range x.Officers {
		q.Officers = append(q.Officers, cmp.Or(o.Credential, o.Name))
	}
	return q
}

// look finds the session and asks access for what is to be done with it. When it returns nil the
// entry is durable and bytes may be sent.
func (s *Server) look(r *http.Request, action, channel string, n int64) (Session, error) {
	x, err := s.o.Store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return x, err
	}
	q := about(request(r, action), &x)
	q.Channel, q.Segment = channel, n
	if st := s.o.State(); st.Session != nil && st.Session.ID == x.ID {
		q.Running = true
	}
	_, err = s.o.Access.Enter(r.Context(), q)
	return x, err
}

func (s *Server) session(w http.ResponseWriter, r *http.Request, _ User) error {
	x, err := s.look(r, "view", "", 0)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, x.whole())
}

type segments struct {
	Session  string    `json:"session"`
	Channel  string    `json:"channel"`
	Segments []Segment `json:"segments"`
}

func (s *Server) segments(w http.ResponseWriter, r *http.Request, _ User) error {
	ch := r.PathValue("channel")
	x, err := s.look(r, "view", "", 0)
	if err != nil {
		return err
	}
	l, err := s.o.Store.Segments(r.Context(), x.ID, ch)
	if err != nil {
		return err
	}
	for i := range l {
		l[i].Codecs, l[i].Fragments = some(l[i].Codecs), some(l[i].Fragments)
	}
	return writeJSON(w, http.StatusOK, segments{x.ID, ch, some(l)})
}

var errBusy = &Error{http.StatusServiceUnavailable, "busy", "同时播放或下载过多，先保证录制。请稍后再试。",
	"Too much is being played or downloaded; recording comes first. Try again shortly."}

// media sends one file, whole or in ranges (RFC 9110 14). A download is asked for by ?download=1, so
// that it goes on record as what it is.
func (s *Server) media(w http.ResponseWriter, r *http.Request, _ User) error {
	ch := r.PathValue("channel")
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 32)
	if err != nil || n < 1 {
		return ErrNotFound
	}
	select {
	case s.sending <- struct{}{}:
		defer func() { <-s.sending }()
	default:
		return errBusy
	}
	action := "play"
	if r.URL.Query().Get("download") != "" {
		action = "download"
	}
	x, err := s.look(r, action, ch, n)
	if err != nil {
		return err
	}
	m, err := s.o.Store.OpenMedia(r.Context(), x.ID, ch, n)
	if err != nil {
		return err
	}
	defer m.Close()
	w.Header().Set("Content-Type", "video/mp4")
	if action == "download" {
		w.Header().Set("Content-Disposition", `attachment; filename="`+fileName(x.ID+"-"+m.Name)+`"`)
	}
	http.ServeContent(w, r, "", m.Modified, m)
	return nil
}

// fileName leaves what is safe in a header and on any file system.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, s)
}

type progress struct {
	Done int64 `json:"done"` // bytes
	All  int64 `json:"all"`
}

// verify answers with the verifier's JSON; with Accept: text/event-stream it sends "progress" events
// and then one "result" or "error".
func (s *Server) verify(w http.ResponseWriter, r *http.Request, _ User) error {
	if err := readJSON(w, r, &struct{}{}); err != nil {
		return err
	}
	select {
	case s.checking <- struct{}{}:
		defer func() { <-s.checking }()
	default:
		return &Error{http.StatusServiceUnavailable, "verify-busy", "正在核验另一会话。请等它完成。", "Another session is being verified. Wait until it is done."}
	}
	x, err := s.look(r, "verify", "", 0)
	if err != nil {
		return err
	}
	var done, all atomic.Int64
	type outcome struct {
		result json.RawMessage
		err    error
	}
	end := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil { // it reads bytes of any origin: its error may not end a recording
				o = outcome{err: fmt.Errorf("BUG: verify %s: %v", x.ID, p)}
			}
			end <- o
		}()
		o.result, o.err = s.o.Store.Verify(r.Context(), x.ID, func(d, a int64) { done.Store(d); all.Store(a) })
	}()
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		o := <-end // Verify ends with the request
		if o.err != nil {
			return o.err
		}
		return writeJSON(w, http.StatusOK, o.result)
	}
	out := stream(w)
	tick := time.NewTicker(told)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b, _ := json.Marshal(progress{done.Load(), all.Load()})
			_ = out("progress", b) // when the client left, the request's context ends Verify
		case o := <-end:
			if o.err == nil {
				o.result, o.err = json.Marshal(o.result) // one line
			}
			if o.err == nil {
				_ = out("result", o.result)
				return nil
			}
			e := answer(o.err)
			s.o.Log.Error("verify failed", "session", x.ID, "err", o.err)
			b, _ := json.Marshal(failure{failed{e.Code, e.Zh, e.En}})
			_ = out("error", b)
			return nil
		}
	}
}
