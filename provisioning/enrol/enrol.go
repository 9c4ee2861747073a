// Package enrol is the office's device API: boards get their first certificates by a one-time code,
// renew them by the old ones, and learn how they stand.
//
// It guarantees: a code is good once, for one name, until it ends; asked again with the same keys it
// gives the same certificates, so that a board that was cut off asks again; a code that is wrong, used,
// for another name or at its end is refused with the reason. Guessing is held off by address. Requests
// are bounded in size, time and number at once. Each refusal is told to Options.Refused, never with a code.
//
// It does not guarantee that a board is what it says: who has the code and the name gets the certificate.
//
// Use: [New], then Run until its context ends. [Codes] makes codes.
package enrol

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
	"minglu/provisioning/ca"
)

// Limits.
const (
	MaxAtOnce   = 16               // requests
	MaxOpen     = 512              // connections
	MaxRenewals = 32               // certificates one client certificate may ask for: a device that asks for more is broken or not itself
	within      = 20 * time.Second // for a request, TLS included
	closeWithin = time.Second
)

// Options of [New].
type Options struct {
	Listen string
	TLS    *tls.Config // asks clients for a certificate without judging it, as ca.CA.Serve's does
	CA     *ca.CA
	Codes  Codes
	MQTT   func() string // port of the broker over TLS, "" if there is none
	// Hold counts failed codes by address. Held addresses are refused without a look.
	Hold interface {
		Held(key string) bool
		Fail(key string)
	}
	Refused func(device, why, detail string)  // device "" if nobody is known
	Changed func()                            // certificates were issued or revoked; may be nil
	Trust   func() (map[string][]byte, error) // of report.TrustFiles; nil: none
	Now     func() time.Time                  // nil: time.Now
	Log     *slog.Logger                      // nil: none
}

// Server is one device API.
type Server struct {
	o     Options
	turn  chan struct{}
	bound chan struct{}
	once  sync.Once
	addr  string
}

// New checks the options and opens nothing yet.
func New(o Options) (*Server, error) {
	if o.TLS == nil || o.CA == nil || o.Hold == nil || o.Refused == nil {
		return nil, errors.New("enrol: Options.TLS, CA, Hold and Refused are needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MQTT == nil {
		o.MQTT = func() string { return "" }
	}
	if o.Trust == nil {
		o.Trust = func() (map[string][]byte, error) { return nil, nil }
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return &Server{o: o, turn: make(chan struct{}, MaxAtOnce), bound: make(chan struct{})}, nil
}

// Run listens and serves until ctx ends. It returns nil when it was asked to stop. Call it once.
func (s *Server) Run(ctx context.Context) error {
	defer s.once.Do(func() { close(s.bound) })
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.Listen)
	if err != nil {
		return fmt.Errorf("enrol: listen %q: %w: is another program there? change devices_api.listen", s.o.Listen, err)
	}
	s.addr = l.Addr().String()
	s.once.Do(func() { close(s.bound) })
	srv := &http.Server{Handler: s.Handler(), ReadTimeout: within, WriteTimeout: within, IdleTimeout: within, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)} // strangers would fill the log
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(tls.NewListener(limit(l, MaxOpen), s.o.TLS)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("enrol: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if srv.Shutdown(last) != nil {
		_ = srv.Close()
	}
	<-ended
	return nil
}

// Addr blocks until the API listens and gives the address; "" when ctx ends or Run has failed.
func (s *Server) Addr(ctx context.Context) string {
	select {
	case <-s.bound:
		return s.addr
	case <-ctx.Done():
		return ""
	}
}

// Handler serves the API.
func (s *Server) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST "+report.PathEnrol, s.enrol)
	m.HandleFunc("POST "+report.PathRenew, s.renew)
	m.HandleFunc("GET "+report.PathStatus, s.status)
	m.HandleFunc("GET "+report.PathCRL, func(w http.ResponseWriter, _ *http.Request) {
		b, err := s.o.CA.CRL()
		s.pem(w, b, err)
	})
	m.HandleFunc("GET "+report.PathTrust, func(w http.ResponseWriter, _ *http.Request) {
		files, err := s.o.Trust()
		if err != nil {
			s.o.Log.Error("enrol: trust files", "err", err)
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		s.answer(w, http.StatusOK, report.TrustFiles{V: 1, Files: files})
	})
	m.HandleFunc("GET "+report.PathRoot, func(w http.ResponseWriter, _ *http.Request) {
		s.pem(w, evidence.MarshalCertsPEM(s.o.CA.Root()), nil)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
			m.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "2")
			s.refuse(w, r, http.StatusServiceUnavailable, "", refusal("busy", "请求过多，请稍后再试", "too many requests at once: try again"))
		}
	})
}

