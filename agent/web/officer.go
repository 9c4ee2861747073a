package web

import (
	"errors"
	"net/http"
	"slices"
	"time"
)

// Choices are what officers pick from by touch. Lists are never null.
type Choices struct {
	Lists     string        `json:"lists"` // when the office put them together, RFC 3339 UTC; "" there are none
	Body      string        `json:"body"`  // USCC of the body the rest is for
	Bodies    []Body        `json:"bodies"`
	Officers  []Choice      `json:"officers"` // whose credentials are good today
	Matters   []MatterPick  `json:"matters"`
	Bookings  []BookingPick `json:"bookings"`  // of today, the one that runs now first
	Adjourned []Adjourned   `json:"adjourned"` // hearings that can be continued, newest first
}

// Choice is an officer.
type Choice struct {
	Officer
	Operator bool `json:"operator"` // may operate the recorder while others ask
}

// MatterPick is a matter of the list.
type MatterPick struct {
	ID      string   `json:"id"`
	Version string   `json:"version"`
	Name    string   `json:"name"`
	Kind    string   `json:"kind"` // "interview", "hearing"
	Starts  string   `json:"starts"`
	Ends    string   `json:"ends"`
	Agenda  []string `json:"agenda"`
}

// BookingPick is a booking with its facts.
type BookingPick struct {
	ID       string    `json:"id"`
	Body     string    `json:"body"` // USCC
	Case     string    `json:"case"`
	Matter   Matter    `json:"matter"`
	Officers []Officer `json:"officers"`
	From     string    `json:"begins"` // RFC 3339, UTC
	To       string    `json:"until"`
	Now      bool      `json:"now"` // it runs, or begins within 30 minutes
	Note     string    `json:"note"`
}

// Adjourned is a hearing that was adjourned and not continued since.
type Adjourned struct {
	Session string `json:"session"` // its last session
	Opened  string `json:"opened"`
	Case    string `json:"case"` // "" to who is not named
	Matter  string `json:"matter"`
}

// starting is the body of POST session.
type starting struct {
	Details
	Continues string `json:"continues"` // the last session of the adjourned hearing that this one continues
}

func (b *starting) valid() error { return errors.Join(b.Details.valid(), validText(b.Continues)) }

// NotRecorded is something that was lawfully not recorded. ID, At and Who are the device's.
type NotRecorded struct {
	ID       string    `json:"id"`
	At       string    `json:"at"` // entered, RFC 3339 UTC
	Who      string    `json:"who"`
	Login    string    `json:"login"` // by whose login it was entered, "panel" without one
	Why      string    `json:"why"`   // "secret", "urgent", "objective", "other"
	Reason   string    `json:"reason"`
	Case     string    `json:"case"`
	Matter   string    `json:"matter"`
	Officers []Officer `json:"officers"`
	Body     *Body     `json:"body,omitempty"` // nil: the default body
	From     string    `json:"begins"`         // as said, RFC 3339; "" not said
	To       string    `json:"until"`
}

// reasons why something may lawfully not be recorded.
var reasons = []string{"secret", "urgent", "objective", "other"}

func (n *NotRecorded) valid() error {
	d := Details{Case: n.Case, Matter: Matter{Name: n.Matter}, Officers: n.Officers, Body: n.Body}
	if !slices.Contains(reasons, n.Why) {
		return errors.New("why is one of secret, urgent, objective, other")
	}
	if n.Reason == "" || n.Who == "" {
		return errors.New("a reason in words and the name of who gives it are needed")
	}
	for _, t := range []string{n.From, n.To} {
		if _, err := time.Parse(time.RFC3339, t); t != "" && err != nil {
			return errors.New("a time is not RFC 3339")
		}
	}
	return errors.Join(d.valid(), validText(n.Reason), validText(n.Who))
}

type yesNo struct {
	Yes bool `json:"yes"`
}

func (s *Server) reply(w http.ResponseWriter, r *http.Request, u User) error {
	var b yesNo
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.done(w, http.StatusOK, s.o.Room.Reply(r.Context(), u.Name, b.Yes))
}

func (s *Server) prompt(w http.ResponseWriter, r *http.Request, u User) error {
	var b say
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	if b.Text == "" {
		return &Error{http.StatusBadRequest, "text", "请写明提示内容。", "Say what the prompt is."}
	}
	return s.done(w, http.StatusOK, s.o.Room.Prompt(r.Context(), u.Name, b.Text))
}

func (s *Server) seen(w http.ResponseWriter, r *http.Request, u User) error {
	if err := readJSON(w, r, &struct{}{}); err != nil {
		return err
	}
	return s.done(w, http.StatusOK, s.o.Room.Seen(r.Context(), u.Name))
}

func (s *Server) choices(w http.ResponseWriter, r *http.Request, u User) error {
	body := r.URL.Query().Get("body")
	if err := validText(body); err != nil {
		return &Error{http.StatusBadRequest, "query", "参数有误：body 为统一社会信用代码。", "Wrong parameter: body is a 统一社会信用代码."}
	}
	c, err := s.o.Room.Choices(r.Context(), body, u.Named)
	if err != nil {
		return err
	}
	c.Bodies, c.Officers, c.Matters, c.Bookings, c.Adjourned = some(c.Bodies), some(c.Officers), some(c.Matters), some(c.Bookings), some(c.Adjourned)
	for i := range c.Matters {
		c.Matters[i].Agenda = some(c.Matters[i].Agenda)
	}
	for i := range c.Bookings {
		c.Bookings[i].Officers = some(c.Bookings[i].Officers)
	}
	return writeJSON(w, http.StatusOK, c)
}

type unrecorded struct {
	NotRecorded []NotRecorded `json:"not_recorded"`
}

func (s *Server) notRecordedList(w http.ResponseWriter, r *http.Request, _ User) error {
	n, err := number(r, "limit", listed, 1, listMax)
	if err != nil {
		return err
	}
	if s.o.Unrec == nil {
		return ErrNotFound
	}
	all, err := s.o.Unrec.ListNotRecorded(r.Context(), n)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].Officers = some(all[i].Officers)
	}
	return writeJSON(w, http.StatusOK, unrecorded{some(all)})
}

func (s *Server) notRecorded(w http.ResponseWriter, r *http.Request, u User) error {
	var n NotRecorded
	if err := readJSON(w, r, &n); err != nil {
		return err
	}
	if s.o.Unrec == nil {
		return ErrNotFound
	}
	if err := n.valid(); err != nil { // an empty body was not looked at
		return &Error{http.StatusBadRequest, "request", "请写明未录制的原因类别、理由和说明人。", "Say why nothing was recorded, in words, and who says so."}
	}
	n.Officers = some(n.Officers)
	n, err := s.o.Unrec.AddNotRecorded(r.Context(), u.Name, n)
	if err != nil {
		return err
	}
	n.Officers = some(n.Officers)
	return writeJSON(w, http.StatusCreated, n)
}
