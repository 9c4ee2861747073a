// Package access decides who may see and do what in this room, and sees to it that each look at a
// recording, or into the room, is on record first.
//
// It guarantees: one decision function, [Access.Decide], for pages, live view, playback, download
// and export alike; nobody sees the sessions of another body but by a [report.Grant] for one of them, given by
// somebody who may; [Access.Enter] gives leave to a recording only after its line stands in the register
// and Options.Record has returned, so the entry is durable before the first byte is served; a line of the
// register is bound to the ledger by its digest (see [report.Look]); passwords are kept as Argon2id (RFC 9106)
// hashes only; an unknown name costs as much time as a wrong password; after repeated failures a
// name is locked for a while; a login ends after 12 hours, or 30 minutes without use.
//
// It does not guarantee anything about who sits in front of a logged-in panel, and a person who can
// write the state folder can add a user: that person owns the board. Logins live in memory: a
// restart of the agent ends them.
//
// Use: [Add] makes a user on the board itself (command "minglu-agent user add"), [Open] reads the
// users for a running agent; a user added later is found without a restart.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"minglu/agent/report"
)

// Roles of the people of a room. They are strings because the office will send them as such.
const (
	Operator   = "operator"   // 操作员 runs sessions
	Supervisor = "supervisor" // 督察 watches, looks at recordings
	Auditor    = "auditor"    // 审计 looks at everything, takes copies
	Manager    = "manager"    // 设备管理员 keeps the equipment; does not see content
	Approver   = "approver"   // 审批人 answers wishes to look; does not see content by that
	Keeper     = "keeper"     // 档案员 keeps and hands over; sees content by approval only
	Guest      = "guest"      // 当事人、代理人 sees what a grant names and nothing else
)

// Actions that are decided upon.
const (
	State    = "state"    // see what the room is doing now
	Operate  = "operate"  // start, mark, pause, resume, stop, complete the details
	Watch    = "watch"    // see and hear the room live; Session and Flags are those of the running session
	List     = "list"     // see which sessions there are
	View     = "view"     // see all about one session, but its media
	Play     = "play"     // see and hear its media
	Verify   = "verify"   // check it
	Download = "download" // take one media file
	Export   = "export"   // take a session
	Copy     = "copy"     // take a session for a party, against a receipt
	Prompt   = "prompt"   // say something to the officers of the running session, on their page
	Amend    = "amend"    // complete the facts of a sealed session, bind files to it
	Ask      = "ask"      // state a purpose, ask for approval
	Approve  = "approve"  // answer what others ask
	Register = "register" // see who looked at what
	Keep     = "keep"     // see how sessions are archived, held and kept
	Hold     = "hold"     // hold a session or a case
	Free     = "free"     // end a hold
	Appraise = "appraise" // propose what may be destroyed, approve what another proposed
)

// Approvals: who needs a grant to see or take what was said. A stated purpose makes a grant at once where
// no approval is needed.
const (
	ApprovalRoles  = "roles"  // the role is enough
	ApprovalOthers = "others" // auditors, and to look the session's own officers, state a purpose; everybody else needs approval
	ApprovalAll    = "all"    // auditors state a purpose; everybody else needs approval
)

// Modes of [Options].
const (
	ModeLogin = "login" // people log in by name and password
	ModeNone  = "none"  // everybody on loopback is the user "sim"; for board sim only
)

// Limits. Durations are of uptime, so that no clock step can prolong or end a login.
const (
	DefaultExpiry = 12 * time.Hour   // a login ends this long after it began
	DefaultIdle   = 30 * time.Minute // or this long after its last use
	DefaultAgain  = 15 * time.Minute // looks at one recording closer together than this are one entry
	WatchAgain    = 30 * time.Second // a live view that comes back within this is the same view: a bad network makes it try often
	FreeFailures  = 5                // wrong passwords before a name is locked
	FirstLock     = time.Minute      // doubles with each further failure
	LongestLock   = 15 * time.Minute
)

