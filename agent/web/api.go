package web

import (
	_ "embed"
	"net/http"
	"strconv"
	"time"
)

//go:embed openapi.json
var openAPI []byte

// route is one line of the API. Each is described in openapi.json.
type route struct {
	method, path string // as in OpenAPI, below /api/v1
	action       string // what access is asked first; "" nothing
	do           func(s *Server, w http.ResponseWriter, r *http.Request, u User) error
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/openapi.json", "", (*Server).describe},
		{"POST", "/login", "", (*Server).login},
		{"GET", "/login", "", (*Server).whoami},
		{"POST", "/logout", "", (*Server).logout},
		{"GET", "/state", "state", (*Server).state},
		{"GET", "/events", "state", (*Server).events},
		{"GET", "/health", "state", (*Server).health},
		{"GET", "/compliance", "state", (*Server).compliance},
		{"POST", "/session", "operate", (*Server).start},
		{"POST", "/session/details", "operate", (*Server).details},
		{"POST", "/session/mark", "operate", (*Server).mark},
		{"POST", "/session/pause", "operate", (*Server).pause},
		{"POST", "/session/resume", "operate", (*Server).resume},
		{"POST", "/session/stop", "operate", (*Server).stop},
		{"POST", "/session/answer", "operate", (*Server).reply},
		{"POST", "/session/prompt", "prompt", (*Server).prompt},
		{"POST", "/session/seen", "operate", (*Server).seen},
		{"GET", "/choices", "operate", (*Server).choices},
		{"GET", "/not-recorded", "list", (*Server).notRecordedList},
		{"POST", "/not-recorded", "operate", (*Server).notRecorded},
		{"GET", "/sessions", "list", (*Server).list},
		{"GET", "/keeping", "keep", (*Server).keeping},
		{"POST", "/keeping/holds", "hold", (*Server).hold},
		{"POST", "/keeping/holds/{id}/release", "free", (*Server).free},
		{"POST", "/keeping/appraisals", "appraise", (*Server).propose},
		{"POST", "/keeping/appraisals/{id}", "appraise", (*Server).appraise},
		// For the rest "list" only opens the door: what is done with one session is asked once its
		// flags are known (see look).
		{"GET", "/sessions/{id}", "list", (*Server).session},
		{"GET", "/sessions/{id}/media/{channel}", "list", (*Server).segments},
		{"GET", "/sessions/{id}/media/{channel}/{n}", "list", (*Server).media},
		{"GET", "/sessions/{id}/bundle", "list", (*Server).bundle},
		{"GET", "/sessions/{id}/hearing", "list", (*Server).hearing},
		{"POST", "/sessions/{id}/verify", "list", (*Server).verify},
		{"POST", "/sessions/{id}/details", "list", (*Server).amend},
		{"POST", "/sessions/{id}/refused", "list", (*Server).refused},
		{"POST", "/sessions/{id}/attachments", "list", (*Server).attach},
		{"GET", "/sessions/{id}/attachments/{sha256}", "list", (*Server).attachment},
		{"GET", "/access/grants", "ask", (*Server).grants},
		{"POST", "/access/grants", "ask", (*Server).ask},
		{"POST", "/access/grants/{id}/answer", "approve", (*Server).answer},
		{"POST", "/access/grants/{id}/end", "ask", (*Server).end},
		{"POST", "/access/grants/{id}/receipt", "ask", (*Server).receipt},
		{"GET", "/access/register", "register", (*Server).register},
	}
}

// api makes a handler of a route: access, then the work, then the error if any.
func (s *Server) api(t route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var u User
		var err error
		if t.action != "" {
			u, err = s.o.Access.Enter(r.Context(), request(r, t.action))
		}
		if err == nil {
			err = t.do(s, w, r, u)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}
}

func (s *Server) describe(w http.ResponseWriter, _ *http.Request, _ User) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(openAPI)
	return nil
}

func (s *Server) state(w http.ResponseWriter, _ *http.Request, _ User) error {
	return writeJSON(w, http.StatusOK, s.snapshot())
}

