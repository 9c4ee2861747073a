package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"minglu/agent/report"
)

// Bounds of what is kept in memory.
const (
	maxLogins   = 256
	maxFailures = 1024
	maxLooks    = 4096
	maxWaiting  = 8               // password checks waiting for their turn
	reread      = 2 * time.Second // the user file is looked at this often at most
)

// Access is the gate of one room. Safe for concurrent use. It starts no goroutine.
type Access struct {
	o       Options
	turn    chan struct{} // one password is hashed at a time: memory and CPU belong to the recorder
	waiting atomic.Int64
	nobody  password // what an unknown name is compared with

	changing sync.Mutex // one change of grants at a time
	writing  sync.Mutex // one line of the register at a time

	mu       sync.Mutex
	grants   []report.Grant // in the order they were asked for
	users    map[string]user
	stamp    time.Time // of the user file as read
	size     int64
	lookedAt time.Duration
	failed   map[string]failure
	logins   map[[32]byte]*login // by SHA-256 of the token
	looks    map[look]*entry
}

type failure struct {
	n          int
	last, till time.Duration
}

type login struct {
	name        string
	hash        string // a new password ends the logins made with the old one
	began, used time.Duration
}

// look is what one entry stands for: the same person, login, thing and action again soon is one look.
type look struct {
	who, action, session, channel string
	login                         [32]byte
	segment                       int64
	grant                         string
}

type entry struct {
	done chan struct{} // closed when Record has returned
	err  error
	last time.Duration
}

// Open reads the users. A missing file is no error: until a user is added nobody can log in, and
// the panel still runs sessions.
func Open(o Options) (*Access, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Expiry, o.Idle, o.Again = or(o.Expiry, DefaultExpiry), or(o.Idle, DefaultIdle), or(o.Again, DefaultAgain)
	a := &Access{o: o, turn: make(chan struct{}, 1), users: map[string]user{}, failed: map[string]failure{},
		logins: map[[32]byte]*login{}, looks: map[look]*entry{}}
	if o.Folder != "" {
		var err error
		if a.grants, err = readGrants(o.Folder); err != nil {
			o.Log.Error("grants set aside: what was granted must be asked for anew", "err", err)
		}
	}
	if o.Mode == ModeNone {
		return a, nil
	}
	a.nobody = password{kib: hashKiB, passes: hashPasses, threads: hashThreads, salt: make([]byte, hashSalt), key: make([]byte, hashLen)}
	rand.Read(a.nobody.salt)
	rand.Read(a.nobody.key)
	if err := a.reload(); err != nil {
		return nil, err
	}
	return a, nil
}

