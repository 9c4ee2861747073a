package main

import (
	"cmp"
	"context"
	"slices"

	"minglu/agent/access"
	"minglu/agent/evidence"
	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/web"
)

// roomCommands turns requests of the pages into events of the room.
type roomCommands struct{ a *agent }

func (r roomCommands) Start(ctx context.Context, who string, d web.Details, continues string) (web.Started, error) {
	d.Matter = r.a.named(d.Matter)
	facts, err := r.a.continuing(ctx, continues, roomDetails(d))
	if err != nil {
		return web.Started{}, err
	}
	w := room.Start{By: room.ByPage, Who: who, Details: facts, Continues: continues, Limits: r.a.limitsOf(facts)}
	actions, err := r.a.loop.Ask(ctx, w)
	if err == nil {
		err = refusal(actions)
	}
	if err != nil {
		return web.Started{}, err
	}
	c := r.a.running()
	if c == nil {
		return web.Started{}, &web.Error{Status: 503, Code: "nothing", Zh: "没有可写的磁盘，系统会自动重试：请检查磁盘", En: "no disk can be written; the room keeps trying: check the disks"}
	}
	return web.Started{ID: c.id, State: string(room.Recording), Failed: c.items()}, nil
}

func (r roomCommands) ask(ctx context.Context, e room.Event) error {
	actions, err := r.a.loop.Ask(ctx, e)
	if err != nil {
		return err
	}
	return refusal(actions)
}

func (r roomCommands) Mark(ctx context.Context, who, text, kind string) error {
	return r.ask(ctx, room.Mark{Text: text, Who: who, Kind: kind})
}

func (r roomCommands) Pause(ctx context.Context, who, reason string) error {
	return r.ask(ctx, room.Pause{Reason: reason, Who: who})
}

func (r roomCommands) Resume(ctx context.Context, who string) error {
	return r.ask(ctx, room.Resume{Who: who})
}

func (r roomCommands) Stop(ctx context.Context, who, reason string) error {
	return r.ask(ctx, room.Stop{Reason: reason, Who: who})
}

func (r roomCommands) Details(ctx context.Context, who string, d web.Details) error {
	d.Matter = r.a.named(d.Matter)
	e := room.Complete{Who: who, Details: roomDetails(d)}
	if e.Details.MatterID != "" {
		e.Limits = r.a.limitsOf(e.Details)
	}
	return r.ask(ctx, e)
}

// refusal turns a Refuse among the actions into what the page shows.
func refusal(actions []room.Action) error {
	for _, a := range actions {
		r, ok := a.(room.Refuse)
		if !ok {
			continue
		}
		switch r.Code {
		case "running":
			return &web.Error{Status: 409, Code: r.Code, Zh: "正在录音录像：请先结束本次会话", En: "a session is running: end it first"}
		case "reason":
			return &web.Error{Status: 400, Code: r.Code, Zh: "暂停须说明理由", En: "a pause needs a reason"}
		case "not-paused":
			return &web.Error{Status: 409, Code: r.Code, Zh: "当前没有暂停", En: "nothing is paused"}
		case "no-question", "no-prompt":
			return &web.Error{Status: 409, Code: r.Code, Zh: "已由他人处理", En: "somebody else has answered"}
		default:
			return &web.Error{Status: 409, Code: r.Code, Zh: "当前没有录音录像", En: "nothing is being recorded"}
		}
	}
	return nil
}

func roomDetails(d web.Details) room.Details {
	r := room.Details{Case: d.Case, Matter: matterText(d.Matter), MatterID: d.Matter.ID, MatterVersion: d.Matter.Version, Booking: d.Booking, Flags: d.Flags}
	for _, o := range d.Officers {
		r.Officers = append(r.Officers, room.Officer(o))
	}
	if d.Body != nil {
		r.Body = room.Body(*d.Body)
	}
	return r
}

func webDetails(d room.Details) web.Details {
	w := web.Details{Case: d.Case, Matter: web.Matter{Name: d.Matter, ID: d.MatterID, Version: d.MatterVersion}, Booking: d.Booking, Officers: []web.Officer{}, Flags: append([]string{}, d.Flags...)}
	for _, o := range d.Officers {
		w.Officers = append(w.Officers, web.Officer(o))
	}
	if d.Body != (room.Body{}) {
		b := evidence.Body(d.Body)
		w.Body = &b
	}
	return w
}

