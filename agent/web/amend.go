package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// MaxAttachment is the largest file that may be bound to a session here, in bytes.
const MaxAttachment = 32 << 20

// attachWithin is how long sending one may take.
const attachWithin = 2 * time.Minute

// Correction completes the facts of a sealed session: what is nil or empty stays as it was.
type Correction struct {
	Case     *string   `json:"case"`
	Matter   *Matter   `json:"matter"`
	Officers []Officer `json:"officers"`
	Flags    []string  `json:"flags"` // to add; none is ever taken away
}

func (c *Correction) valid() error {
	d := Details{Officers: c.Officers, Flags: c.Flags}
	if c.Case != nil {
		d.Case = *c.Case
	}
	if c.Matter != nil {
		d.Matter = *c.Matter
	}
	if c.Case == nil && c.Matter == nil && len(c.Officers) == 0 && len(c.Flags) == 0 {
		return errors.New("nothing is said")
	}
	return d.valid()
}

type refusing struct {
	Party  string `json:"party"`
	Reason string `json:"reason"`
}

func (b *refusing) valid() error {
	if b.Party == "" || b.Reason == "" {
		return errors.New("who did not sign, and why, are needed")
	}
	return errors.Join(validText(b.Party), validText(b.Reason))
}

// amending finds a session that may be amended by who asks.
func (s *Server) amending(r *http.Request) (Session, error) {
	if s.o.Amends == nil {
		return Session{}, ErrNotFound
	}
	x, err := s.look(r, "amend", "", 0)
	if err != nil {
		return x, err
	}
	if x.State != "sealed" && x.State != "recovered" {
		return x, &Error{http.StatusConflict, "not-sealed", "此会话尚未封存；请在房间页面补充，或封存后再补正。", "This session is not sealed yet: complete it at the room's page, or once it is sealed."}
	}
	return x, nil
}

// amended answers with the session as it is now.
func (s *Server) amended(w http.ResponseWriter, r *http.Request, id string) error {
	x, err := s.o.Store.Get(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, x.whole())
}

func (s *Server) amend(w http.ResponseWriter, r *http.Request, u User) error {
	var c Correction
	if err := readJSON(w, r, &c); err != nil {
		return err
	}
	x, err := s.amending(r)
	if err == nil {
		err = s.o.Amends.Amend(r.Context(), u.Name, x.ID, c)
	}
	if err != nil {
		return err
	}
	return s.amended(w, r, x.ID)
}

func (s *Server) refused(w http.ResponseWriter, r *http.Request, u User) error {
	var b refusing
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	x, err := s.amending(r)
	if err == nil {
		err = s.o.Amends.Refuse(r.Context(), u.Name, x.ID, b.Party, b.Reason)
	}
	if err != nil {
		return err
	}
	return s.amended(w, r, x.ID)
}

var attachmentKinds = []string{"record", "evidence-list", "sheet-scan", "other"}

// attach binds the file in the body, application/octet-stream, by the name and kind in the query.
func (s *Server) attach(w http.ResponseWriter, r *http.Request, u User) error {
	name, kind := r.URL.Query().Get("name"), r.URL.Query().Get("kind")
	if r.Header.Get("Content-Type") != "application/octet-stream" {
		return &Error{http.StatusUnsupportedMediaType, "type", "请以 application/octet-stream 发送文件。", "Send the file as application/octet-stream."}
	}
	if err := validText(name); err != nil || name == "" || !slices.Contains(attachmentKinds, kind) {
		return &Error{http.StatusBadRequest, "query", "请给出文件名（name）和种类（kind）。", "Give the file's name, and its kind: record, evidence-list, sheet-scan or other."}
	}
	x, err := s.amending(r)
	if err != nil {
		return err
	}
	select { // a file is held in memory: one at a time
	case s.attaching <- struct{}{}:
		defer func() { <-s.attaching }()
	default:
		return errBusy
	}
	file, err := io.ReadAll(r.Body)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return &Error{http.StatusRequestEntityTooLarge, "size", fmt.Sprintf("文件超过 %d MB。", MaxAttachment>>20), fmt.Sprintf("The file is larger than %d MB.", MaxAttachment>>20)}
	}
	if err == nil && len(file) == 0 {
		return &Error{http.StatusBadRequest, "empty", "文件是空的。", "The file is empty."}
	}
	if err == nil {
		err = s.o.Amends.Attach(r.Context(), u.Name, x.ID, name, kind, file)
	}
	if err != nil {
		return err
	}
	return s.amended(w, r, x.ID)
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// attachment sends a bound file: taking it is a download, and goes on record as one.
func (s *Server) attachment(w http.ResponseWriter, r *http.Request, _ User) error {
	sum := r.PathValue("sha256")
	x, err := s.o.Store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(x.Attached, func(a Attached) bool { return a.SHA256 == sum })
	if i < 0 || !hexDigest.MatchString(sum) {
		return ErrNotFound
	}
	if x, err = s.look(r, "download", "", 0); err != nil {
		return err
	}
	folder, err := s.o.Store.OpenFolder(r.Context(), x.ID)
	if err != nil {
		return err
	}
	f, err := folder.Open("attachments/" + sum)
	if err != nil {
		return ErrNotFound
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream") // never shown in this page's name
	w.Header().Set("Content-Disposition", `attachment; filename="`+fileName(x.ID+"-"+x.Attached[i].Name)+`"`)
	_, err = io.Copy(w, f)
	return err
}
