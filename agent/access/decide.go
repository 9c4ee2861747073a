package access

import "slices"

const (
	panelName = "panel"
	simName   = "sim"
)

// may is the whole of who may do what; rights of several roles add up.
var may = map[string][]string{
	Operator:   {State, Operate, Watch, List, View, Play, Verify, Download, Export},
	Supervisor: {State, Watch, List, View, Play, Verify},
	Auditor:    {State, Watch, List, View, Play, Verify, Download, Export},
	Manager:    {State, List, Verify},
}

// onRecord are the actions that touch a recording or look into the room: an entry comes first.
var onRecord = []string{Watch, View, Play, Verify, Download, Export}

// content are the actions that show or give away what was said.
var content = []string{Watch, Play, Download, Export}

// Decide says whether u may do r, and if not why: nil or a *Denied. It asks no clock, no file and no
// record, and changes nothing.
//
// The panel on loopback runs the session without a login, whoever is logged in there: an officer must
// be able to end a recording while an auditor's login is open. Everything about past sessions, and
// live pictures, need a name. The flags "secret" and "minor" leave the content to auditors.
func (a *Access) Decide(u User, r Request) error {
	if a.o.Mode == ModeNone && !r.Loopback {
		return &Denied{Status: 403, Code: "loopback-only",
			Zh: "本机未设登录（模拟），只能在本机上打开。请在本机浏览器访问，或将 web.auth 设为 login。",
			En: "This simulated room has no login and opens on its own machine only. Use a browser there, or set web.auth to login."}
	}
	panel := r.Loopback && (r.Action == State || r.Action == Operate)
	switch {
	case panel:
		return nil
	case u.Name == "" || !u.Named:
		return &Denied{Status: 401, Code: "login-needed",
			Zh: "请先登录。观看实时画面和查看、播放、核验、下载、导出都要记名。",
			En: "Log in first. Watching live, looking at, playing, verifying, downloading and exporting recordings go on record with a name."}
	case !slices.ContainsFunc(u.Roles, func(role string) bool { return slices.Contains(may[role], r.Action) }):
		return &Denied{Status: 403, Code: "role",
			Zh: "您的角色无此权限。请由有权限的人登录，或请管理员调整角色。",
			En: "Your role does not allow this. Let somebody log in whose role does, or have your roles changed on the board."}
	case slices.Contains(content, r.Action) && !slices.Contains(u.Roles, Auditor) && a.o.Mode != ModeNone &&
		(slices.Contains(r.Flags, "secret") || slices.Contains(r.Flags, "minor")):
		return &Denied{Status: 403, Code: "flagged",
			Zh: "此会话标为涉密或涉未成年人，仅审计人员可调阅。请向审计人员申请。",
			En: "This session is marked secret or with a minor: only an auditor may look. Ask an auditor."}
	}
	return nil
}
