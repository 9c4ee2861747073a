// Package web serves the HTTP API under /api/v1, the pages of the room, WHEP and /metrics.
//
// It guarantees: each request is checked for its Host and Origin first (no DNS rebinding, no
// cross-site request); access decides before anything happens, and the access entry is durable
// before the first byte of a past recording or of the live room is sent; bodies, headers,
// connections and the time a slow client may take are bounded; an error is JSON
// {"error":{code,zh,en}} that says what to do.
// A hung client holds one connection and nothing else: no lock, no part of the recorder.
//
// It does not guarantee that a browser can show what was recorded (H.265 depends on the machine; the
// page says so), and it knows nothing of rooms, files or users itself: those come through the
// interfaces [Room], [Sessions] and [Access], which main satisfies. Types that go over the wire are
// in state.go and described by openapi.json, which a test holds against the routes.
//
// Use: [New], then Run until its context ends.
package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Room operates the one session of this room. Each method returns once the room has taken or
// refused the command; it may not wait for disks or cameras longer than ctx. who is the name of the
// login, "panel" without one. Errors that are an *[Error] are shown as they are; others as a fault
// of the agent.
type Room interface {
	// Start may continue an adjourned hearing: continues is its last session. *Error 409 "running" when one runs.
	Start(ctx context.Context, who string, d Details, continues string) (Started, error)
	Mark(ctx context.Context, who, text, kind string) error // kind "agenda" or ""
	Pause(ctx context.Context, who, reason string) error
	Resume(ctx context.Context, who string) error
	Stop(ctx context.Context, who, reason string) error // returns when post-roll has begun, not at the seal
	// Details completes or corrects whose session it is; only while one runs.
	Details(ctx context.Context, who string, d Details) error
	// Reply answers the open question: yes ends the session, no lets it go on.
	Reply(ctx context.Context, who string, yes bool) error
	// Prompt says something to the officers, Seen that they have read it.
	Prompt(ctx context.Context, who, text string) error
	Seen(ctx context.Context, who string) error
	// Choices are what can be picked without a keyboard for a session of a body, "" the room's own. named says
	// that a person asks: nobody else sees the case of an adjourned hearing.
	Choices(ctx context.Context, body string, named bool) (Choices, error)
}

// Amendments adds to sealed sessions. Errors that are an *[Error] are shown as they are.
type Amendments interface {
	// Amend completes facts. Attach binds a file. Refuse notes who did not sign the session sheet. Each returns
	// once the amendment is durable and in the ledger.
	Amend(ctx context.Context, who, session string, c Correction) error
	Attach(ctx context.Context, who, session, name, kind string, file []byte) error
	Refuse(ctx context.Context, who, session, party, reason string) error
}

// Unrecorded is what was lawfully not recorded, with the reasons.
type Unrecorded interface {
	AddNotRecorded(ctx context.Context, who string, n NotRecorded) (NotRecorded, error)
	ListNotRecorded(ctx context.Context, limit int) ([]NotRecorded, error)
}

// Sessions is the catalogue with the files behind it. ErrNotFound for what is not there.
type Sessions interface {
	// List gives at most limit sessions that opened before before ("" = the newest), newest first.
	// Media, Logs and the like may be left out of the items.
	List(ctx context.Context, limit int, before string) ([]Session, error)
	Get(ctx context.Context, id string) (Session, error)
	Segments(ctx context.Context, id, channel string) ([]Segment, error)
	// OpenMedia opens segment n of a channel for reading; web closes it. The file may still be growing.
	OpenMedia(ctx context.Context, id, channel string, n int64) (Media, error)
	// OpenFolder gives the best copy of a sealed session's folder. Files are opened as they are sent.
	OpenFolder(ctx context.Context, id string) (fs.FS, error)
	// Verify checks a session and gives the verifier's JSON as minglu-agent verify --json prints it, with
	// "chinese" added: the Chinese words for what it says in English, by the English.
	// progress may be called often, from any goroutine, with bytes done of bytes in all. ctx ends it.
	Verify(ctx context.Context, id string, progress func(done, all int64)) (json.RawMessage, error)
}

// Media is one open segment.
type Media struct {
	io.ReadSeekCloser
	Name     string // "face-00001.mp4"
	Modified time.Time
}

