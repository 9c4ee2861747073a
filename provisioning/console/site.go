package console

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
	"strconv"
	"time"

	"minglu/provisioning/fleet"
	"minglu/provisioning/users"
)

//go:embed static templates
var files embed.FS

//go:embed openapi.json
var openAPI []byte

// route is one entry of the API; openapi.json has the same.
type route struct {
	method, path string
	open         bool     // without a login
	roles        []string // one of which is needed; nil: any
	do           func(http.ResponseWriter, *http.Request) error
}

func (c *Console) routes() []route {
	return slices.Concat([]route{
		{"POST", "/login", true, nil, c.login},
		{"POST", "/logout", true, nil, c.logout},
		{"GET", "/openapi.json", true, nil, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(openAPI)
			return nil
		}},
		{"GET", "/counts", false, nil, func(w http.ResponseWriter, _ *http.Request) error { return writeJSON(w, 200, c.o.Fleet.Counts()) }},
		{"GET", "/rooms", false, nil, c.rooms},
		{"GET", "/rooms/{id}", false, nil, func(w http.ResponseWriter, r *http.Request) error {
			d, err := c.o.Fleet.Room(r.Context(), r.PathValue("id"))
			if err != nil {
				return err
			}
			return writeJSON(w, 200, advise(d))
		}},
		{"GET", "/events", false, nil, c.events},
		{"GET", "/alarms", false, nil, func(w http.ResponseWriter, _ *http.Request) error {
			return writeJSON(w, 200, map[string]any{"alarms": c.o.Fleet.Alarms(0)})
		}},
		{"GET", "/refused", false, nil, func(w http.ResponseWriter, _ *http.Request) error {
			return writeJSON(w, 200, map[string]any{"refused": c.o.Fleet.Refused()})
		}},
		{"GET", "/stream", false, nil, c.stream},
	}, c.listRoutes(), c.sessionRoutes(), c.registerRoutes(), c.reviewRoutes())
}

// number reads a query parameter that is a whole number from 0 up.
func number(r *http.Request, key string) (int64, error) {
	s := r.URL.Query().Get(key)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, errQuery
	}
	return n, nil
}

func (c *Console) rooms(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	q := r.URL.Query()
	f := fleet.Filter{Class: fleet.Class(q.Get("class")), Recording: q.Get("recording") == "true", Text: q.Get("q"), Item: q.Get("item")}
	rooms, fit, change := c.o.Fleet.Rooms(f, int(min(limit, fleet.MaxLimit)))
	return writeJSON(w, 200, map[string]any{"rooms": rooms, "fit": fit, "change": change})
}

func (c *Console) events(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	before, err := number(r, "before")
	if err != nil {
		return err
	}
	q := r.URL.Query()
	ev, err := c.o.Fleet.Events(r.Context(), fleet.EventFilter{Device: q.Get("device"), Type: q.Get("type"), Before: before, Limit: int(min(limit, fleet.MaxLimit))})
	if err != nil {
		return err
	}
	return writeJSON(w, 200, map[string]any{"events": ev})
}

// page is what a template sees.
type page struct {
	Name   string // of the template
	Lang   string // "zh-CN" or "en"
	Office string
	Who    users.Person
	Demo   bool
	Room   string
	Error  *fault
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

// site puts pages and API together.
func (c *Console) site() (http.Handler, error) {
	pages, err := template.ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("console: BUG: templates: %w", err)
	}
	mux := http.NewServeMux()
	for _, t := range c.routes() {
		mux.HandleFunc(t.method+" /api/v1"+t.path, func(w http.ResponseWriter, r *http.Request) {
			err := error(errLogin)
			switch who, ok := c.who(r, t.path != "/stream"); {
			case !ok && !t.open:
			case t.roles != nil && !slices.ContainsFunc(t.roles, func(role string) bool { return slices.Contains(who.Roles, role) }):
				err = errRole
			default:
				err = t.do(w, r)
			}
			if err != nil {
				c.fail(w, r, err)
			}
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) { c.fail(w, r, errMissing) })
	static, err := c.static()
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /static/", static)
	for pattern, name := range map[string]string{"GET /{$}": "start", "GET /rooms": "rooms", "GET /rooms/{id}": "room", "GET /events": "events",
		"GET /refused": "refused", "GET /lists": "lists", "GET /sessions": "sessions", "GET /year": "year", "GET /register": "register",
		"GET /reviews": "reviews", "GET /reviews/{id}": "review", "GET /login": "login", "/": "missing"} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { c.show(w, r, pages, name) })
	}
	return c.guard(mux), nil
}

func (c *Console) show(w http.ResponseWriter, r *http.Request, pages *template.Template, name string) {
	p := page{Name: name, Lang: "zh-CN", Office: c.o.Name, Demo: c.o.Door == nil, Room: r.PathValue("id")}
	if k, err := r.Cookie("lang"); err == nil && k.Value == "en" {
		p.Lang = "en"
	}
	who, ok := c.who(r, true)
	if ok {
		p.Who = who
	}
	status := http.StatusOK
	switch {
	case name == "missing":
		p.Error, status = errMissing, http.StatusNotFound
	case name != "login" && !ok:
		http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, p.Name+".html", p); err != nil {
		c.fail(w, r, fmt.Errorf("BUG: page %s: %w", p.Name, err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// static serves the embedded files with a digest as ETag, so that an update is seen at once.
func (c *Console) static() (http.Handler, error) {
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
		return nil, fmt.Errorf("console: BUG: static files: %w", err)
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag, ok := tags[r.URL.Path]
		if !ok {
			c.fail(w, r, errMissing)
			return
		}
		b, err := files.ReadFile(r.URL.Path[1:])
		if err != nil {
			c.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", types[path.Ext(r.URL.Path)])
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}), nil
}
