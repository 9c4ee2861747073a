package web

import (
	"context"
	"net/http"
	"slices"
)

// live is in front of [Options.Live]. A view begins with POST (WHEP, draft-ietf-wish-whep 4.2): access
// decides and the entry is durable before the handler sees the offer. PATCH and DELETE name a view by
// what Location gave to whoever began it; they show nothing, so any login of the room will do.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	var err error
	switch {
	case s.o.Live == nil:
		err = &Error{http.StatusNotFound, "live-none", "本机没有实时画面功能。", "This device has no live view."}
	case r.PathValue("view") != "" && (r.Method == http.MethodPatch || r.Method == http.MethodDelete):
		_, err = s.o.Access.Enter(r.Context(), request(r, "state"))
	case r.PathValue("view") == "" && r.Method == http.MethodPost:
		r, err = s.named(r), s.watch(r)
	default:
		err = &Error{http.StatusMethodNotAllowed, "method", "请求方法有误：WHEP 用 POST 开始，PATCH、DELETE 用于已开始的画面。",
			"Wrong method: WHEP begins a view with POST; PATCH and DELETE are for a view that began."}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.o.Live.ServeHTTP(w, r)
}

// watch decides whether a view may begin, and returns nil once that is on record. Somebody without a
// name is told so whatever the room does.
func (s *Server) watch(r *http.Request) error {
	if _, err := s.o.Access.Enter(r.Context(), request(r, "state")); err != nil {
		return err
	}
	st, q := s.o.State(), request(r, "watch")
	q.Channel = r.PathValue("channel")
	if !slices.ContainsFunc(st.Channels, func(c ChannelState) bool { return c.ID == q.Channel }) {
		return ErrNotFound
	}
	if st.Session != nil {
		q.Session, q.Body, q.Case, q.Flags, q.Running = st.Session.ID, st.Body.USCC, st.Session.Case, st.Session.Flags, true
	}
	if s.o.Access.Who(q).Named {
		if err := s.shown(st); err != nil {
			return err
		}
	}
	_, err := s.o.Access.Enter(r.Context(), q)
	return err
}

// shown says why there is nothing to see, or nil.
func (s *Server) shown(st State) error {
	switch {
	case st.State == "recording" || st.State == "postroll":
		return nil
	case st.State == "paused":
		return &Error{http.StatusConflict, "paused", "已暂停，不显示画面。继续录制后再看。", "Paused: nothing is shown. Watch again when recording goes on."}
	case s.o.WatchIdle:
		return nil
	}
	return &Error{http.StatusConflict, "idle", "房间没有在录音录像，不显示画面。开始后再看。", "The room is not recording: nothing is shown. Watch once a session runs."}
}

// userKey is where [UserName] finds who a request is of.
type userKey struct{}

// named lets the live view know who watches.
func (s *Server) named(r *http.Request) *http.Request {
	u := s.o.Access.Who(request(r, "watch"))
	return r.WithContext(context.WithValue(r.Context(), userKey{}, u.Name))
}

// UserName is the name of the login behind a request that reached [Options.Live], "" if none.
func UserName(ctx context.Context) string {
	name, _ := ctx.Value(userKey{}).(string)
	return name
}