func (s *Server) pem(w http.ResponseWriter, b []byte, err error) {
	if err != nil {
		s.o.Log.Error("enrol", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(b)
}

func refusal(code, zh, en string) report.EnrolRefusal {
	return report.EnrolRefusal{Code: code, Text: report.Text{Zh: zh, En: en}}
}

// refuse answers and tells the office.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, device string, why report.EnrolRefusal) {
	s.o.Refused(device, "enrol-"+why.Code, remote(r)+" "+why.Text.En)
	s.answer(w, status, why)
}

func (s *Server) answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// read reads the request, or answers.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (e report.Enrol, ok bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, report.MaxEnrol))
	if err == nil {
		e, err = report.ParseEnrol(b)
	}
	if err != nil {
		s.o.Hold.Fail(remote(r))
		s.refuse(w, r, http.StatusBadRequest, "", refusal("request", "请求格式有误", "the request cannot be read"))
		return e, false
	}
	return e, true
}

func (s *Server) enrol(w http.ResponseWriter, r *http.Request) {
	if s.o.Hold.Held(remote(r)) {
		s.refuse(w, r, http.StatusTooManyRequests, "", refusal("held", "错误次数过多，请最多等待 15 分钟", "too many failures from this address: wait up to 15 minutes"))
		return
	}
	e, ok := s.read(w, r)
	if !ok {
		return
	}
	wrong := func(why report.EnrolRefusal) {
		s.o.Hold.Fail(remote(r))
		s.refuse(w, r, http.StatusForbidden, e.Name, why)
	}
	code, err := report.ParseEnrolCode(e.Code)
	if err != nil {
		wrong(refusal("code.unknown", "登记码无效", "the code is not one"))
		return
	}
	made, known, err := s.o.Codes.find(code.Ref())
	switch {
	case err != nil:
		s.o.Log.Error("enrol", "err", err)
		s.answer(w, http.StatusInternalServerError, refusal("busy", "管理端内部错误，请稍后再试", "the office has an internal error: try again later"))
		return
	case !known || !code.IsRoot(s.o.CA.Root().Raw):
		wrong(refusal("code.unknown", "登记码不存在，或已被新码取代", "this office made no such code, or a newer one took its place"))
		return
	case made.Name != e.Name:
		wrong(refusal("name", "登记码属于另一个设备名；请核对 agent.yaml 的 device.name", "the code is for another name: compare device.name in agent.yaml"))
		return
	case made.Dead != "" || s.revokedSince(made):
		wrong(refusal("code.revoked", "该名称在生成登记码之后被吊销（"+cmp.Or(made.Dead, ca.ReasonUnnamed)+"），此码随之作废；请重新生成",
			"the certificates of this name were revoked after the code was made ("+cmp.Or(made.Dead, ca.ReasonUnnamed)+"), and the code with them: make another"))
		return
	case !s.o.Now().Before(made.Until):
		wrong(refusal("code.expired", "登记码已过期，请重新生成", "the code has expired: make another"))
		return
	}
	s.issue(w, r, ca.Request{Name: e.Name, Sign: e.Sign, TLS: e.TLS, SM2: e.SM2, Ref: made.Ref, Replace: made.Replace}, e.Board, wrong)
}

// revokedSince reports whether a person revoked the name after the code was made, where the code itself was not
// told ([Codes.Revoke]). That the code was used and revoked what it replaced is none of that.
func (s *Server) revokedSince(made Code) bool {
	after := false
	for _, e := range s.o.CA.Entries() {
		if e.Ref == made.Ref {
			return false
		}
		after = after || e.Name == made.Name && e.Revoked.After(made.Made)
	}
	return after
}

