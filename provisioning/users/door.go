package users

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// Limits of a [Door] and a [HoldOff].
const (
	FreeFailures = 5                // failures of one key before it is held off
	FirstHold    = time.Minute      // doubles with each further failure
	LongestHold  = 15 * time.Minute // and ends here; a key quiet for as long starts anew
	LoginFor     = 12 * time.Hour   // a login ends so long after it began
	LoginIdle    = 30 * time.Minute // or so long after its last use

	maxKeys    = 4096
	maxLogins  = 1024
	maxWaiting = 16
)

// HoldOff makes guessing slow: it counts failures by key (an address, a name) and says who must wait.
// Memory is bounded: the key quiet for longest makes room. Safe for concurrent use.
type HoldOff struct {
	free int
	now  func() time.Time
	mu   sync.Mutex
	by   map[string]failures
}

type failures struct {
	n           int
	last, until time.Time
}

// NewHoldOff allows free failures of each key. now is time.Now, or a test's clock.
func NewHoldOff(free int, now func() time.Time) *HoldOff {
	return &HoldOff{free: free, now: now, by: map[string]failures{}}
}

// Held reports whether key must wait.
func (h *HoldOff) Held(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now().Before(h.by[key].until)
}

// Fail counts a failure.
func (h *HoldOff) Fail(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	f, known := h.by[key]
	if !known && len(h.by) >= maxKeys {
		h.makeRoom()
	}
	if now.Sub(f.last) > LongestHold {
		f.n = 0
	}
	f.n, f.last = f.n+1, now
	if over := f.n - h.free; over >= 0 {
		f.until = now.Add(min(FirstHold<<min(over, 10), LongestHold))
	}
	h.by[key] = f
}

func (h *HoldOff) makeRoom() {
	oldest, first := "", true
	for k, f := range h.by {
		if first || f.last.Before(h.by[oldest].last) {
			oldest, first = k, false
		}
	}
	delete(h.by, oldest)
}

// OK forgets the failures of key.
func (h *HoldOff) OK(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.by, key)
}

// Person is who is logged in. The zero Person is nobody.
type Person struct {
	Name  string
	Roles []string
}

// Is reports whether p has one of the roles.
func (p Person) Is(roles ...string) bool {
	return slices.ContainsFunc(p.Roles, func(r string) bool { return slices.Contains(roles, r) })
}

// Refused says why somebody did not get in.
type Refused string

func (r Refused) Error() string { return "users: login refused: " + string(r) }

// The refusals.
const (
	Wrong Refused = "wrong" // name or password
	Held  Refused = "held"  // too many failures: later
	Busy  Refused = "busy"  // too many logins at this moment
)

// Door lets people in by name and password and remembers them by a token. Safe for concurrent use.
// It starts no goroutine.
type Door struct {
	book    *Book
	now     func() time.Time
	names   *HoldOff
	remotes *HoldOff
	waiting chan struct{}

	mu     sync.Mutex
	logins map[[32]byte]*login
}

type login struct {
	who         Person
	hash        string // a new password ends the logins made with the old one
	began, used time.Time
}

// NewDoor opens a door for the people of book. now is time.Now, or a test's clock.
func NewDoor(book *Book, now func() time.Time) *Door {
	return &Door{book: book, now: now, names: NewHoldOff(FreeFailures, now), remotes: NewHoldOff(4*FreeFailures, now),
		waiting: make(chan struct{}, maxWaiting), logins: map[[32]byte]*login{}}
}

// Login checks name and password for somebody at address remote, and gives the token of a new login.
// It takes a tenth of a second or so. Errors are of type [Refused].
func (d *Door) Login(remote, name, text string) (token string, who Person, err error) {
	select {
	case d.waiting <- struct{}{}:
		defer func() { <-d.waiting }()
	default:
		return "", Person{}, Busy
	}
	if len(name) > 64 {
		return "", Person{}, Wrong
	}
	if d.names.Held(name) || d.remotes.Held(remote) {
		return "", Person{}, Held
	}
	roles, ok := d.book.Check(name, text)
	if !ok {
		d.names.Fail(name)
		d.remotes.Fail(remote)
		return "", Person{}, Wrong
	}
	d.names.OK(name)
	d.remotes.OK(remote)
	a, _ := d.book.find(name)
	token, now := rand.Text()+rand.Text(), d.now()
	who = Person{name, roles}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	if len(d.logins) >= maxLogins {
		d.forgetOldest()
	}
	d.logins[sha256.Sum256([]byte(token))] = &login{who, a.Hash, now, now}
	return token, who, nil
}

// Who gives the person behind a token. use counts as a use of the login; a page that only
// refreshes itself passes false and so keeps no login alive.
func (d *Door) Who(token string, use bool) (Person, bool) {
	if token == "" {
		return Person{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	d.expire(now)
	l := d.logins[sha256.Sum256([]byte(token))]
	if l == nil {
		return Person{}, false
	}
	a, ok := d.book.find(l.who.Name)
	if !ok || a.Hash != l.hash {
		return Person{}, false
	}
	if use {
		l.used = now
	}
	return Person{l.who.Name, a.Roles}, true
}

// Logout ends a login.
func (d *Door) Logout(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.logins, sha256.Sum256([]byte(token)))
}

// expire forgets logins that are over. The caller holds mu.
func (d *Door) expire(now time.Time) {
	for k, l := range d.logins {
		if now.Sub(l.began) >= LoginFor || now.Sub(l.used) >= LoginIdle {
			delete(d.logins, k)
		}
	}
}

func (d *Door) forgetOldest() {
	var oldest [32]byte
	var found *login
	for k, l := range d.logins {
		if found == nil || l.used.Before(found.used) {
			oldest, found = k, l
		}
	}
	delete(d.logins, oldest)
}
