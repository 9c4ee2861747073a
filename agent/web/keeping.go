package web

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// Keeping is how sessions are archived, held, kept and destroyed. Errors are shown as Access.Enter's are.
type Keeping interface {
	State(ctx context.Context) (KeepingState, error)
	Hold(ctx context.Context, u User, session, caseNo, reason string) (Hold, error)
	Release(ctx context.Context, u User, id, reason string) error
	Propose(ctx context.Context, u User, sessions []string, reason string) error
	Appraise(ctx context.Context, u User, id string, give bool) error // give: approve and sign; else refuse
}

// KeepingState is all of it. Times are RFC 3339, "" unknown or never.
type KeepingState struct {
	Archive    ArchiveState  `json:"archive"`
	Sessions   []KeptSession `json:"sessions"` // newest first
	Holds      []Hold        `json:"holds"`
	Appraisals []Appraisal   `json:"appraisals"` // newest first, those that wait for a second person before
	LocalDays  int           `json:"local_days"`
	FreeBelow  int           `json:"free_below"` // percent
	MinMonths  int           `json:"min_months"`
}

// ArchiveState is how the handing over stands.
type ArchiveState struct {
	Configured bool   `json:"configured"`
	Where      string `json:"where"`
	Waiting    int    `json:"waiting"`
	Oldest     string `json:"oldest"`
	Session    string `json:"session"` // being sent
	File       string `json:"file"`
	Done       int64  `json:"done_bytes"`
	Total      int64  `json:"total_bytes"`
	Idle       string `json:"idle"`
	Problem    string `json:"problem"`
	Since      string `json:"since"`
	Next       string `json:"next"`
	Last       string `json:"last"`
}

// KeptSession is one session.
type KeptSession struct {
	ID         string `json:"id"`
	Case       string `json:"case"`
	Body       string `json:"body"` // USCC
	Closed     string `json:"closed"`
	Until      string `json:"until"`
	Do         string `json:"do"`
	Why        string `json:"why"`
	Due        bool   `json:"due"`
	ArchivedAt string `json:"archived_at"`
	Receipt    string `json:"receipt"`
	Gone       string `json:"gone"`
	Held       bool   `json:"held"`
	SizeBytes  int64  `json:"size_bytes"`
}

// Hold is a legal hold.
type Hold struct {
	ID          string `json:"id"`
	Session     string `json:"session"`
	Case        string `json:"case"`
	By          string `json:"by"`
	Reason      string `json:"reason"`
	Since       string `json:"since"`
	ReleasedBy  string `json:"released_by"`
	ReleasedAt  string `json:"released_at"`
	ReleasedWhy string `json:"released_why"`
}

// Appraisal is one list of sessions for destruction.
type Appraisal struct {
	ID       string   `json:"id"`
	By       string   `json:"by"`
	Reason   string   `json:"reason"`
	At       string   `json:"at"`
	Approved []string `json:"approved"` // by whom
	Sessions []string `json:"sessions"`
	Final    bool     `json:"final"`
}

type holdWish struct {
	Session string `json:"session"`
	Case    string `json:"case"`
	Reason  string `json:"reason"`
}

type proposal struct {
	Sessions []string `json:"sessions"`
	Reason   string   `json:"reason"`
}

type verdict struct {
	Give bool `json:"give"`
}

// keptSeen is the state without sessions of bodies that are not the person's.
func (s *Server) keptSeen(r *http.Request, u User) (KeepingState, error) {
	if s.o.Keeping == nil {
		return KeepingState{}, ErrNotFound
	}
	k, err := s.o.Keeping.State(r.Context())
	if err != nil {
		return k, err
	}
	hidden := map[string]bool{}
	k.Sessions = slices.DeleteFunc(some(k.Sessions), func(x KeptSession) bool {
		q := request(r, "list")
		q.Session, q.Body = x.ID, x.Body
		hidden[x.ID] = !s.o.Access.Sees(u, q)
		return hidden[x.ID]
	})
	k.Holds = slices.DeleteFunc(some(k.Holds), func(h Hold) bool { return hidden[h.Session] })
	k.Appraisals = slices.DeleteFunc(some(k.Appraisals), func(a Appraisal) bool {
		return slices.ContainsFunc(a.Sessions, func(id string) bool { return hidden[id] })
	})
	for i := range k.Appraisals {
		k.Appraisals[i].Approved, k.Appraisals[i].Sessions = some(k.Appraisals[i].Approved), some(k.Appraisals[i].Sessions)
	}
	if hidden[k.Archive.Session] {
		k.Archive.Session, k.Archive.File = "", ""
	}
	return k, nil
}

func (s *Server) keeping(w http.ResponseWriter, r *http.Request, u User) error {
	return s.kept(w, r, u, http.StatusOK, nil)
}

func (s *Server) kept(w http.ResponseWriter, r *http.Request, u User, status int, err error) error {
	if err != nil {
		return err
	}
	k, err := s.keptSeen(r, u)
	if err != nil {
		return err
	}
	return writeJSON(w, status, k)
}

// mine makes sure that all sessions named are among those the person may see.
func (s *Server) mine(r *http.Request, u User, ids ...string) error {
	k, err := s.keptSeen(r, u)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(k.Sessions, func(x KeptSession) bool { return x.ID == id }) {
			return ErrNotFound
		}
	}
	return nil
}

func (s *Server) hold(w http.ResponseWriter, r *http.Request, u User) error {
	var b holdWish
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	if s.o.Keeping == nil {
		return ErrNotFound
	}
	if b.Session != "" {
		if err := s.mine(r, u, b.Session); err != nil {
			return err
		}
	}
	h, err := s.o.Keeping.Hold(r.Context(), u, b.Session, strings.TrimSpace(b.Case), strings.TrimSpace(b.Reason))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, h)
}

func (s *Server) free(w http.ResponseWriter, r *http.Request, u User) error {
	var b say
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	k, err := s.keptSeen(r, u)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(k.Holds, func(h Hold) bool { return h.ID == r.PathValue("id") }) {
		return ErrNotFound
	}
	return s.kept(w, r, u, http.StatusOK, s.o.Keeping.Release(r.Context(), u, r.PathValue("id"), strings.TrimSpace(b.Reason)))
}

func (s *Server) propose(w http.ResponseWriter, r *http.Request, u User) error {
	var b proposal
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	if err := s.mine(r, u, b.Sessions...); err != nil {
		return err
	}
	return s.kept(w, r, u, http.StatusCreated, s.o.Keeping.Propose(r.Context(), u, b.Sessions, strings.TrimSpace(b.Reason)))
}

func (s *Server) appraise(w http.ResponseWriter, r *http.Request, u User) error {
	var b verdict
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	k, err := s.keptSeen(r, u)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(k.Appraisals, func(a Appraisal) bool { return a.ID == r.PathValue("id") }) {
		return ErrNotFound
	}
	return s.kept(w, r, u, http.StatusOK, s.o.Keeping.Appraise(r.Context(), u, r.PathValue("id"), b.Give))
}
