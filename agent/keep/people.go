package keep

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minglu/agent/evidence"
)

// Limits of what people enter.
const (
	maxHolds  = 1000
	maxDrafts = 100
	maxText   = 200 // characters
)

// Hold is a legal hold on a session or on a case. While it is not released nothing of it is deleted.
type Hold struct {
	ID       string    `json:"id"`
	Session  string    `json:"session,omitempty"`
	Case     string    `json:"case,omitempty"` // all sessions of it, also those to come
	By       string    `json:"by"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Released *Released `json:"released,omitempty"`
}

// Released is the end of a hold.
type Released struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Errors that people can do something about.
var (
	ErrTexts   = errors.New("a name or a reason is missing or too long")
	ErrTarget  = errors.New("name one session or one case")
	ErrUnknown = errors.New("there is no such thing")
	ErrOver    = errors.New("it is over already")
	ErrFull    = errors.New("there are too many: release or finish some first")
	ErrSame    = errors.New("the second approval must be another person's")
	ErrNotDue  = errors.New("a session in the list may not go yet: it is held, kept for ever, its term is not over or not known")
)

func text(s string) bool { return strings.TrimSpace(s) != "" && len([]rune(s)) <= maxText }

func (k *Keeper) readHolds() error { return k.readJSON("holds.json", &k.holds) }

func (k *Keeper) readDrafts() error { return k.readJSON("drafts.json", &k.drafts) }

func (k *Keeper) readJSON(name string, to any) error {
	b, err := k.o.Files.ReadFile(filepath.Join(k.dir(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: holds must not be forgotten, so nothing starts: mend or restore the file", name, err)
	}
	return nil
}

func (k *Keeper) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return k.o.Files.Replace(filepath.Join(k.dir(), name), append(b, '\n'))
}

// Hold holds a session or a case from now on, durably. A hold whose id is known changes nothing. Any goroutine.
func (k *Keeper) Hold(h Hold) (Hold, error) {
	switch {
	case !text(h.By) || !text(h.Reason):
		return Hold{}, ErrTexts
	case (h.Session == "") == (h.Case == "") || h.Session != "" && !sessionID.MatchString(h.Session) || len(h.Case) > 2*maxText:
		return Hold{}, ErrTarget
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.IndexFunc(k.holds, func(o Hold) bool { return h.ID != "" && o.ID == h.ID }); i >= 0 {
		return k.holds[i], nil
	}
	if len(k.holds) >= maxHolds {
		return Hold{}, ErrFull
	}
	if h.ID = cmp.Or(h.ID, randomID()); h.Since.IsZero() {
		h.Since, _ = k.o.Now()
	}
	next := append(slices.Clone(k.holds), h)
	if err := k.writeJSON("holds.json", next); err != nil {
		return Hold{}, err
	}
	k.holds = next
	k.o.OnHold(h, false, nil)
	k.Kick()
	return h, nil
}

// Release ends a hold. A hold that is over is a success where id and reason are the same. Any goroutine.
func (k *Keeper) Release(id string, r Released) error {
	if !text(r.By) || !text(r.Reason) {
		return ErrTexts
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.holds, func(o Hold) bool { return o.ID == id })
	if i < 0 {
		return ErrUnknown
	}
	if was := k.holds[i].Released; was != nil {
		if was.By == r.By && was.Reason == r.Reason {
			return nil
		}
		return ErrOver
	}
	if r.At.IsZero() {
		r.At, _ = k.o.Now()
	}
	next := slices.Clone(k.holds)
	next[i].Released = &r
	if err := k.writeJSON("holds.json", next); err != nil {
		return err
	}
	k.holds = next
	k.o.OnHold(next[i], true, nil)
	k.Kick()
	return nil
}

// Holds returns all holds, also those that are over. Any goroutine.
func (k *Keeper) Holds() []Hold {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.holds)
}

// held returns the oldest hold on a session, nil if there is none.
func (k *Keeper) held(s Session) *Hold {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.holds {
		if h.Released == nil && (h.Session == s.ID || h.Case != "" && plain(h.Case) == plain(s.Case)) {
			return &h
		}
	}
	return nil
}

// HeldBy returns the oldest hold on a session, nil if there is none. Any goroutine.
func (k *Keeper) HeldBy(session, caseNo string) *Hold {
	return k.held(Session{ID: session, Case: caseNo})
}

// plain takes a case number as people write it.
func plain(s string) string {
	return strings.ToUpper(strings.NewReplacer("〔", "[", "〕", "]", "（", "[", "）", "]", "(", "[", ")", "]", "【", "[", "】", "]", "［", "[", "］", "]", " ", "", "\u3000", "").Replace(s))
}

// signed is an appraisal that is kept.
type signed struct {
	a     *evidence.Appraisal
	files map[string][]byte
}

func (s *signed) of(session string) *evidence.Appraised { return s.a.Of(session) }

func (k *Keeper) appraisalsDir() string {
	return filepath.Join(k.o.State, "ledger", evidence.AppraisalsFolder)
}

func (k *Keeper) readAppraisals() error {
	entries, err := k.layer().ReadDir(k.appraisalsDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		sum, is := strings.CutSuffix(e.Name(), ".json")
		if !is {
			continue
		}
		s := &signed{files: make(map[string][]byte)}
		for _, name := range []string{sum + ".json", sum + ".json.p7s", sum + ".pem"} {
			b, err := k.o.Files.ReadFile(filepath.Join(k.appraisalsDir(), name))
			if err != nil {
				s = nil // cut while it was being kept: whoever sent it sends it again
				break
			}
			s.files[name] = b
		}
		if s == nil || evidence.DigestFile("", s.files[sum+".json"]).SHA256 != sum {
			continue
		}
		if s.a, err = evidence.ParseAppraisal(s.files[sum+".json"]); err == nil {
			k.appraisals[sum] = s
		}
	}
	return nil
}

func (k *Keeper) layer() interface {
	ReadDir(string) ([]fs.DirEntry, error)
} {
	if k.o.Files.Layer != nil {
		return k.o.Files.Layer
	}
	return k.o.Layer
}

// Appraise takes a signed appraisal, if one of the appraisers signed it, and keeps it durably. It may come again.
// Any goroutine.
func (k *Keeper) Appraise(json, p7s []byte) (*evidence.Appraisal, error) {
	a, cert, err := evidence.CheckAppraisal(json, p7s, k.o.Appraisers())
	if err != nil {
		return nil, err
	}
	sum, files := evidence.AppraisalFiles(json, p7s, cert)
	for _, name := range []string{sum + ".pem", sum + ".json.p7s", sum + ".json"} { // the JSON last: it says that the others are there
		if err := k.o.Files.CreateSame(filepath.Join(k.appraisalsDir(), name), files[name]); err != nil {
			return nil, err
		}
	}
	k.mu.Lock()
	k.appraisals[sum] = &signed{a, files}
	k.mu.Unlock()
	k.Kick()
	return a, nil
}

// Appraisals returns those that are kept, newest first. Any goroutine.
func (k *Keeper) Appraisals() []evidence.Appraisal {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := []evidence.Appraisal{}
	for _, s := range k.appraisals {
		out = append(out, *s.a)
	}
	slices.SortFunc(out, func(a, b evidence.Appraisal) int { return cmp.Or(cmp.Compare(b.T, a.T), strings.Compare(a.ID, b.ID)) })
	return out
}

// appraised returns the digest of an appraisal that names a session.
func (k *Keeper) appraised(session string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, sum := range slices.Sorted(maps.Keys(k.appraisals)) {
		if k.appraisals[sum].of(session) != nil {
			return sum
		}
	}
	return ""
}

// Draft is an appraisal on its way, of a room that has no office: one person proposes and so approves, another approves.
type Draft struct{ evidence.Appraisal }

// Propose begins an appraisal of sessions that are due. manifest gives SHA-256 of a session's manifest.json and its case.
func (k *Keeper) Propose(sessions []string, reason string, by evidence.Approval, room string, manifest func(string) (sum, caseNo string, err error)) (Draft, error) {
	if !text(reason) || !text(by.Name) || by.Login == "" {
		return Draft{}, ErrTexts
	}
	due := make(map[string]Decision)
	for _, d := range k.Decisions() {
		if d.Due {
			due[d.Session] = d
		}
	}
	now, _ := k.o.Now()
	by.T = now.UnixMicro()
	d := Draft{Appraisal: evidence.Appraisal{ID: randomID(), By: room, Reason: reason, T: now.UnixMicro(), Approvals: []evidence.Approval{by}}}
	ids := slices.Clone(sessions)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		x, ok := due[id]
		if !ok {
			return Draft{}, fmt.Errorf("%w: %s", ErrNotDue, id)
		}
		sum, caseNo, err := manifest(id)
		if err != nil {
			return Draft{}, err
		}
		d.Sessions = append(d.Sessions, evidence.Appraised{Session: id, Manifest: sum, Case: caseNo, Until: x.Until})
	}
	if len(d.Sessions) == 0 || len(d.Sessions) > evidence.MaxAppraised {
		return Draft{}, ErrTarget
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.drafts) >= maxDrafts {
		return Draft{}, ErrFull
	}
	return d, k.keepDrafts(append(slices.Clone(k.drafts), d))
}

// keepDrafts is called with mu held.
func (k *Keeper) keepDrafts(next []Draft) error {
	if err := k.writeJSON("drafts.json", next); err != nil {
		return err
	}
	k.drafts = next
	return nil
}

// Drafts returns what waits for a second person. Any goroutine.
func (k *Keeper) Drafts() []Draft {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.drafts)
}

// Approve gives the second word and signs. The appraisal is kept when it returns nil. Any goroutine.
func (k *Keeper) Approve(id string, by evidence.Approval, cert *x509.Certificate, key crypto.Signer) (*evidence.Appraisal, error) {
	if !text(by.Name) || by.Login == "" {
		return nil, ErrTexts
	}
	k.mu.Lock()
	i := slices.IndexFunc(k.drafts, func(d Draft) bool { return d.ID == id })
	if i < 0 {
		k.mu.Unlock()
		return nil, ErrUnknown
	}
	d := k.drafts[i]
	k.mu.Unlock()
	now, sure := k.o.Now()
	if !sure {
		return nil, ErrNotDue
	}
	first := d.Approvals[0]
	if strings.EqualFold(first.Login, by.Login) || strings.TrimSpace(first.Name) == strings.TrimSpace(by.Name) {
		return nil, ErrSame
	}
	by.T = now.UnixMicro()
	d.Approvals, d.T = append(slices.Clone(d.Approvals), by), max(now.UnixMicro(), first.T)
	json, p7s, err := evidence.BuildAppraisal(d.Appraisal, cert, key)
	if err != nil {
		return nil, err
	}
	a, err := k.Appraise(json, p7s)
	if err != nil {
		return nil, err
	}
	return a, k.dropDraft(id)
}

// Refuse takes a draft away. Any goroutine.
func (k *Keeper) Refuse(id string) error {
	k.mu.Lock()
	known := slices.ContainsFunc(k.drafts, func(d Draft) bool { return d.ID == id })
	k.mu.Unlock()
	if !known {
		return ErrUnknown
	}
	return k.dropDraft(id)
}

func (k *Keeper) dropDraft(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keepDrafts(slices.DeleteFunc(slices.Clone(k.drafts), func(d Draft) bool { return d.ID == id }))
}

func randomID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
