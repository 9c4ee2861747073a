package access

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const secret = "correct horse 电池"

// room is an Access with a clock that the test moves.
type room struct {
	*Access
	now     time.Duration
	entries []Entry
	fails   error
	file    string
}

func newRoom(t *testing.T, mode string) *room {
	t.Helper()
	r := &room{now: time.Hour, file: filepath.Join(t.TempDir(), "users.json")}
	for name, role := range map[string]string{"王某": Operator, "du": Supervisor, "shen": Auditor, "she": Manager} {
		if err := Add(r.file, name, secret, role); err != nil {
			t.Fatal(err)
		}
	}
	a, err := Open(Options{File: r.file, Mode: mode, Board: "sim", Uptime: func() time.Duration { return r.now },
		Record: func(_ context.Context, e Entry) error {
			if r.fails == nil {
				r.entries = append(r.entries, e)
			}
			return r.fails
		}})
	if err != nil {
		t.Fatal(err)
	}
	r.Access = a
	return r
}

func (r *room) login(t *testing.T, name string) string {
	t.Helper()
	token, u, err := r.Login(t.Context(), name, secret)
	if err != nil || u.Name != name || !u.Named || len(token) != 43 {
		t.Fatalf("Login(%q) = %q, %+v, %v; want a token of 256 bits", name, token, u, err)
	}
	return token
}

func code(err error) string {
	var d *Denied
	if errors.As(err, &d) {
		if d.Zh == "" || d.En == "" || d.Status < 400 {
			return "incomplete " + d.Code
		}
		return d.Code
	}
	if err != nil {
		return "not a Denied: " + err.Error()
	}
	return ""
}

func TestDecide(t *testing.T) {
	panel, nobody := User{Name: "panel"}, User{}
	named := func(roles ...string) User { return User{Name: "x", Roles: roles, Named: true} }
	all := []string{State, Operate, Watch, List, View, Play, Verify, Download, Export, "destroy"}
	for _, tt := range []struct {
		rule     string
		mode     string
		u        User
		loopback bool
		flags    []string
		want     string // the allowed actions
		why      string // the code of each other
	}{
		{"the panel operates without a login and sees nothing past", ModeLogin, panel, true, nil, "state operate", "login-needed"},
		{"from elsewhere nobody may do anything", ModeLogin, nobody, false, nil, "", "login-needed"},
		{"a name that did not log in is nobody", ModeLogin, User{Name: "x", Roles: []string{Auditor}}, false, nil, "", "login-needed"},
		{"an operator runs the room and takes copies", ModeLogin, named(Operator), false, nil, "state operate watch list view play verify download export", "role"},
		{"a supervisor looks and takes nothing", ModeLogin, named(Supervisor), false, nil, "state watch list view play verify", "role"},
		{"an auditor sees all and operates nothing", ModeLogin, named(Auditor), false, nil, "state watch list view play verify download export", "role"},
		{"but may end a recording at the panel like everybody", ModeLogin, named(Auditor), true, nil, "state operate watch list view play verify download export", "role"},
		{"who keeps the equipment does not see content", ModeLogin, named(Manager), false, nil, "state list verify", "role"},
		{"rights of two roles add up", ModeLogin, named(Manager, Supervisor), false, nil, "state watch list view play verify", "role"},
		{"an unknown role may nothing", ModeLogin, named("admin"), false, nil, "", "role"},
		{"no role may nothing", ModeLogin, named(), false, nil, "", "role"},
		{"secret content is for auditors", ModeLogin, named(Operator), false, []string{"drill", "secret"}, "state operate list view verify", "flagged"},
		{"a minor's too, at the panel as well", ModeLogin, named(Supervisor), true, []string{"minor"}, "state operate list view verify", "flagged"},
		{"who do see it", ModeLogin, named(Auditor), false, []string{"minor", "secret"}, "state watch list view play verify download export", "role"},
		{"a drill is no secret", ModeLogin, named(Supervisor), false, []string{"drill"}, "state watch list view play verify", "role"},
		{"without logins all is open on loopback", ModeNone, named(Operator, Supervisor, Auditor, Manager), true, []string{"secret"}, "state operate watch list view play verify download export", "role"},
		{"and nothing elsewhere", ModeNone, named(Operator), false, nil, "", "loopback-only"},
	} {
		a := &Access{o: Options{Mode: tt.mode}}
		for _, action := range all {
			got := code(a.Decide(tt.u, Request{Loopback: tt.loopback, Action: action, Flags: tt.flags}))
			want := tt.why
			if slices.Contains(strings.Fields(tt.want), action) {
				want = ""
			} else if tt.why == "flagged" && (action == "destroy" || action == Download && tt.u.Roles[0] == Supervisor || action == Export && tt.u.Roles[0] == Supervisor) {
				want = "role"
			}
			if got != want {
				t.Errorf("%s: %s: refused with %q, want %q", tt.rule, action, got, want)
			}
		}
	}
}