func (s *Server) issue(w http.ResponseWriter, r *http.Request, q ca.Request, board report.Board, wrong func(report.EnrolRefusal)) {
	out, err := s.o.CA.IssueDevice(q)
	if e := (*ca.Refused)(nil); errors.As(err, &e) {
		wrong(refusal(e.Code, wordsOf(e.Code), e.Err.Error()))
		return
	}
	if errors.Is(err, ca.ErrDamaged) { // nobody's fault who asks
		s.o.Log.Error("enrol", "device", q.Name, "err", err)
		s.refuse(w, r, http.StatusServiceUnavailable, q.Name, refusal("authority.damaged", "管理端 CA 的日志已损坏，恢复备份之前不签发证书", "the log of the office's authority is damaged: nothing is issued until it is put back from a backup"))
		return
	}
	if err != nil {
		s.o.Log.Error("enrol", "device", q.Name, "err", err)
		s.answer(w, http.StatusInternalServerError, refusal("busy", "管理端内部错误，请稍后再试", "the office has an internal error: try again later"))
		return
	}
	s.o.Log.Info("certificates issued", "device", q.Name, "id", out.Device, "until", out.TLS.NotAfter.Format(time.RFC3339), "remote", remote(r),
		"serial", board.Serial, "model", board.Model, "tpm", board.TPM)
	s.o.Changed()
	reply := report.Enrolled{V: 1, Name: q.Name, Device: out.Device, Sign: out.Sign.Raw, TLS: out.TLS.Raw,
		Chain: [][]byte{s.o.CA.Issuing().Raw}, Root: s.o.CA.Root().Raw, MQTT: s.o.MQTT()}
	if out.SM2 != nil {
		reply.SM2, reply.SM2Chain = out.SM2.Raw, [][]byte{s.o.CA.SM2Issuing().Raw, s.o.CA.SM2Root().Raw}
	}
	s.answer(w, http.StatusOK, reply)
}

func wordsOf(code string) string {
	switch code {
	case "code.used":
		return "登记码已用过，请重新生成"
	case "name.enrolled":
		return "该设备名已登记；更换设备时请用 enrol code --replace 生成登记码"
	case "device":
		return "该设备密钥属于另一台设备或已用另一名称登记"
	case "name":
		return "证书请求中的名称不符"
	case report.StandingRevoked:
		return "该密钥已因泄露被吊销，不能再用；请在会话均已封存（只能由该密钥封存）后停止 minglu-agent run，移走并保留其状态目录中的 identity 目录，再以同一登记码登记：设备另生成密钥，成为新设备"
	}
	return "证书请求无效"
}

// clientCert is what the client has shown and holds the key of; nil if nothing.
func clientCert(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// standingWords are the reasons a certificate is not taken.
var standingWords = map[string]report.Text{
	report.StandingUnknown:  {Zh: "证书不是本管理端签发的", En: "the certificate is not of this office"},
	report.StandingRevoked:  {Zh: "证书已被吊销", En: "the certificate was revoked"},
	report.StandingExpired:  {Zh: "证书已过期，请重新登记", En: "the certificate has expired: enrol again"},
	report.StandingMisnamed: {Zh: "证书用途或名称不符", En: "the certificate is of another use or name"},
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	e, ok := s.read(w, r)
	if !ok {
		return
	}
	old, st := s.o.CA.Check(clientCert(r), e.Name)
	if st.State != report.StandingGood {
		s.refuse(w, r, http.StatusForbidden, old.Name, report.EnrolRefusal{Code: st.State, Text: standingWords[st.State]})
		return
	}
	wrong := func(why report.EnrolRefusal) { s.refuse(w, r, http.StatusForbidden, old.Name, why) }
	if s.o.CA.Renewals(old.Serial) >= MaxRenewals {
		wrong(refusal("held", "该证书请求续期次数过多", "this certificate has asked for too many renewals: enrol again"))
		return
	}
	s.issue(w, r, ca.Request{Name: e.Name, Sign: e.Sign, TLS: e.TLS, SM2: e.SM2, Renews: old.Serial, Device: old.Device}, e.Board, wrong)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	_, st := s.o.CA.Check(clientCert(r), "")
	s.answer(w, http.StatusOK, st)
}

// limit bounds the open connections; more wait in the kernel.
func limit(l net.Listener, n int) net.Listener { return &limited{l, make(chan struct{}, n)} }

type limited struct {
	net.Listener
	places chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(within)) // a handshake that never comes; net/http moves it on
	return &place{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

type place struct {
	net.Conn
	leave func()
}

func (p *place) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
