package web

import (
	"context"
	"encoding/csv"
	"net/http"
	"strings"
	"time"

	"minglu/agent/report"
)

// Grants are the wishes to look at sessions, the answers to them, and the register of all looks. Errors are
// shown as Access.Enter's are.
type Grants interface {
	Ask(w Wish) (report.Grant, error)
	Answer(r Request, id string, give bool, until time.Time, why string) (report.Grant, error)
	End(r Request, id, why string) (report.Grant, error)
	// Handed puts the receipt for a copy on record; the digest is that of the session's manifest.
	Handed(ctx context.Context, r Request, id string, c report.Receipt) (report.Grant, error)
	Grants(u User) []report.Grant // those u may see, newest first
	// Find gives lines of the register, newest first; more says that there are others.
	Find(ctx context.Context, u User, q Query, limit int) (found []report.Look, more bool, err error)
}

// Wish has the fields of access.Wish.
type Wish struct {
	Request Request // about which session
	Do      []string
	Purpose string
	For     *report.Party
	Until   time.Time
	Whole   bool // all sessions of its case
}

// Query has the fields of access.Query.
type Query struct {
	From, Until        time.Time
	Who, Session, Body string
	Case               string
	Text               string
	Looks              bool
}

// Bounds of one answer from the register.
const (
	registerListed = 200
	registerMax    = 5000
)

type grantList struct {
	Grants []report.Grant `json:"grants"`
}

type wish struct {
	Session string        `json:"session"`
	Do      []string      `json:"do"`
	Purpose string        `json:"purpose"`
	For     *report.Party `json:"for"`
	Until   time.Time     `json:"until"`
	Whole   bool          `json:"whole"`
}

type reply struct {
	Give  bool      `json:"give"`
	Until time.Time `json:"until"`
	Why   string    `json:"why"`
}

func (s *Server) grants(w http.ResponseWriter, r *http.Request, u User) error {
	if s.o.Grants == nil {
		return ErrNotFound
	}
	return writeJSON(w, http.StatusOK, grantList{some(s.o.Grants.Grants(u))})
}

func (s *Server) ask(w http.ResponseWriter, r *http.Request, _ User) error {
	var b wish
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	if s.o.Grants == nil {
		return ErrNotFound
	}
	x, err := s.o.Store.Get(r.Context(), b.Session)
	if err != nil {
		return err
	}
	g, err := s.o.Grants.Ask(Wish{Request: about(request(r, "ask"), &x), Do: b.Do, Purpose: strings.TrimSpace(b.Purpose), For: b.For, Until: b.Until, Whole: b.Whole})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, g)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, _ User) error {
	var b reply
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.granted(w, func() (report.Grant, error) {
		return s.o.Grants.Answer(request(r, "approve"), r.PathValue("id"), b.Give, b.Until, strings.TrimSpace(b.Why))
	})
}

func (s *Server) end(w http.ResponseWriter, r *http.Request, _ User) error {
	var b reply
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.granted(w, func() (report.Grant, error) {
		return s.o.Grants.End(request(r, "ask"), r.PathValue("id"), strings.TrimSpace(b.Why))
	})
}

func (s *Server) receipt(w http.ResponseWriter, r *http.Request, _ User) error {
	var b report.Receipt
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	return s.granted(w, func() (report.Grant, error) {
		return s.o.Grants.Handed(r.Context(), request(r, "ask"), r.PathValue("id"), report.Receipt{Medium: strings.TrimSpace(b.Medium), Signed: strings.TrimSpace(b.Signed)})
	})
}

func (s *Server) granted(w http.ResponseWriter, do func() (report.Grant, error)) error {
	if s.o.Grants == nil {
		return ErrNotFound
	}
	g, err := do()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, g)
}

type registerPage struct {
	Looks []report.Look `json:"looks"`
	More  bool          `json:"more"` // there are older ones: ask with until= the last one's time
}

// register answers as JSON, or with format=csv as a table that spreadsheet programs open.
func (s *Server) register(w http.ResponseWriter, r *http.Request, u User) error {
	if s.o.Grants == nil {
		return ErrNotFound
	}
	v := r.URL.Query()
	n, err := number(r, "limit", registerListed, 1, registerMax)
	if err != nil {
		return err
	}
	q := Query{Who: v.Get("who"), Session: v.Get("session"), Case: v.Get("case"), Text: v.Get("text"), Looks: v.Get("looks") != ""}
	if q.From, err = moment(v.Get("from")); err != nil {
		return err
	}
	if q.Until, err = moment(v.Get("until")); err != nil {
		return err
	}
	if v.Get("format") == "csv" && v.Get("limit") == "" {
		n = registerMax
	}
	found, more, err := s.o.Grants.Find(r.Context(), u, q, n)
	if err != nil {
		return err
	}
	if v.Get("format") == "csv" {
		return writeRegister(w, found)
	}
	return writeJSON(w, http.StatusOK, registerPage{some(found), more})
}

func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, &Error{http.StatusBadRequest, "query", "时间有误：请用 2026-11-25T09:00:00+08:00 的格式。", "Wrong time: write it as 2026-11-25T09:00:00+08:00."}
	}
	return t, nil
}

// writeRegister begins with a byte order mark, by which spreadsheet programs know UTF-8. A cell that
// would be taken for a formula is written with an apostrophe before it.
func writeRegister(w http.ResponseWriter, found []report.Look) error {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="register.csv"`)
	if _, err := w.Write([]byte("\uFEFF")); err != nil {
		return nil // a client that left needs no answer
	}
	c := csv.NewWriter(w)
	_ = c.Write([]string{"时间 UTC", "人员", "角色", "行为", "会话", "案号", "单位代码", "事由", "依据", "批准人", "为谁复制", "身份", "证件", "介质", "签收人", "理由", "来自", "登记号"})
	for _, l := range found {
		row := []string{l.At.UTC().Format(time.RFC3339), l.Who, strings.Join(l.Roles, " "), l.Action, l.Session, l.Case, l.Body, l.Purpose, l.Rule, l.By, "", "", "", "", "", l.Why, l.Remote, l.Ref}
		if l.For != nil {
			row[10], row[11], row[12] = l.For.Name, l.For.Capacity, l.For.Document
		}
		if l.Receipt != nil {
			row[13], row[14] = l.Receipt.Medium, l.Receipt.Signed
		}
		for i, t := range row {
			if t != "" && strings.ContainsRune("=+-@\t\r", rune(t[0])) {
				row[i] = "'" + t
			}
		}
		_ = c.Write(row)
	}
	c.Flush()
	return nil
}