// User is somebody at the other end. The zero User is nobody.
type User struct {
	Name       string   // name of the login; "panel" for the touch panel without one, "sim" in ModeNone
	Roles      []string // as in the user file
	Named      bool     // a person logged in (or ModeNone): not just somebody at the panel
	Body       string   // 统一社会信用代码 of the body the person belongs to; "": the room's own
	Credential string   // 执法证号 of an officer, "" if none: whose sessions are the person's own
}

// Request is one wish to do something. Its fields are those of web.Request.
type Request struct {
	Token    string     // of the login, "" if none
	Remote   netip.Addr // whose connection
	Loopback bool       // came over loopback and not through a proxy: the touch panel
	Action   string
	Session  string   // id of the session concerned, "" if none
	Body     string   // USCC of the body it belongs to; "": the room's own
	Case     string   // its case number, "" if none
	Officers []string // credentials, else names, of its officers
	Flags    []string // its flags: "secret", "minor" narrow who may look
	Running  bool     // it is the one being recorded now
	Channel  string   // "" if the whole session
	Segment  int64    // 0 if the whole channel
}

// Entry is what goes on record before a look begins.
type Entry struct {
	Who     string
	Roles   []string
	Action  string
	Session string
	Running bool
	Channel string
	Segment int64
	Remote  string
	Grant   *report.Grant // by which it was allowed; nil: by role alone
	Body    string        // USCC of the session's body
	Case    string
	Ref     string // of the register's line: 32 hex digits that only who has the line can know
}

// Options of [Open].
type Options struct {
	File   string // the users, state/users.json
	Mode   string // ModeLogin or ModeNone
	Board  string // "sim" allows ModeNone
	Uptime func() time.Duration
	// Record makes an access entry durable in the device ledger or session log; it may block on a
	// disk until ctx ends. An error refuses the look. Called for watch, view, play, verify, download,
	// export; for watch the session is "" when none runs.
	Record func(ctx context.Context, e Entry) error
	// Folder is where grants and the register are kept; it must exist. "": neither is kept, what needs a
	// grant is refused, and entries are made without a line.
	Folder   string
	Body     string                   // USCC of the room's own body
	Approval func(body string) string // by which rule a body's sessions are looked at; nil: [ApprovalRoles]
	Now      func() time.Time         // wall time, for terms of grants; nil: time.Now
	Told     func(l report.Look)      // a line of the register holds; MUST NOT block; nil: nobody
	Log      *slog.Logger             // nil: none
	Expiry   time.Duration            // 0: DefaultExpiry
	Idle     time.Duration            // 0: DefaultIdle
	Again    time.Duration            // 0: DefaultAgain
}

func (o *Options) valid() error {
	switch {
	case o.Mode != ModeLogin && o.Mode != ModeNone:
		return fmt.Errorf("access: mode %q: use %q or %q", o.Mode, ModeLogin, ModeNone)
	case o.Mode == ModeNone && o.Board != "sim":
		return fmt.Errorf("access: mode %q on board %q: opens all recordings to everybody and is for board sim only; use %q and add a user with: minglu-agent user add NAME", o.Mode, o.Board, ModeLogin)
	case o.Mode == ModeLogin && o.File == "":
		return errors.New("access: no user file named")
	case o.Uptime == nil || o.Record == nil:
		return errors.New("access: Options.Uptime and Options.Record are needed")
	}
	return nil
}

// Denied is a refusal that is told to the person. Code is stable.
type Denied struct {
	Status int // HTTP status: 401 log in first, 403 never, 429 later, 503 the entry could not be made
	Code   string
	Zh, En string
	Cause  error // for the log, never shown; may be nil
}

func (d *Denied) Error() string {
	if d.Cause != nil {
		return "access: " + d.Code + ": " + d.Cause.Error()
	}
	return "access: " + d.Code + ": " + d.En
}

func (d *Denied) Unwrap() error { return d.Cause }

// Refusal gives what a page shows; web asks for it by this method.
func (d *Denied) Refusal() (status int, code, zh, en string) { return d.Status, d.Code, d.Zh, d.En }
