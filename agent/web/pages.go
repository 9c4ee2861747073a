package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

//go:embed static templates
var files embed.FS

// page is what a template sees.
type page struct {
	Name    string // of the template
	Lang    string // "zh-CN" or "en"
	User    User
	Room    string
	Sim     bool // there is a control page of the simulation
	Keeping bool // it is told how sessions are kept
	Grants  bool // people can ask to look, and there is a register
	Session string
	Error   *Error
}

// T chooses between the two languages; both stand side by side in the template.
func (p page) T(zh, en string) string {
	if p.Lang == "en" {
		return en
	}
	return zh
}

// Other is the language the switch leads to.
func (p page) Other() string {
	if p.Lang == "en" {
		return "zh-CN"
	}
	return "en"
}

// Role reports whether the person has one of roles: a page shows what is of use to them. access decides.
func (p page) Role(roles ...string) bool {
	return slices.ContainsFunc(p.User.Roles, func(r string) bool { return slices.Contains(roles, r) })
}

// site puts pages and API together.
func (s *Server) site() (http.Handler, error) {
	pages, err := template.ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("web: BUG: templates: %w", err)
	}
	mux := http.NewServeMux()
	for _, t := range s.routes() {
		mux.HandleFunc(t.method+" /api/v1"+t.path, s.api(t))
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, s.missing(mux, r)) })
	static, err := s.static()
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /static/", static)
	mux.HandleFunc("/whep/{channel}", s.live)
	mux.HandleFunc("/whep/{channel}/{view}", s.live)
	mux.Handle("GET /metrics", s.metrics())
	show := func(pattern, name, action string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.show(w, r, pages, name, action) })
	}
	show("GET /{$}", "room", "state")
	show("GET /compliance", "compliance", "state")
	show("GET /sessions", "sessions", "list")
	show("GET /sessions/{id}", "session", "list")
	mux.HandleFunc("GET /sessions/{id}/sheet", func(w http.ResponseWriter, r *http.Request) {
		if err := s.sheetPage(w, r, pages); err != nil {
			s.showError(w, r, pages, err)
		}
	})
	show("GET /sessions/{id}/amend", "amend", "list")
	if s.o.Keeping != nil {
		show("GET /keeping", "keeping", "keep")
	}
	if s.o.Grants != nil {
		show("GET /access", "access", "ask")
		show("GET /register", "register", "register")
	}
	show("GET /login", "login", "")
	show("/", "missing", "")
	if s.o.Sim != nil {
		mux.HandleFunc("/sim/", func(w http.ResponseWriter, r *http.Request) {
			if _, err := s.o.Access.Enter(r.Context(), request(r, "operate")); err != nil {
				s.fail(w, r, err)
				return
			}
			s.o.Sim.ServeHTTP(w, r)
		})
	}
	return s.guard(mux), nil
}

// missing tells a wrong path from a wrong method.
func (s *Server) missing(mux *http.ServeMux, r *http.Request) error {
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := mux.Handler(other); m != r.Method && strings.HasPrefix(pattern, m+" ") {
			return &Error{http.StatusMethodNotAllowed, "method", "请求方法有误，请用 " + m + "。", "Wrong method: use " + m + "."}
		}
	}
	return ErrNotFound
}

func (s *Server) show(w http.ResponseWriter, r *http.Request, pages *template.Template, name, action string) {
	if name == "missing" {
		s.showError(w, r, pages, ErrNotFound)
		return
	}
	if action != "" {
		if _, err := s.o.Access.Enter(r.Context(), request(r, action)); err != nil {
			s.showError(w, r, pages, err)
			return
		}
	}
	s.execute(w, r, pages, http.StatusOK, s.page(r, name))
}

// page is what every template sees.
func (s *Server) page(r *http.Request, name string) page {
	p := page{Name: name, Lang: "zh-CN", Room: s.o.State().Room, Sim: s.o.Sim != nil, Grants: s.o.Grants != nil, Keeping: s.o.Keeping != nil, Session: r.PathValue("id")}
	if c, err := r.Cookie("lang"); err == nil && c.Value == "en" {
		p.Lang = "en"
	}
	p.User = s.o.Access.Who(request(r, "state"))
	return p
}

// showError says on a page why there is none, or leads to the login.
func (s *Server) showError(w http.ResponseWriter, r *http.Request, pages *template.Template, err error) {
	p := s.page(r, "missing")
	p.Error = answer(err)
	if p.Error.Status == http.StatusUnauthorized {
		http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.Path), http.StatusSeeOther)
		return
	}
	s.execute(w, r, pages, p.Error.Status, p)
}

func (s *Server) execute(w http.ResponseWriter, r *http.Request, pages *template.Template, status int, p page) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, p.Name+".html", p); err != nil {
		s.fail(w, r, fmt.Errorf("BUG: page %s: %w", p.Name, err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// static serves the embedded files with a digest as ETag: a browser asks each time and gets the new
// file after an update of the agent.
func (s *Server) static() (http.Handler, error) {
	tags := map[string]string{}
	err := fs.WalkDir(files, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(name)
		sum := sha256.Sum256(b)
		tags["/"+name] = `"` + hex.EncodeToString(sum[:8]) + `"`
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("web: BUG: static files: %w", err)
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag, ok := tags[r.URL.Path]
		if !ok {
			s.fail(w, r, ErrNotFound)
			return
		}
		b, err := files.ReadFile(r.URL.Path[1:])
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", types[path.Ext(r.URL.Path)])
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}), nil
}