// Access decides who may do what; package access has it, main converts the types.
type Access interface {
	Login(ctx context.Context, name, password string) (token string, u User, err error)
	Logout(token string)
	Who(r Request) User // for showing; the zero User is nobody
	// Enter decides, and returns nil only when the entry that r asks for is durable.
	// An error with a method Refusal() (status int, code, zh, en string) is shown as it says.
	Enter(ctx context.Context, r Request) (User, error)
	// Sees reports whether a session may stand in the list of who asks; r is about that session.
	Sees(u User, r Request) bool
}

// User has the fields of access.User.
type User struct {
	Name       string
	Roles      []string
	Named      bool   // somebody logged in, not just the panel
	Body       string // USCC of the person's body, "" the room's own
	Credential string // of an officer
}

// Request has the fields of access.Request.
type Request struct {
	Token    string
	Remote   netip.Addr
	Loopback bool
	Action   string // "state", "operate", "watch", "list", "view", "play", "verify", "download", "export", "copy", "amend", "prompt"
	Session  string
	Body     string // USCC of the session's body
	Case     string
	Officers []string // credentials, else names, of the session's officers
	Flags    []string
	Running  bool
	Channel  string
	Segment  int64
}

// ErrNotFound: there is no such session, channel or segment. Answered with 404.
var ErrNotFound = errors.New("not found")

// Error is an answer to the client: an HTTP status, a stable code, and words that say what
// happened and what to do.
type Error struct {
	Status int
	Code   string
	Zh, En string
}

func (e *Error) Error() string { return "web: " + e.Code + ": " + e.En }

// Refusal makes Error one of the errors that are shown as they say.
func (e *Error) Refusal() (status int, code, zh, en string) { return e.Status, e.Code, e.Zh, e.En }

// Limits.
const (
	MaxBodyBytes   = 64 << 10
	MaxHeaderBytes = 16 << 10
	MaxConns       = 128 // from other machines together; loopback is not counted, so the panel always gets in
	MaxWatchers    = 32  // event streams
	MaxTransfers   = 8   // media being sent at once: the recorder needs the disk more
	SlowClient     = 30 * time.Second
	Frame          = 250 * time.Millisecond // state is looked at this often while somebody watches
	StopWithin     = 3 * time.Second        // Run waits this long for requests under way
)

// Options of [New].
type Options struct {
	Listen   string   // "127.0.0.1:8080"
	Hosts    []string // names, beside localhost and the address itself, that may stand in Host
	TLS      *tls.Config
	State    func() State // a snapshot, quick, from any goroutine
	Room     Room
	Store    Sessions
	Access   Access
	Hearings Hearings   // nil: each session stands for itself
	Amends   Amendments // nil: nothing can be added to a sealed session
	Unrec    Unrecorded // nil: reasons are not kept
	Keeping  Keeping    // nil: nothing is said of keeping
	Grants   Grants     // nil: nobody can ask for anything, and there is no register
	// Health and Compliance are the newest measurements and verdicts, as they also go to the office:
	// snapshots, quick, from any goroutine. nil: nothing is measured here.
	Health     func() report.Health
	Compliance func() report.Compliance
	// Live speaks WHEP: it is mounted at /whep/ and sees POST /whep/CHANNEL only once access has
	// decided and the entry is durable, PATCH and DELETE of what it named in Location with any login.
	// nil: no live view.
	Live http.Handler
	// WatchIdle says that the body's rule lets people see the room while nothing is recorded. A pause
	// is never shown.
	WatchIdle bool
	Outbox    func() int64         // messages that wait for the office's acknowledgement; nil: no office
	Writes    func() durable.Stats // what was written and synced since the start, quick; nil: unknown
	Sim       http.Handler         // mounted at /sim/ for board sim, else nil; sees only checked requests of who may operate
	Log       *slog.Logger         // nil: none
}

func (o *Options) valid() error {
	if o.State == nil || o.Room == nil || o.Store == nil || o.Access == nil {
		return errors.New("web: Options.State, Room, Store and Access are needed")
	}
	return nil
}

// LoadTLS reads a certificate with its chain and its key, both PEM.
func LoadTLS(certFile, keyFile string) (*tls.Config, error) {
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("web: tls: %w: give web.tls.cert (certificate, then chain) and web.tls.key as PEM files that belong together", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}, nil
}