func TestLogin(t *testing.T) {
	r := newRoom(t, ModeLogin)
	for _, tt := range []struct {
		rule, name, password, want string
	}{
		{"the right password", "王某", secret, ""},
		{"a wrong one", "王某", secret + "!", "login-wrong"},
		{"an empty one", "王某", "", "login-wrong"},
		{"an unknown name is no other answer", "li", secret, "login-wrong"},
		{"somebody else's capitals", "DU", secret, "login-wrong"},
		{"the panel has no password", "panel", "", "login-wrong"},
		{"a giant password is not hashed", "du", strings.Repeat("x", 1<<20), "login-wrong"},
	} {
		_, _, err := r.Login(t.Context(), tt.name, tt.password)
		if got := code(err); got != tt.want {
			t.Errorf("%s: Login(%q) refused with %q, want %q", tt.rule, tt.name, got, tt.want)
		}
	}
}

func TestLockOut(t *testing.T) {
	for _, name := range []string{"du", "unknown"} {
		r := newRoom(t, ModeLogin)
		wrong := func() string {
			_, _, err := r.Login(t.Context(), name, "wrong password")
			return code(err)
		}
		for n := range 5 {
			if got := wrong(); got != "login-wrong" {
				t.Fatalf("%s: failure %d: %q", name, n+1, got)
			}
		}
		if got := wrong(); got != "login-locked" {
			t.Errorf("%s: after 5 failures: %q, want a lock", name, got)
		}
		r.now += time.Minute - 1
		if _, _, err := r.Login(t.Context(), name, secret); code(err) != "login-locked" {
			t.Errorf("%s: the right password opens a lock: %v", name, err)
		}
		r.now++
		if got := wrong(); got != "login-wrong" {
			t.Errorf("%s: after a minute: %q, want another try", name, got)
		}
		r.now += 2*time.Minute - 1
		if got := wrong(); got != "login-locked" {
			t.Errorf("%s: the second lock is not twice as long: %q", name, got)
		}
		for range 20 { // far beyond the longest lock's doubling
			r.now += 15 * time.Minute
			if got := wrong(); got != "login-wrong" {
				t.Fatalf("%s: a lock lasts longer than 15 minutes: %q", name, got)
			}
		}
		if _, _, err := r.Login(t.Context(), "shen", secret); err != nil {
			t.Errorf("one name's lock hits another: %v", err)
		}
		if name == "du" {
			r.now += 15 * time.Minute
			r.login(t, "du")
			if got := wrong(); got != "login-wrong" {
				t.Errorf("failures are not forgotten at a login: %q", got)
			}
		}
	}
}

func TestFailuresAreBounded(t *testing.T) {
	r := newRoom(t, ModeLogin)
	for i := range maxFailures + 50 {
		r.now++
		r.fail(strings.Repeat("x", i%60) + string(rune('a'+i%26)) + strings.Repeat("y", i/60))
	}
	if len(r.failed) > maxFailures {
		t.Errorf("%d names with failures kept, want at most %d", len(r.failed), maxFailures)
	}
}