// webAccess is the gate as web sees it: the same fields under other names.
type webAccess struct{ *access.Access }

func (w webAccess) Login(ctx context.Context, name, password string) (string, web.User, error) {
	token, u, err := w.Access.Login(ctx, name, password)
	return token, web.User(u), err
}

func (w webAccess) Who(r web.Request) web.User { return web.User(w.Access.Who(access.Request(r))) }

func (w webAccess) Enter(ctx context.Context, r web.Request) (web.User, error) {
	u, err := w.Access.Enter(ctx, access.Request(r))
	return web.User(u), err
}

func (w webAccess) Sees(u web.User, r web.Request) bool {
	return w.Access.Decide(access.User(u), access.Request(r)) == nil
}

// snapshot is the room as GET state shows it.
func (a *agent) snapshot() web.State {
	st := a.loop.State()
	now := a.clock.Now()
	w := web.State{
		State: shownState(st), Since: now.T.Add(st.Since - now.Up), Room: a.cfg.Device.Room, Device: a.cfg.Device.Name, Kind: a.cfg.Device.Kind, Body: a.body(),
		Can: can(st), Clock: clockState(now), Channels: a.channelStates(), Disks: a.diskStates(), Faults: a.shownFaults(), Lamp: string(st.Lamp),
		Board: a.board, Sim: a.sim != nil, Version: buildVersion(),
	}
	if c := a.running(); c != nil {
		w.Session = c.shown(string(st.Phase), now.Up)
		a.showAsked(w.Session, st)
	}
	a.mu.Lock()
	if f := a.supply; f != nil {
		w.Power = &web.Power{Mains: f.Mains, Charge: f.Charge, LeftMS: -1}
		if f.Left != nil {
			w.Power.LeftMS = f.Left.Milliseconds()
		}
	}
	if f := a.climate; f != nil {
		w.Climate = &web.Climate{Celsius: f.Celsius, Humidity: -1}
		if f.Humidity != nil {
			w.Climate.Humidity = *f.Humidity
		}
	}
	a.mu.Unlock()
	return w
}

// showAsked shows what the room and supervisors say to the officers.
func (a *agent) showAsked(r *web.Running, st room.State) {
	r.Agenda = a.agendaOf(r.Matter)
	r.Question, r.Scanned = string(st.Asked), st.ScanWish.Details.Case
	for _, p := range st.Prompts {
		r.Prompts = append(r.Prompts, web.Said{Text: p.Text, Who: p.Who})
	}
	at, near := st.Limit(a.loop.rules)
	r.LimitMS, r.Near = at.Milliseconds(), near
}

func shownState(st room.State) string {
	switch {
	case st.Failing && st.Session == "":
		return "fault"
	case isIdle(st) && slices.ContainsFunc(st.Faults, func(f room.Fault) bool { return f.Code == "disk.none" }):
		return "fault"
	case isIdle(st):
		return string(room.Idle)
	}
	return string(st.Phase)
}

// isIdle says that nothing is recorded, sealed or wanted.
func isIdle(st room.State) bool { return st.Phase == "" || st.Phase == room.Idle }

func can(st room.State) []string {
	switch st.Phase {
	case room.Recording:
		return []string{"mark", "pause", "stop", "details"}
	case room.Paused:
		return []string{"mark", "resume", "stop", "details"}
	}
	return []string{"start"}
}

func (a *agent) shownFaults() []web.Fault {
	rank := []report.Severity{report.Failure, report.Impairs, report.Warning}
	name := map[report.Severity]string{report.Failure: "alarm", report.Impairs: "alarm", report.Warning: "warning"}
	faults := []web.Fault{}
	order := map[string]int{}
	for f, since := range a.loop.Faults() {
		cat := report.Find(f.Code)
		order[f.Code] = slices.Index(rank, cat.Severity)
		faults = append(faults, web.Fault{Code: f.Code, Severity: name[cat.Severity], Ch: f.Ch, Since: stamp(since), Text: web.Text(a.faultText(f.Code, f.Ch)), Do: web.Text(cat.Do.In(f.Ch))})
	}
	slices.SortFunc(faults, func(x, y web.Fault) int {
		return cmp.Or(cmp.Compare(order[x.Code], order[y.Code]), cmp.Compare(x.Since, y.Since), cmp.Compare(x.Code, y.Code), cmp.Compare(x.Ch, y.Ch))
	})
	return faults
}
