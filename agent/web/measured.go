package web

import (
	"net/http"
	"slices"

	"minglu/agent/report"
)

// Counts says how many items of the standard a room meets. An item counts once, by the worst of its
// channels or disks; items of severity "info" are not counted.
type Counts struct {
	Pass    int `json:"pass"`
	Fail    int `json:"fail"`
	Unknown int `json:"unknown"`
}

// Meets keeps what a law, standard or body asks for apart from numbers of our own.
type Meets struct {
	Rules    Counts `json:"rules"`
	Defaults Counts `json:"defaults"`
}

var errNotMeasured = &Error{http.StatusServiceUnavailable, "not-measured", "本机尚未进行检测。请稍后再试，或请设备管理员查看日志。",
	"Nothing is measured here yet. Try again shortly, or let the equipment manager look at the log."}

// health answers with the newest measurements, as the office gets them.
func (s *Server) health(w http.ResponseWriter, _ *http.Request, _ User) error {
	if s.o.Health == nil {
		return errNotMeasured
	}
	h := s.o.Health()
	h.Measurements = some(h.Measurements)
	return writeJSON(w, http.StatusOK, h)
}

// judged is one verdict as the office gets it, with what to do.
type judged struct {
	report.Item
	Do report.Text `json:"do"`
}

type compliance struct {
	report.Compliance
	Items []judged `json:"items"` // instead of those of Compliance
}

// compliance answers with all verdicts.
func (s *Server) compliance(w http.ResponseWriter, _ *http.Request, _ User) error {
	if s.o.Compliance == nil {
		return errNotMeasured
	}
	c := compliance{s.o.Compliance(), []judged{}}
	for _, it := range c.Compliance.Items {
		c.Items = append(c.Items, judged{it, report.Advice(it.Item)})
	}
	return writeJSON(w, http.StatusOK, c)
}

// snapshot is the room with what web adds to it.
func (s *Server) snapshot() State {
	st := s.o.State().whole()
	if s.o.Compliance != nil {
		st.Meets = meets(s.o.Compliance().Items)
	}
	for i, c := range st.Channels {
		if c.Name == "" {
			st.Channels = slices.Clone(st.Channels)
			st.Channels[i].Name = c.ID
		}
	}
	st.Live, st.LiveIdle = s.o.Live != nil, s.o.WatchIdle
	return st
}

func meets(items []report.Item) *Meets {
	rank := []string{report.NotApplicable, report.Pass, report.Unknown, report.Fail}
	worst := map[string]report.Item{}
	for _, it := range items {
		if w, ok := worst[it.Item]; !ok || slices.Index(rank, it.Verdict) > slices.Index(rank, w.Verdict) {
			worst[it.Item] = it
		}
	}
	m := new(Meets)
	for _, it := range worst {
		c := &m.Rules
		if it.Basis == "default" {
			c = &m.Defaults
		}
		switch {
		case it.Severity == "info":
		case it.Verdict == report.Pass:
			c.Pass++
		case it.Verdict == report.Fail:
			c.Fail++
		case it.Verdict == report.Unknown:
			c.Unknown++
		}
	}
	return m
}