func TestLoginEnds(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		do    func(r *room, token string)
		alive bool
	}{
		{"a login used lives", func(r *room, token string) { r.now += 30*time.Minute - 1 }, true},
		{"30 minutes without use end it", func(r *room, token string) { r.now += 30 * time.Minute }, false},
		{"watching the state is no use", func(r *room, token string) {
			for range 30 {
				r.now += time.Minute
				r.Who(Request{Token: token, Action: State})
			}
		}, false},
		{"11 hours of use are fine", func(r *room, token string) {
			for range 11 * 60 {
				r.now += time.Minute
				r.Who(Request{Token: token, Action: List})
			}
		}, true},
		{"12 hours end it, used or not", func(r *room, token string) {
			for range 12 * 60 {
				r.now += time.Minute
				r.Who(Request{Token: token, Action: List})
			}
		}, false},
		{"logging out ends it", func(r *room, token string) { r.Logout(token) }, false},
		{"logging out somebody else does not", func(r *room, token string) { r.Logout("x") }, true},
		{"a new password ends it", func(r *room, token string) { _ = Add(r.file, "du", "another password"); r.now += 3 * time.Second }, false},
		{"a damaged user file lets those in go on", func(r *room, token string) { _ = os.WriteFile(r.file, []byte("{"), 0o600); r.now += 3 * time.Second }, true},
	} {
		r := newRoom(t, ModeLogin)
		token := r.login(t, "du")
		tt.do(r, token)
		if u := r.Who(Request{Token: token, Action: List}); u.Named != tt.alive {
			t.Errorf("%s: Who = %+v, want alive %v", tt.rule, u, tt.alive)
		}
		if u := r.Who(Request{Token: token[1:] + "x", Action: List}); u.Named {
			t.Errorf("%s: a forged token is %+v", tt.rule, u)
		}
	}
}

func TestLoginsAreBounded(t *testing.T) {
	r := newRoom(t, ModeLogin)
	first, _ := r.begin("du")
	for range maxLogins {
		r.now++
		r.begin("du")
	}
	if len(r.logins) != maxLogins || r.Who(Request{Token: first}).Named {
		t.Errorf("%d logins kept, want %d without the oldest", len(r.logins), maxLogins)
	}
}

func TestEnter(t *testing.T) {
	remote := netip.MustParseAddr("192.0.2.7")
	r := newRoom(t, ModeLogin)
	token := r.login(t, "shen")
	enter := func(q Request) string {
		q.Remote = remote
		_, err := r.Enter(t.Context(), q)
		return code(err)
	}
	play := Request{Token: token, Action: Play, Session: "S1", Channel: "face", Segment: 2, Running: true}
	for _, tt := range []struct {
		rule    string
		q       Request
		wait    time.Duration
		fails   error
		want    string
		entries int // new
	}{
		{"no entry for the state", Request{Token: token, Action: State}, 0, nil, "", 0},
		{"nor for the list", Request{Token: token, Action: List}, 0, nil, "", 0},
		{"no look when the entry fails", play, 0, errors.New("disk full"), "entry-failed", 0},
		{"a playback is an entry", play, 0, nil, "", 1},
		{"its next ranges are the same look", play, 14 * time.Minute, nil, "", 0},
		{"and keep it one", play, 14 * time.Minute, nil, "", 0},
		{"a quarter of an hour later it is another", play, 15 * time.Minute, nil, "", 1},
		{"another segment is another", Request{Token: token, Action: Play, Session: "S1", Channel: "face", Segment: 3}, 0, nil, "", 1},
		{"another session too", Request{Token: token, Action: Play, Session: "S2", Channel: "face", Segment: 3}, 0, nil, "", 1},
		{"a view is an entry", Request{Token: token, Action: View, Session: "S1"}, 0, nil, "", 1},
		{"each download is one", Request{Token: token, Action: Download, Session: "S1"}, 0, nil, "", 1},
		{"also at once again", Request{Token: token, Action: Download, Session: "S1"}, 0, nil, "", 1},
		{"a live view is an entry", Request{Token: token, Action: Watch, Session: "S1", Channel: "face", Running: true}, 0, nil, "", 1},
		{"one that comes back over a bad network is the same", Request{Token: token, Action: Watch, Session: "S1", Channel: "face", Running: true}, 29 * time.Second, nil, "", 0},
		{"half a minute later it is another", Request{Token: token, Action: Watch, Session: "S1", Channel: "face", Running: true}, 30 * time.Second, nil, "", 1},
		{"another channel is another view", Request{Token: token, Action: Watch, Session: "S1", Channel: "room", Running: true}, 0, nil, "", 1},
		{"also of an idle room", Request{Token: token, Action: Watch, Channel: "face"}, 0, nil, "", 1},
		{"no live view when the entry fails", Request{Token: token, Action: Watch, Session: "S1"}, 0, errors.New("disk full"), "entry-failed", 0},
		{"each verification is one", Request{Token: token, Action: Verify, Session: "S1"}, 0, nil, "", 1},
		{"each export is one", Request{Token: token, Action: Export, Session: "S1"}, 0, nil, "", 1},
		{"what is refused is no entry", Request{Action: Play, Session: "S1"}, 0, nil, "login-needed", 0},
		{"nor is what a role forbids", Request{Token: token, Action: Operate}, 0, nil, "role", 0},
	} {
		r.now, r.fails = r.now+tt.wait, tt.fails
		r.login(t, "du") // time passes, but nobody's login may idle out in this table
		for _, l := range r.logins {
			l.began, l.used = r.now, r.now
		}
		before := len(r.entries)
		if got := enter(tt.q); got != tt.want {
			t.Errorf("%s: refused with %q, want %q", tt.rule, got, tt.want)
		}
		if got := len(r.entries) - before; got != tt.entries {
			t.Errorf("%s: %d entries, want %d", tt.rule, got, tt.entries)
		}
	}
	want := Entry{Who: "shen", Roles: []string{Auditor}, Action: Play, Session: "S1", Running: true, Channel: "face", Segment: 2, Remote: "192.0.2.7"}
	if got := r.entries[0]; got.Who != want.Who || got.Action != want.Action || got.Session != want.Session || !got.Running ||
		got.Channel != want.Channel || got.Segment != want.Segment || got.Remote != want.Remote || !slices.Equal(got.Roles, want.Roles) {
		t.Errorf("entry %+v, want %+v", got, want)
	}
}

