// Package onvif asks network cameras for what a room needs: which cameras there are (WS-Discovery), where their
// streams are, a picture for looking at, what time they think it is; and sets their clock and where they take their time
// from. Pictures are recorded by package rtsp from the address found here.
//
// Sources: ONVIF Core Specification 23.06 (5.12 security, 7 discovery, 8.3 device management), Media Service
// Specification (GetProfiles, GetStreamUri, GetSnapshotUri), WS-Discovery 1.0 (April 2005), WSS UsernameToken Profile
// 1.0. These are ten calls of SOAP 1.2: the libraries there are generate hundreds and ask for trust in more.
//
// What cameras do, and what is done about it:
//   - the clock of a new camera is years off, and a token of another time is refused: the camera is asked for
//     its time first (that needs no password), and tokens are made for its clock;
//   - some take the token of WS-Security, some HTTP Digest (RFC 7616) alone: both are offered, each once, because
//     several wrong passwords lock an account;
//   - addresses in answers name an interface nobody here can reach: host and port of what was reached are used,
//     the rest is theirs;
//   - answers differ in prefixes and leave out what is optional: local names alone are looked at.
//
// Everything read is bounded; a camera is not trusted. Errors a person can mend are a [drivers.Problem]: "address",
// "credentials", "not-found" (no such profile or service), "protocol". Passwords are in none of them.
package onvif

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"minglu/drivers"
)

// Bounds.
const (
	maxAnswer   = 1 << 20 // of SOAP
	maxPicture  = 8 << 20
	maxProfiles = 64
	DefaultWait = 5 * time.Second // for one answer
)

// Options say which camera.
type Options struct {
	Address  string           // host, host:port, or the address of the device service as Discover gives it
	User     string           // "" : without a password
	Password string           //
	Now      func() time.Time // wall time, for tokens; required
	Wait     time.Duration    // for one answer; 0: DefaultWait
}

// Camera is one camera. It is safe for concurrent use; it keeps no connection.
type Camera struct {
	o       Options
	service *url.URL // of the device
	client  *http.Client

	mu     sync.Mutex // guards what follows
	asked  bool       // the camera's clock and services are known
	offset time.Duration
	media  string // path of the media service
}

// New checks the options; it asks nobody.
func New(o Options) (*Camera, error) {
	if o.Now == nil {
		return nil, errors.New("onvif: options: Now is missing")
	}
	if o.Wait == 0 {
		o.Wait = DefaultWait
	}
	address := o.Address
	if !strings.Contains(address, "://") {
		address = "http://" + address + "/onvif/device_service"
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, fmt.Errorf("onvif: %w", &drivers.Problem{Code: "address", Zh: "摄像机地址无效；请写主机名或 IP 地址", En: "the camera's address is not valid: write a host name or IP address"})
	}
	// A camera that sends elsewhere is not followed: what comes from there is no answer of this camera.
	return &Camera{o: o, service: u, client: &http.Client{Timeout: o.Wait, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}}, nil
}

// Host is the camera's host, without port.
func (c *Camera) Host() string { return c.service.Hostname() }

// envelope is SOAP 1.2.
const envelope = `<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl" xmlns:tt="http://www.onvif.org/ver10/schema">%s<s:Body>%s</s:Body></s:Envelope>`

// security is the header of the UsernameToken Profile 1.0: digest = Base64(SHA-1(nonce + created + password)).
const security = `<s:Header><Security s:mustUnderstand="1" xmlns="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"><UsernameToken><Username>%s</Username><Password Type="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest">%s</Password><Nonce EncodingType="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary">%s</Nonce><Created xmlns="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd">%s</Created></UsernameToken></Security></s:Header>`

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

// token is a header that is good at t by the camera's clock.
func (c *Camera) token(t time.Time, nonce []byte) string {
	created := t.UTC().Format("2006-01-02T15:04:05.000Z")
	h := sha1.New()
	h.Write(nonce)
	io.WriteString(h, created+c.o.Password)
	return fmt.Sprintf(security, escape(c.o.User), base64.StdEncoding.EncodeToString(h.Sum(nil)), base64.StdEncoding.EncodeToString(nonce), created)
}

