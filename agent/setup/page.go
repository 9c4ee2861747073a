package setup

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"choiceValue": choiceValue}).Parse(pageHTML))

// choiceValue is what answers with the n-th choice: y or n where that is the question, else its number.
func choiceValue(choice string, n int) string {
	if strings.HasPrefix(choice, "y ") || strings.HasPrefix(choice, "n ") {
		return choice[:1]
	}
	return strconv.Itoa(n + 1)
}

// tokenCookie holds the token of the address that was printed.
const tokenCookie = "minglu-setup"

const (
	maxForm    = 4 << 10
	headerTime = 10 * time.Second
	closeTime  = 5 * time.Second
)

// Page asks the questions in a browser: one on each page, the same as at the terminal. Whoever has the
// token may answer; nobody else sees anything.
type Page struct {
	// Apply does what was decided and writes how it goes, as main does for the terminal. It is called once.
	Apply func(ctx context.Context, a *Answers, out io.Writer) (ok bool)

	token string

	mu       sync.Mutex
	i        *Interview
	past     []pastAnswer
	applying bool
	ended    chan bool // gets what Apply said
}

type pastAnswer struct {
	Ask  Text
	Text string
}

// NewPage returns a page that asks what i asks.
func NewPage(i *Interview, apply func(context.Context, *Answers, io.Writer) bool) *Page {
	return &Page{Apply: apply, token: rand.Text(), i: i, ended: make(chan bool, 1)}
}

// Token is the value of the parameter t that the first request must have.
func (p *Page) Token() string { return p.token }

// Run serves the page on l until everything was done, or ctx ends; ok is what Apply said.
func (p *Page) Run(ctx context.Context, l net.Listener) (ok bool, err error) {
	s := &http.Server{Handler: p, ReadHeaderTimeout: headerTime, BaseContext: func(net.Listener) context.Context { return ctx }}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case ok = <-p.ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-failed:
		return false, err
	}
	down, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer stop()
	if s.Shutdown(down) != nil {
		_ = s.Close()
	}
	if e := <-failed; err == nil && !errors.Is(e, http.ErrServerClosed) {
		err = e
	}
	return ok, err
}

// ServeHTTP shows the question asked now, takes its answer, and at the end does what was decided.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if t := r.URL.Query().Get("t"); p.is(t) {
		http.SetCookie(w, &http.Cookie{Name: tokenCookie, Value: t, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if c, err := r.Cookie(tokenCookie); err != nil || !p.is(c.Value) {
		http.Error(w, "请使用终端上显示的完整地址 · use the whole address that the terminal shows", http.StatusForbidden)
		return
	}
	switch {
	case r.URL.Path != "/":
		http.NotFound(w, r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		p.show(w, nil)
	case r.Method == http.MethodPost:
		p.take(w, r)
	default:
		h.Set("Allow", "GET, POST")
		http.Error(w, "GET, POST", http.StatusMethodNotAllowed)
	}
}

func (p *Page) is(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(p.token)) == 1
}

// view is what the template shows.
type view struct {
	Q        *Question
	Past     []pastAnswer
	Wrong    error
	Board    string
	Applying bool
}

func (p *Page) show(w http.ResponseWriter, wrong error) {
	p.mu.Lock()
	v := view{Q: p.i.Question(), Past: p.past, Wrong: wrong, Board: p.i.Found.BoardName, Applying: p.applying}
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if wrong != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	_ = page.Execute(w, v)
}

func (p *Page) take(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "表单无法读取 · the form cannot be read", http.StatusBadRequest)
		return
	}
	if r.PostForm.Has("apply") {
		p.apply(w, r)
		return
	}
	p.mu.Lock()
	q := p.i.Question()
	var err error
	if q != nil && q.Key == r.PostForm.Get("key") { // a form sent twice answers one question
		text := r.PostForm.Get("answer")
		if err = p.i.Answer(text); err == nil {
			if text == "" {
				text = q.Default
			}
			if q.Secret {
				text = "••••••"
			}
			p.past = append(p.past, pastAnswer{q.Ask, text})
		}
	}
	p.mu.Unlock()
	if err != nil {
		p.show(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// apply does what was decided, and shows how it goes while it goes.
func (p *Page) apply(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	first := p.i.Question() == nil && !p.applying
	p.applying = p.applying || first
	p.mu.Unlock()
	if !first {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	// It is finished also when the browser goes away.
	p.ended <- p.Apply(context.WithoutCancel(r.Context()), &p.i.A, flushing{w, http.NewResponseController(w)})
}

// flushing sends each piece at once; a browser that has gone disturbs nothing.
type flushing struct {
	w io.Writer
	c *http.ResponseController
}

func (f flushing) Write(b []byte) (int, error) {
	_, _ = f.w.Write(b)
	_ = f.c.Flush()
	return len(b), nil
}
