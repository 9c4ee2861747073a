package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// policy lets the pages use what this server sends and nothing else, ever.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const bodyWithin = 10 * time.Second // from header to the end of the body

// guard is in front of everything: Host, Origin, headers, deadlines.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		slow := &slowly{ResponseWriter: w, c: http.NewResponseController(w)}
		slow.more()
		if r.ContentLength != 0 {
			within, most := bodyWithin, int64(MaxBodyBytes)
			if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/api/v1/sessions/") && strings.HasSuffix(r.URL.Path, "/attachments") {
				within, most = attachWithin, MaxAttachment
			}
			_ = slow.c.SetReadDeadline(time.Now().Add(within)) // not every test writer has deadlines
			r.Body = http.MaxBytesReader(w, r.Body, most)
		}
		if err := s.sameSite(r); err != nil {
			s.fail(slow, r, err)
			return
		}
		next.ServeHTTP(slow, r)
	})
}

// slowly gives a client SlowClient for each write instead of a limit on the whole answer, so that an
// hour of video may take its time and a client that stopped reading may not.
type slowly struct {
	http.ResponseWriter
	c *http.ResponseController
}

func (w *slowly) more()                       { _ = w.c.SetWriteDeadline(time.Now().Add(SlowClient)) }
func (w *slowly) Write(b []byte) (int, error) { w.more(); return w.ResponseWriter.Write(b) }
func (w *slowly) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// sameSite checks Host against DNS rebinding and Origin, Sec-Fetch-Site against other sites.
// A Host that is the address the request came in by cannot be rebound: it is no name.
func (s *Server) sameSite(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if !s.hostAllowed(host, r) {
		return &Error{http.StatusMisdirectedRequest, "host",
			"此地址不属于本机。请用本机的 IP 地址或配置中的名称（web.hosts）访问。",
			"This device does not answer to that name. Use its IP address or a name of its configuration."}
	}
	foreign := &Error{http.StatusForbidden, "origin",
		"请求来自其他网站，已拒绝。请直接打开本机页面操作。",
		"The request comes from another site and was refused. Open this device's own page."}
	if o := r.Header.Get("Origin"); o != "" {
		u, err := url.Parse(o)
		if err != nil || u.Scheme != scheme(r) || !strings.EqualFold(u.Host, r.Host) {
			return foreign
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "" || site == "same-origin" || site == "none":
	case r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && !strings.HasPrefix(r.URL.Path, "/api/"):
		// a link from elsewhere to one of the pages
	default:
		return foreign
	}
	return nil
}

func (s *Server) hostAllowed(host string, r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if t, ok := local.(*net.TCPAddr); ok {
		a, err := netip.ParseAddr(host)
		if err == nil {
			l, _ := netip.AddrFromSlice(t.IP)
			return a.Unmap() == l.Unmap() || a.IsLoopback() && l.IsLoopback()
		}
		if host == "localhost" {
			return t.IP.IsLoopback()
		}
	}
	return slices.ContainsFunc(s.o.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// request says who asks, as far as the connection tells.
func request(r *http.Request, action string) Request {
	q := Request{Action: action}
	if c, err := r.Cookie(cookieName(r)); err == nil {
		q.Token = c.Value
	}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		q.Remote = ap.Addr().Unmap()
	}
	// Behind a proxy on this machine everybody comes over loopback: then nobody is the panel.
	proxied := r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != ""
	q.Loopback = q.Remote.IsLoopback() && !proxied
	return q
}

// readJSON reads the one JSON value of a body into v; no body leaves v as it is. Fields unknown here
// are left alone, so that a newer client may say more.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	bad := func(zh, en string) error { return &Error{http.StatusBadRequest, "body", zh, en} }
	b, err := io.ReadAll(r.Body)
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return &Error{http.StatusRequestEntityTooLarge, "too-large", "内容过长。请缩短后重试。", "The request is too long. Shorten it and try again."}
	}
	if err != nil {
		return bad("请求未完整到达。请重试。", "The request did not arrive whole. Try again.")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if len(b) == 0 {
		return nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &Error{http.StatusUnsupportedMediaType, "content-type",
			"请求内容必须是 JSON（Content-Type: application/json）。", "Send the body as JSON with Content-Type: application/json."}
	}
	if err := decode(b, v); err != nil {
		return bad("请求内容无法理解："+err.Error()+"。请参照 openapi.json。", "The body cannot be understood: "+err.Error()+". See openapi.json.")
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that left needs no answer
	return nil
}

// refusal is what an error that is meant for the client looks like, also from other packages.
type refusal interface {
	error
	Refusal() (status int, code, zh, en string)
}

// answer turns err into what the client is told.
func answer(err error) *Error {
	var r refusal
	switch {
	case errors.As(err, &r):
		e := new(Error)
		e.Status, e.Code, e.Zh, e.En = r.Refusal()
		return e
	case errors.Is(err, ErrNotFound):
		return &Error{http.StatusNotFound, "not-found", "没有此内容。请从会话列表进入。", "There is no such thing. Start from the list of sessions."}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{http.StatusServiceUnavailable, "timeout", "未能及时完成。请重试。", "It was not done in time. Try again."}
	}
	return &Error{http.StatusInternalServerError, "internal", "程序出错，录制不受影响。请重试；若再出现请查看日志。",
		"The agent made an error; recording is not touched. Try again; if it comes back, see the log."}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := answer(err)
	level := s.o.Log.Debug
	if e.Status >= 500 {
		level = s.o.Log.Error
	}
	level("request failed", "method", r.Method, "path", r.URL.Path, "status", e.Status, "code", e.Code, "err", err)
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // the body may not have been read
	}
	_ = writeJSON(w, e.Status, failure{failed{e.Code, e.Zh, e.En}})
}

type failure struct {
	Error failed `json:"error"`
}

type failed struct {
	Code string `json:"code"`
	Zh   string `json:"zh"`
	En   string `json:"en"`
}
