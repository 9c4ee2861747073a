package archive

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// WebDAV is a folder of a WebDAV server (RFC 4918), with Basic authentication. A file is sent as NAME.part with its
// length, its bytes are read back, and it is moved to its name; a cut costs the file under way.
type WebDAV struct {
	base   *url.URL // without credentials
	user   string
	secret string
	client *http.Client
	made   map[string]bool // folders known to be there
	knows  bool            // the server has accepted the credentials
}

// NewWebDAV takes https://USER:PASSWORD@HOST/FOLDER; the folder must be there. t says whom to believe, nil: the system.
func NewWebDAV(address string, t *tls.Config) (*WebDAV, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("archive: webdav: want https://USER:PASSWORD@HOST/FOLDER")
	}
	w := &WebDAV{made: make(map[string]bool), client: &http.Client{Transport: transport(t),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}} // a body is not sent twice
	if u.User != nil {
		w.user = u.User.Username()
		w.secret, _ = u.User.Password()
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	w.base = u
	return w, nil
}

// Where implements Target.
func (w *WebDAV) Where() string {
	return "webdav " + w.base.Host + strings.TrimSuffix(w.base.Path, "/")
}

func (w *WebDAV) at(p string) string { return w.base.JoinPath(p).String() }

// do sends a request and returns its answer if its status is one of those wanted. Others wrap an Err value.
func (w *WebDAV) do(ctx context.Context, method, to string, body io.Reader, size int64, header map[string]string, want ...int) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.ContentLength = size
	}
	if w.user != "" {
		r.SetBasicAuth(w.user, w.secret)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	a, err := w.client.Do(r)
	if err != nil {
		return nil, notes(err)
	}
	for _, s := range want {
		if a.StatusCode == s {
			return a, nil
		}
	}
	text, _ := io.ReadAll(io.LimitReader(a.Body, 200))
	a.Body.Close()
	err = fmt.Errorf("webdav: %s: %s %s", method, a.Status, strings.ToValidUTF8(string(text), "?"))
	switch a.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	case http.StatusInsufficientStorage, http.StatusRequestEntityTooLarge:
		return nil, fmt.Errorf("%w: %w", ErrFull, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// notes keeps our own reasons to stop, and calls the rest a way that is broken.
func notes(err error) error {
	if errors.Is(err, errBusy) || errors.Is(err, errWindow) || errors.Is(err, ErrSource) || errors.Is(err, ErrSlow) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func (w *WebDAV) simple(ctx context.Context, method, to string, header map[string]string, want ...int) (int, error) {
	a, err := w.do(ctx, method, to, nil, 0, header, want...)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(a.Body, 64<<10)) // so that the connection can be used again
	a.Body.Close()
	return a.StatusCode, nil
}

// ready logs in before the first body is sent: a server that asks for credentials in its answer to a PUT may have
// taken an empty file, or the whole body for nothing.
func (w *WebDAV) ready(ctx context.Context) error {
	if w.knows {
		return nil
	}
	_, err := w.simple(ctx, "PROPFIND", w.base.String(), map[string]string{"Depth": "0"}, http.StatusMultiStatus)
	w.knows = err == nil
	return err
}

// folders makes the folders above a path.
func (w *WebDAV) folders(ctx context.Context, p string) error {
	dir := path.Dir(p)
	if dir == "." || w.made[dir] {
		return nil
	}
	if err := w.folders(ctx, dir); err != nil {
		return err
	}
	// 405: it is there (RFC 4918 9.3.1)
	_, err := w.simple(ctx, "MKCOL", w.at(dir)+"/", nil, http.StatusCreated, http.StatusOK, http.StatusMethodNotAllowed)
	w.made[dir] = err == nil
	return err
}

// Put implements Target.
func (w *WebDAV) Put(ctx context.Context, u Upload, pace func(int) error) error {
	err := w.put(ctx, u, pace)
	if err != nil { // perhaps somebody took a folder away, or changed the password
		w.knows = false
		clear(w.made)
	}
	return err
}

func (w *WebDAV) put(ctx context.Context, u Upload, pace func(int) error) error {
	if err := w.ready(ctx); err != nil {
		return err
	}
	if err := w.folders(ctx, u.Path); err != nil {
		return err
	}
	part := w.at(u.Path + partExt)
	body := io.Reader(&paced{io.NewSectionReader(u.Src, 0, u.Size), pace})
	if u.Size == 0 {
		body = http.NoBody
	}
	a, err := w.do(ctx, http.MethodPut, part, io.NopCloser(body), u.Size, map[string]string{"Content-Type": "application/octet-stream"},
		http.StatusOK, http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return err
	}
	a.Body.Close()
	if err := w.back(ctx, part, u, pace); err != nil {
		return err
	}
	_, err = w.simple(ctx, "MOVE", part, map[string]string{"Destination": w.at(u.Path), "Overwrite": "T"}, http.StatusCreated, http.StatusNoContent)
	return err
}

func (w *WebDAV) back(ctx context.Context, part string, u Upload, pace func(int) error) error {
	a, err := w.do(ctx, http.MethodGet, part, nil, 0, map[string]string{"Accept-Encoding": "identity", "Cache-Control": "no-cache"}, http.StatusOK)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if err := compare(a.Body, u, pace); err != nil {
		if errors.Is(err, ErrDigest) {
			return err
		}
		return notes(err)
	}
	return nil
}

// Holds implements Target.
func (w *WebDAV) Holds(ctx context.Context, p string, size int64) (bool, error) {
	a, err := w.do(ctx, http.MethodHead, w.at(p), nil, 0, map[string]string{"Accept-Encoding": "identity"}, http.StatusOK, http.StatusNotFound, http.StatusConflict)
	if err != nil {
		return false, err
	}
	a.Body.Close()
	n, err := strconv.ParseInt(a.Header.Get("Content-Length"), 10, 64)
	return a.StatusCode == http.StatusOK && err == nil && n == size, nil
}

// RemoveAll implements Target.
func (w *WebDAV) RemoveAll(ctx context.Context, folder string) error {
	clear(w.made)
	_, err := w.simple(ctx, http.MethodDelete, w.at(folder)+"/", nil, http.StatusNoContent, http.StatusOK, http.StatusNotFound)
	return err
}

// transport has a bound for each wait that is not a transfer.
func transport(t *tls.Config) *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: t, TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout: 30 * time.Second, MaxIdleConns: 2, ExpectContinueTimeout: time.Second}
}

// paced is a reader that keeps to the rate.
type paced struct {
	*io.SectionReader
	pace func(int) error
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.SectionReader.Read(b[:min(len(b), chunk)])
	if err == nil {
		err = p.pace(n)
	}
	return n, err
}