// Two requests of one look at once: neither may be served before the one entry is durable.
func TestEnterWaitsForTheEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), 0
		fail := errors.New("disk full")
		a, err := Open(Options{Mode: ModeNone, Board: "sim", Uptime: func() time.Duration { return 0 },
			Record: func(ctx context.Context, e Entry) error {
				<-release
				calls++
				if calls == 1 {
					return fail
				}
				return nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []string
		for range 3 {
			go func() {
				_, err := a.Enter(t.Context(), Request{Loopback: true, Action: Play, Session: "S"})
				mu.Lock()
				defer mu.Unlock()
				got = append(got, code(err))
			}()
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("served before the entry: %q", got)
		}
		release <- struct{}{}
		synctest.Wait()
		release <- struct{}{}
		synctest.Wait()
		slices.Sort(got)
		if !slices.Equal(got, []string{"", "", "entry-failed"}) || calls != 2 {
			t.Errorf("outcomes %q after %d entries; want one failure, then one entry for the others", got, calls)
		}
	})
}

func TestModeNone(t *testing.T) {
	r := newRoom(t, ModeNone)
	if u := r.Who(Request{Loopback: true}); u.Name != "sim" || !u.Named {
		t.Errorf("on loopback = %+v, want the named user sim", u)
	}
	if u := r.Who(Request{}); u.Name != "" {
		t.Errorf("from elsewhere = %+v, want nobody", u)
	}
	if _, _, err := r.Login(t.Context(), "du", secret); code(err) != "login-none" {
		t.Errorf("Login without logins: %v", err)
	}
	if _, err := Open(Options{Mode: ModeNone, Board: "raspberrypi-4"}); err == nil || !strings.Contains(err.Error(), "board sim only") {
		t.Errorf("ModeNone on a real board: %v, want a refusal", err)
	}
}

func TestTooManyLoginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, ModeLogin)
		r.turn <- struct{}{} // somebody's password is being hashed
		ctx, cancel := context.WithCancel(t.Context())
		for range maxWaiting {
			go func() { _, _, _ = r.Login(ctx, "du", secret) }()
		}
		synctest.Wait()
		if _, _, err := r.Login(t.Context(), "du", secret); code(err) != "login-busy" {
			t.Errorf("the caller beyond the queue: %v, want login-busy", err)
		}
		cancel()
		synctest.Wait()
		<-r.turn
		r.login(t, "du")
	})
}