func or(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// reload reads the user file if it is another than before. The caller holds mu, or is Open.
func (a *Access) reload() error {
	st, err := os.Stat(a.o.File)
	if err == nil && st.ModTime().Equal(a.stamp) && st.Size() == a.size {
		return nil
	}
	users, err := readUsers(a.o.File)
	if err != nil {
		return err
	}
	a.users = map[string]user{}
	for _, u := range users {
		a.users[u.Name] = u
	}
	if st != nil {
		a.stamp, a.size = st.ModTime(), st.Size()
	} else {
		a.stamp, a.size = time.Time{}, 0
	}
	return nil
}

// refresh keeps the old users when the file cannot be read: a damaged file may not open a door, and
// those who are in may go on. The caller holds mu.
func (a *Access) refresh() {
	now := a.o.Uptime()
	if now-a.lookedAt < reread && a.lookedAt != 0 {
		return
	}
	a.lookedAt = now
	if err := a.reload(); err != nil {
		a.o.Log.Error("users kept as they were", "err", err)
	}
}

var (
	errWrong = Denied{Status: 401, Code: "login-wrong",
		Zh: "用户名或密码不对。请重试；忘记密码可在本机用 minglu-agent user add 重设。",
		En: "Name or password is wrong. Try again; a forgotten password is set anew on the board with minglu-agent user add."}
	errLocked = Denied{Status: 429, Code: "login-locked",
		Zh: "失败次数过多，此用户名暂时锁定。请过几分钟再试。",
		En: "Too many failures: this name is locked for a while. Try again in some minutes."}
	errBusy = Denied{Status: 429, Code: "login-busy",
		Zh: "登录请求过多。请稍后再试。", En: "Too many people are logging in. Try again shortly."}
	errNoLogin = Denied{Status: 403, Code: "login-none",
		Zh: "模拟房间无需登录。", En: "This simulated room needs no login."}
	errEntry = Denied{Status: 503, Code: "entry-failed",
		Zh: "调阅记录无法写入，因此不能打开。请检查磁盘后重试。",
		En: "The access entry could not be written, so nothing is shown. Check the disks and try again."}
)

func (d Denied) with(cause error) *Denied { d.Cause = cause; return &d }

// Login checks name and password and returns the token of a new login, 256 random bits in base64url.
// It takes a second or so of a small board's time, one caller at a time; too many waiting are refused.
// Errors are *Denied.
func (a *Access) Login(ctx context.Context, name, text string) (token string, u User, err error) {
	if a.o.Mode == ModeNone {
		return "", User{}, errNoLogin.with(nil)
	}
	if len(name) > maxName || len(text) > maxPassword {
		return "", User{}, errWrong.with(nil)
	}
	if a.waiting.Add(1) > maxWaiting {
		a.waiting.Add(-1)
		return "", User{}, errBusy.with(nil)
	}
	defer a.waiting.Add(-1)
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return "", User{}, errBusy.with(context.Cause(ctx))
	}
	p, known, locked := a.lookUp(name)
	if locked {
		return "", User{}, errLocked.with(nil)
	}
	if ok := p.is(text); !ok || !known {
		a.fail(name)
		a.o.Log.Warn("login failed", "name", name)
		return "", User{}, errWrong.with(nil)
	}
	a.o.Log.Info("login", "name", name)
	token, u = a.begin(name)
	return token, u, nil
}

func (a *Access) lookUp(name string) (p password, known, locked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lookedAt = 0 // who was added a moment ago may log in at once
	a.refresh()
	u, known := a.users[name]
	p = u.password
	if !known {
		p = a.nobody
	}
	return p, known, a.o.Uptime() < a.failed[name].till
}

// fail counts for unknown names too, so that a lock tells nothing about who exists.
func (a *Access) fail(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Uptime()
	if _, ok := a.failed[name]; !ok && len(a.failed) >= maxFailures {
		oldest, first := "", true
		for n, f := range a.failed {
			if first || f.last < a.failed[oldest].last {
				oldest, first = n, false
			}
		}
		delete(a.failed, oldest)
	}
	f := a.failed[name]
	f.n, f.last = f.n+1, now
	if over := f.n - FreeFailures; over >= 0 {
		f.till = now + min(FirstLock<<min(over, 10), LongestLock)
	}
	a.failed[name] = f
}

func (a *Access) begin(name string) (string, User) {
	raw := make([]byte, 32)
	rand.Read(raw)
	token := base64.RawURLEncoding.EncodeToString(raw)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.failed, name)
	now := a.o.Uptime()
	a.expire(now)
	if len(a.logins) >= maxLogins {
		var oldest [32]byte
		var found *login
		for k, l := range a.logins {
			if found == nil || l.used < found.used {
				oldest, found = k, l
			}
		}
		delete(a.logins, oldest)
	}
	a.logins[sha256.Sum256([]byte(token))] = &login{name, a.users[name].Hash, now, now}
	return token, a.users[name].person()
}

// expire forgets logins that are over. The caller holds mu.
func (a *Access) expire(now time.Duration) {
	for k, l := range a.logins {
		if now-l.began >= a.o.Expiry || now-l.used >= a.o.Idle {
			delete(a.logins, k)
		}
	}
}

// Logout ends a login; one that is not there is no error.
func (a *Access) Logout(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.logins, sha256.Sum256([]byte(token)))
}