// call asks a service at a path of this camera; answer takes the envelope. open: without a password.
func (c *Camera) call(ctx context.Context, path, body string, answer any, open bool) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Wait)
	defer cancel()
	header := ""
	if c.o.User != "" && !open {
		nonce := make([]byte, 16)
		if _, err := rand.Read(nonce); err != nil {
			return fmt.Errorf("onvif: %w", err)
		}
		c.mu.Lock()
		now := c.o.Now().Add(c.offset)
		c.mu.Unlock()
		header = c.token(now, nonce)
	}
	at := c.at(path)
	send := []byte(fmt.Sprintf(envelope, header, body))
	status, b, err := c.fetch(ctx, http.MethodPost, at, send, maxAnswer)
	if err != nil {
		return err
	}
	var fault struct {
		XMLName xml.Name
		Code    []string `xml:"Body>Fault>Code>Subcode>Value"`
		Deeper  []string `xml:"Body>Fault>Code>Subcode>Subcode>Value"`
		Reason  []string `xml:"Body>Fault>Reason>Text"`
		Old     []string `xml:"Body>Fault>faultstring"` // SOAP 1.1, of some
	}
	parsed := xml.Unmarshal(b, &fault)
	if parsed == nil && fault.XMLName.Local != "Envelope" {
		parsed = fmt.Errorf("it begins with <%s>", clip(fault.XMLName.Local))
	}
	said := strings.Join(append(append(fault.Code, fault.Deeper...), append(fault.Reason, fault.Old...)...), " ")
	switch {
	case status == http.StatusUnauthorized, strings.Contains(said, "NotAuthorized"), strings.Contains(strings.ToLower(said), "not authorized"):
		return c.problem("credentials", "摄像机 %s 拒绝用户名或口令；请核对，连续错误会锁定账号", "the camera %s refuses user name or password: check them; several wrong ones lock the account", nil)
	case said != "":
		return c.problem("not-found", "摄像机 %s 不支持这一请求；请查看其 ONVIF 设置", "the camera %s does not support this: see its ONVIF settings", errors.New(clip(said)))
	case parsed != nil:
		return c.problem("protocol", "%s 的应答不是 ONVIF；请打开摄像机的 ONVIF，并核对端口", "%s does not answer as ONVIF does: switch ONVIF on in the camera, and check the port", parsed)
	case status != http.StatusOK:
		return c.problem("protocol", "%s 的应答不是 ONVIF；请打开摄像机的 ONVIF，并核对端口", "%s does not answer as ONVIF does: switch ONVIF on in the camera, and check the port", fmt.Errorf("HTTP status %d", status))
	}
	if err := xml.Unmarshal(b, answer); err != nil {
		return c.problem("protocol", "摄像机 %s 的应答无法读懂", "what the camera %s answers cannot be read", err)
	}
	return nil
}

// clip bounds what a camera may put into our log.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}

func (c *Camera) problem(code, zh, en string, err error) error {
	return fmt.Errorf("onvif: %w", &drivers.Problem{Code: code, Zh: fmt.Sprintf(zh, c.service.Host), En: fmt.Sprintf(en, c.service.Host), Err: err})
}

// at is a path of this camera's own host, whatever host the camera says it has.
func (c *Camera) at(path string) *url.URL {
	u := *c.service
	if p, err := url.Parse(path); err == nil && p.Path != "" {
		u.Path, u.RawPath, u.RawQuery = p.Path, p.RawPath, p.RawQuery
	}
	return &u
}

// fetch does one request, and once more if the camera wants HTTP Digest.
func (c *Camera) fetch(ctx context.Context, method string, at *url.URL, send []byte, limit int64) (status int, b []byte, err error) {
	authorization := ""
	for range 2 {
		r, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(send))
		if err != nil {
			return 0, nil, fmt.Errorf("onvif: %w", err)
		}
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/soap+xml; charset=utf-8")
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		resp, err := c.client.Do(r)
		if err != nil {
			return 0, nil, c.reach(err)
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		resp.Body.Close()
		if err != nil {
			return 0, nil, c.reach(err)
		}
		if int64(len(b)) > limit {
			return 0, nil, c.problem("protocol", "摄像机 %s 的应答过长", "the camera %s answers too much", fmt.Errorf("more than %d bytes", limit))
		}
		status = resp.StatusCode
		if status != http.StatusUnauthorized || authorization != "" || c.o.User == "" {
			return status, b, nil
		}
		if authorization = answerTo(resp.Header.Values("WWW-Authenticate"), method, at.RequestURI(), c.o.User, c.o.Password); authorization == "" {
			return status, b, nil
		}
	}
	return status, b, nil
}

// reach says that the camera does not answer. The address in the error of net/http holds no password: tokens are in
// the body and in headers.
func (c *Camera) reach(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("onvif: %w", err)
	}
	var e *net.OpError
	if errors.As(err, &e) {
		err = e
	}
	return c.problem("address", "摄像机 %s 没有应答；请检查电源、网线和地址", "the camera %s does not answer: check its power, cable and address", err)
}