func (s *Server) start(w http.ResponseWriter, r *http.Request, u User) error {
	var b starting
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	b.Officers, b.Flags = some(b.Officers), some(b.Flags)
	st, err := s.o.Room.Start(r.Context(), u.Name, b.Details, b.Continues)
	if err != nil {
		return err
	}
	st.Failed = some(st.Failed)
	w.Header().Set("Location", "/api/v1/sessions/"+st.ID)
	return writeJSON(w, http.StatusCreated, st)
}

func (s *Server) details(w http.ResponseWriter, r *http.Request, u User) error {
	var d Details
	if err := readJSON(w, r, &d); err != nil {
		return err
	}
	d.Officers, d.Flags = some(d.Officers), some(d.Flags)
	return s.done(w, http.StatusOK, s.o.Room.Details(r.Context(), u.Name, d))
}

func (s *Server) mark(w http.ResponseWriter, r *http.Request, u User) error {
	var b say
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.done(w, http.StatusOK, s.o.Room.Mark(r.Context(), u.Name, b.Text, b.Kind))
}

func (s *Server) pause(w http.ResponseWriter, r *http.Request, u User) error {
	var b say
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.done(w, http.StatusOK, s.o.Room.Pause(r.Context(), u.Name, b.Reason))
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request, u User) error {
	var b say
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.done(w, http.StatusOK, s.o.Room.Resume(r.Context(), u.Name))
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request, u User) error {
	var b say
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.done(w, http.StatusAccepted, s.o.Room.Stop(r.Context(), u.Name, b.Reason))
}

// done answers a command with what the room is now.
func (s *Server) done(w http.ResponseWriter, status int, err error) error {
	if err != nil {
		return err
	}
	st, id := s.o.State(), ""
	if st.Session != nil {
		id = st.Session.ID
	}
	return writeJSON(w, status, now{id, st.State})
}

type now struct {
	ID    string `json:"id"` // of the session under way, "" if none
	State string `json:"state"`
}

type me struct {
	Name  string   `json:"name"`  // "" nobody, "panel" at the touch panel without a login
	Named bool     `json:"named"` // a person logged in
	Roles []string `json:"roles"`
}

// cookieName: the prefix __Host- binds the cookie to this host over TLS (RFC 6265bis 4.1.3.2).
func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-minglu"
	}
	return "minglu"
}

func setCookie(w http.ResponseWriter, r *http.Request, token string, age time.Duration) {
	c := &http.Cookie{Name: cookieName(r), Value: token, Path: "/", HttpOnly: true, Secure: r.TLS != nil,
		SameSite: http.SameSiteStrictMode, MaxAge: int(age / time.Second)}
	http.SetCookie(w, c)
}

func (s *Server) login(w http.ResponseWriter, r *http.Request, _ User) error {
	var c credentials
	if err := readJSON(w, r, &c); err != nil {
		return err
	}
	token, u, err := s.o.Access.Login(r.Context(), c.Name, c.Password)
	if err != nil {
		return err
	}
	if old := request(r, "").Token; old != "" {
		s.o.Access.Logout(old)
	}
	setCookie(w, r, token, 12*time.Hour)
	return writeJSON(w, http.StatusOK, me{u.Name, u.Named, some(u.Roles)})
}

func (s *Server) whoami(w http.ResponseWriter, r *http.Request, _ User) error {
	u := s.o.Access.Who(request(r, "state"))
	return writeJSON(w, http.StatusOK, me{u.Name, u.Named, some(u.Roles)})
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request, _ User) error {
	if err := readJSON(w, r, &struct{}{}); err != nil {
		return err
	}
	s.o.Access.Logout(request(r, "").Token)
	setCookie(w, r, "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// number reads a query parameter between lo and hi.
func number(r *http.Request, name string, def, lo, hi int) (int, error) {
	t := r.URL.Query().Get(name)
	if t == "" {
		return def, nil
	}
	n, err := strconv.Atoi(t)
	if err != nil || n < lo || n > hi {
		at := name + "=" + strconv.Itoa(lo) + "…" + strconv.Itoa(hi)
		return 0, &Error{http.StatusBadRequest, "query", "参数有误：请用 " + at + "。", "Wrong parameter: use " + at + "."}
	}
	return n, nil
}
