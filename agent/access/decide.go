package access

import (
	"cmp"
	"slices"
	"time"

	"minglu/agent/report"
)

const (
	panelName = "panel"
	simName   = "sim"
)

// may is the whole of who may do what; rights of several roles add up.
var may = map[string][]string{
	Operator:   {State, Operate, Watch, List, View, Play, Verify, Download, Export, Copy, Amend, Ask},
	Supervisor: {State, Watch, Prompt, List, View, Play, Verify, Ask, Keep, Hold},
	Auditor:    {State, Watch, List, View, Play, Verify, Download, Export, Copy, Ask, Register, Keep, Hold, Free, Appraise},
	Manager:    {State, List, Verify, Keep},
	Approver:   {State, List, View, Verify, Ask, Approve, Register, Keep, Hold, Free, Appraise},
	Keeper:     {State, List, View, Play, Verify, Download, Export, Copy, Amend, Ask, Keep, Hold, Appraise},
	Guest:      {List, View, Play, Verify, Copy, Ask},
}

// onRecord are the actions that touch a recording or look into the room: an entry comes first.
var onRecord = []string{Watch, View, Play, Verify, Download, Export, Copy}

// content are the actions that show or give away what was said.
var content = []string{Watch, Play, Download, Export, Copy}

// away are the actions after which somebody has a copy.
var away = []string{Download, Export, Copy}

// rules are what a decision stands on beside the person and the wish.
type rules struct {
	mode     string
	body     string         // of users and sessions that name none
	approval string         // of the session's body
	grants   []report.Grant // of the person
	now      time.Time      // for their terms
}

// Decide says whether u may do r, and if not why: nil or a *Denied. It writes nothing.
//
// The panel on loopback runs the session without a login, whoever is logged in there: an officer must
// be able to end a recording while an auditor's login is open. Everything about past sessions, and
// live pictures, need a name. A session of another body is as good as not there, but for who has a grant.
// The flags "secret" and "minor" leave the content to auditors and to who has an approval.
func (a *Access) Decide(u User, r Request) error {
	_, err := a.decide(u, r)
	return err
}

func (a *Access) decide(u User, r Request) (*report.Grant, error) {
	body := cmp.Or(r.Body, a.o.Body)
	return decide(rules{mode: a.o.Mode, body: a.o.Body, approval: a.approval(body), grants: a.grantsOf(u), now: a.now()}, u, r)
}

func (a *Access) approval(body string) string {
	if a.o.Approval == nil {
		return ApprovalRoles
	}
	return cmp.Or(a.o.Approval(body), ApprovalRoles)
}

func (a *Access) now() time.Time {
	if a.o.Now == nil {
		return time.Now()
	}
	return a.o.Now()
}

// decide is the whole decision. The grant is the one that allows it, nil if none was needed.
func decide(s rules, u User, r Request) (*report.Grant, error) {
	if s.mode == ModeNone && !r.Loopback {
		return nil, errLoopback.with(nil)
	}
	if r.Loopback && (r.Action == State || r.Action == Operate) { // the panel
		return nil, nil
	}
	if u.Name == "" || !u.Named {
		return nil, errNobody.with(nil)
	}
	if !slices.ContainsFunc(u.Roles, func(role string) bool { return slices.Contains(may[role], r.Action) }) {
		return nil, errRole.with(nil)
	}
	if s.mode == ModeNone {
		return nil, nil
	}
	g, home := s.covering(r), s.home(u, r) || r.Session == ""
	approved := g != nil && g.Rule == report.RuleApproved
	if !home && !approved && !s.invited(r) {
		return nil, errElsewhere.with(nil)
	}
	if !slices.Contains(content, r.Action) || r.Action == Watch && home && !flagged(r) {
		return g, nil
	}
	auditor := slices.Contains(u.Roles, Auditor)
	switch {
	case approved:
		return g, nil
	case flagged(r) && !auditor:
		return nil, errFlagged.with(nil)
	case !home || s.approval == ApprovalRoles && onlyGuest(u) || s.approval != ApprovalRoles && !s.own(u, r):
		return nil, errApproval.with(nil)
	case s.approval != ApprovalRoles && g == nil && r.Action != Watch:
		return nil, errPurpose.with(nil)
	}
	return g, nil
}

// own reports whether a stated purpose is enough for the content of this session: to auditors always,
// to its officers for looking, unless the body wants every look approved.
func (s rules) own(u User, r Request) bool {
	if slices.Contains(u.Roles, Auditor) {
		return true
	}
	return s.approval == ApprovalOthers && !slices.Contains(away, r.Action) && !onlyGuest(u) &&
		slices.Contains(r.Officers, cmp.Or(u.Credential, u.Name))
}

// home reports whether the session belongs to the person's body. A guest belongs to none.
func (s rules) home(u User, r Request) bool {
	return !onlyGuest(u) && cmp.Or(u.Body, s.body) == cmp.Or(r.Body, s.body)
}

// invited reports whether somebody approved that the person sees anything of the session.
func (s rules) invited(r Request) bool {
	r.Action = View
	g := s.covering(r)
	return g != nil && g.Rule == report.RuleApproved
}

func onlyGuest(u User) bool {
	return !slices.ContainsFunc(u.Roles, func(role string) bool { return role != Guest })
}

func flagged(r Request) bool {
	return slices.Contains(r.Flags, "secret") || slices.Contains(r.Flags, "minor")
}

// covering is a grant that allows r now, an approved one rather than a stated purpose.
func (s rules) covering(r Request) *report.Grant {
	var best *report.Grant
	for i := range s.grants {
		if g := &s.grants[i]; covers(g, r, s.now) && (best == nil || g.Rule == report.RuleApproved) {
			best = g
		}
	}
	return best
}

var (
	errLoopback = Denied{Status: 403, Code: "loopback-only",
		Zh: "本机未设登录（模拟），只能在本机上打开。请在本机浏览器访问，或将 web.auth 设为 login。",
		En: "This simulated room has no login and opens on its own machine only. Use a browser there, or set web.auth to login."}
	errNobody = Denied{Status: 401, Code: "login-needed",
		Zh: "请先登录。观看实时画面和查看、播放、核验、下载、导出都要记名。",
		En: "Log in first. Watching live, looking at, playing, verifying, downloading and exporting recordings go on record with a name."}
	errRole = Denied{Status: 403, Code: "role",
		Zh: "您的角色无此权限。请由有权限的人登录，或请管理员调整角色。",
		En: "Your role does not allow this. Let somebody log in whose role does, or have your roles changed on the board."}
	errElsewhere = Denied{Status: 404, Code: "not-found",
		Zh: "没有此内容。请从会话列表进入。", En: "There is no such thing. Start from the list of sessions."}
	errFlagged = Denied{Status: 403, Code: "flagged",
		Zh: "此会话标为涉密或涉未成年人，须经审批方可调阅。请在“调阅”页申请。",
		En: "This session is marked secret or with a minor: only an approval opens it. Ask for one on the page Access."}
	errPurpose = Denied{Status: 403, Code: "purpose",
		Zh: "调阅须说明事由。请在“调阅”页填写事由，随即可以打开。",
		En: "A look needs a purpose. State it on the page Access; it opens at once."}
	errApproval = Denied{Status: 403, Code: "approval",
		Zh: "调阅须经审批。请在“调阅”页申请，批准后方可打开。",
		En: "This needs an approval. Ask for it on the page Access; it opens once it is given."}
)
