package console

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

	"minglu/provisioning/fleet"
	"minglu/provisioning/registry"
	"minglu/provisioning/review"
	"minglu/provisioning/users"
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// fault is an answer to the client: status, stable code, and words that say what to do.
type fault struct {
	Status int    `json:"-"`
	Code   string `json:"code"`
	Zh     string `json:"zh"`
	En     string `json:"en"`
}

func (f *fault) Error() string { return "console: " + f.Code + ": " + f.En }

var (
	errLogin    = &fault{http.StatusUnauthorized, "login", "请先登录。", "Log in first."}
	errMissing  = &fault{http.StatusNotFound, "not-found", "没有此内容。请从首页进入。", "There is no such thing. Start from the first page."}
	errForeign  = &fault{http.StatusForbidden, "origin", "请求来自其他网站，已拒绝。请直接打开本页面操作。", "The request comes from another site and was refused. Open this office's own page."}
	errHost     = &fault{http.StatusMisdirectedRequest, "host", "此地址不属于本机。请用本机的 IP 地址或配置中的名称（web.hosts）访问。", "This office does not answer to that name. Use its IP address or a name in web.hosts."}
	errTooMany  = &fault{http.StatusServiceUnavailable, "too-many", "打开的页面过多。请关闭一些后重试。", "Too many pages are open. Close some and try again."}
	errBody     = &fault{http.StatusBadRequest, "body", "请求内容无法理解。请参照 openapi.json。", "The body cannot be understood. See openapi.json."}
	errQuery    = &fault{http.StatusBadRequest, "query", "查询参数无效。请参照 openapi.json。", "A query parameter cannot be understood. See openapi.json."}
	errInternal = &fault{http.StatusInternalServerError, "internal", "程序出错，上报数据不受影响。请重试；若再出现请查看日志。", "An error of this program; reports are not touched. Try again; if it comes back, see the log."}
	refusals    = map[users.Refused]*fault{
		users.Wrong: {http.StatusUnauthorized, "login-wrong", "用户名或密码不对。请重试；忘记密码可用 minglu-provisioning user add 重设。", "Name or password is wrong. Try again; a forgotten password is set anew with minglu-provisioning user add."},
		users.Held:  {http.StatusTooManyRequests, "login-held", "失败次数过多，暂时锁定。请过几分钟再试。", "Too many failures. Try again in some minutes."},
		users.Busy:  {http.StatusTooManyRequests, "login-busy", "登录请求过多。请稍后再试。", "Too many people are logging in. Try again shortly."},
	}
)

// guard is in front of everything.
func (c *Console) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for k, v := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY", "Cache-Control": "no-store"} {
			h.Set(k, v)
		}
		slow := &slowly{ResponseWriter: w, c: http.NewResponseController(w)}
		slow.more()
		if r.ContentLength != 0 {
			most, within := int64(MaxBodyBytes), 10*time.Second
			if r.URL.Path == "/api/v1"+listsImport {
				most, within = registry.MaxFile, uploadTime
			}
			_ = slow.c.SetReadDeadline(time.Now().Add(within)) // not every test writer has deadlines
			r.Body = http.MaxBytesReader(w, r.Body, most)
		}
		if err := c.sameSite(r); err != nil {
			c.fail(slow, r, err)
			return
		}
		next.ServeHTTP(slow, r)
	})
}

// slowly gives a client SlowClient for each write.
type slowly struct {
	http.ResponseWriter
	c *http.ResponseController
}

func (w *slowly) more()                       { _ = w.c.SetWriteDeadline(time.Now().Add(SlowClient)) }
func (w *slowly) Write(b []byte) (int, error) { w.more(); return w.ResponseWriter.Write(b) }
func (w *slowly) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// sameSite checks Host against DNS rebinding and Origin, Sec-Fetch-Site against other sites.
func (c *Console) sameSite(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	if !c.hostAllowed(strings.ToLower(strings.Trim(host, "[]")), r) {
		return errHost
	}
	if o := r.Header.Get("Origin"); o != "" {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		if u, err := url.Parse(o); err != nil || u.Scheme != scheme || !strings.EqualFold(u.Host, r.Host) {
			return errForeign
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "" || site == "same-origin" || site == "none":
	case r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && !strings.HasPrefix(r.URL.Path, "/api/"):
	default:
		return errForeign
	}
	return nil
}

// hostAllowed: an address the request came in by cannot be rebound; a name must be ours.
func (c *Console) hostAllowed(host string, r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if t, ok := local.(*net.TCPAddr); ok {
		if a, err := netip.ParseAddr(host); err == nil {
			l, _ := netip.AddrFromSlice(t.IP)
			return a.Unmap() == l.Unmap() || a.IsLoopback() && l.IsLoopback()
		}
		if host == "localhost" {
			return t.IP.IsLoopback()
		}
	}
	return slices.ContainsFunc(c.o.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// cookieName: over TLS the browser itself sees to it that no other host set it.
func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-office"
	}
	return "office"
}

func token(r *http.Request) string {
	if k, err := r.Cookie(cookieName(r)); err == nil {
		return k.Value
	}
	return ""
}

func remote(r *http.Request) string {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return ap.Addr().Unmap().String()
	}
	return ""
}

// who says who asks. use counts as a use of the login. Without a door everybody on loopback may look,
// unless a proxy on this machine brings somebody from elsewhere.
func (c *Console) who(r *http.Request, use bool) (users.Person, bool) {
	if c.o.Door != nil {
		return c.o.Door.Who(token(r), use)
	}
	a, err := netip.ParseAddr(remote(r))
	proxied := r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != ""
	return users.Person{Name: "demo", Roles: users.Roles()}, err == nil && a.IsLoopback() && !proxied
}

func (c *Console) login(w http.ResponseWriter, r *http.Request) error {
	if c.o.Door == nil {
		return writeJSON(w, http.StatusOK, map[string]string{"name": "demo"})
	}
	var in struct{ Name, Password string }
	if err := readJSON(r, &in); err != nil {
		return err
	}
	t, who, err := c.o.Door.Login(remote(r), in.Name, in.Password)
	if err != nil {
		c.o.Log.Warn("login refused", "name", in.Name, "remote", remote(r), "why", err)
		return err
	}
	c.o.Log.Info("login", "name", who.Name, "remote", remote(r))
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: t, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	return writeJSON(w, http.StatusOK, map[string]string{"name": who.Name})
}

func (c *Console) logout(w http.ResponseWriter, r *http.Request) error {
	if c.o.Door != nil {
		c.o.Door.Logout(token(r))
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Path: "/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	return writeJSON(w, http.StatusOK, struct{}{})
}

func readJSON(r *http.Request, v any) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return errBody
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return errBody
	}
	if json.Unmarshal(b, v) != nil {
		return errBody
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

// answer turns err into what the client is told.
func answer(err error) *fault {
	var f *fault
	var u users.Refused
	var v *review.Refused
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &u) && refusals[u] != nil:
		return refusals[u]
	case errors.As(err, &v):
		return &fault{http.StatusBadRequest, "refused", v.Zh, v.En}
	case errors.Is(err, fleet.ErrNotFound), errors.Is(err, review.ErrNotFound):
		return errMissing
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errTooMany
	}
	return errInternal
}

func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := answer(err)
	if f.Status >= 500 {
		c.o.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "status", f.Status, "err", err)
	}
	if f.Status == http.StatusTooManyRequests || f.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // the body may not have been read
	}
	_ = writeJSON(w, f.Status, map[string]*fault{"error": f})
}