// Who says who is behind r and counts as a use of its login, but for the action State: a page left
// open asks for the state for ever and must not keep its login alive.
func (a *Access) Who(r Request) User {
	if a.o.Mode == ModeNone {
		if !r.Loopback {
			return User{}
		}
		return User{Name: simName, Roles: []string{Operator, Supervisor, Auditor, Manager, Approver, Keeper}, Named: true}
	}
	if r.Token != "" {
		if u, ok := a.named(r); ok {
			return u
		}
	}
	if r.Loopback {
		return User{Name: panelName}
	}
	return User{}
}

func (a *Access) named(r Request) (User, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Uptime()
	a.expire(now)
	l := a.logins[sha256.Sum256([]byte(r.Token))]
	if l == nil {
		return User{}, false
	}
	a.refresh()
	u, ok := a.users[l.name]
	if !ok || u.Hash != l.hash {
		return User{}, false
	}
	if r.Action != State {
		l.used = now
	}
	return u.person(), true
}

func (u user) person() User {
	return User{Name: u.Name, Roles: slices.Clone(u.Roles), Named: true, Body: u.Body, Credential: u.Credential}
}

// Enter finds out who asks, decides, and makes the entry where one is due. When it returns nil the
// entry is durable and the first byte may be served. Errors are *Denied.
func (a *Access) Enter(ctx context.Context, r Request) (User, error) {
	u := a.Who(r)
	g, err := a.decide(u, r)
	if err != nil {
		a.o.Log.Warn("access denied", "who", u.Name, "action", r.Action, "session", r.Session, "why", err.(*Denied).Code)
		return u, err
	}
	if !slices.Contains(onRecord, r.Action) {
		return u, nil
	}
	if err := a.enter(ctx, u, r, g); err != nil {
		a.o.Log.Error("access entry failed", "who", u.Name, "action", r.Action, "session", r.Session, "err", err)
		return u, errEntry.with(err)
	}
	return u, nil
}

// enter makes the entry, or finds that this look has one; then it waits until that one is durable.
func (a *Access) enter(ctx context.Context, u User, r Request, g *report.Grant) error {
	record := func() error {
		l := report.Look{Who: u.Name, Roles: u.Roles, Action: r.Action, Session: r.Session, Body: cmp.Or(r.Body, a.o.Body), Case: r.Case,
			Channel: r.Channel, Segment: r.Segment, Remote: r.Remote.String()}
		if g != nil {
			l.Grant, l.Purpose, l.Rule, l.By, l.For = g.ID, g.Purpose, g.Rule, g.By, g.For
		}
		ref, err := a.write(l)
		if err != nil {
			return err
		}
		return a.o.Record(ctx, Entry{Who: u.Name, Roles: u.Roles, Action: r.Action, Session: r.Session,
			Running: r.Running, Channel: r.Channel, Segment: r.Segment, Remote: r.Remote.String(), Grant: g, Body: l.Body, Case: l.Case, Ref: ref})
	}
	if r.Action != View && r.Action != Play && r.Action != Watch { // a copy taken twice is two copies
		return record()
	}
	k := look{u.Name, r.Action, r.Session, r.Channel, sha256.Sum256([]byte(r.Token + "\n" + r.Remote.String())), r.Segment, ""}
	if g != nil {
		k.grant = g.ID // another purpose is another look
	}
	for {
		e, mine := a.look(k)
		if mine {
			e.err = record()
			if e.err != nil {
				a.forget(k, e)
			}
			close(e.done)
			return e.err
		}
		select {
		case <-e.done:
			if e.err == nil {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *Access) look(k look) (e *entry, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Uptime()
	again := a.o.Again
	if k.action == Watch {
		again = WatchAgain
	}
	if e = a.looks[k]; e != nil && now-e.last < again {
		e.last = now
		return e, false
	}
	if len(a.looks) >= maxLooks {
		clear(a.looks) // costs at most an entry too many for each look
	}
	e = &entry{done: make(chan struct{}), last: now}
	a.looks[k] = e
	return e, true
}

func (a *Access) forget(k look, e *entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.looks[k] == e {
		delete(a.looks, k)
	}
}
