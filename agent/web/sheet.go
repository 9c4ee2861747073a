package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/skip2/go-qrcode"
)

// Hearings tells which sessions are one interview or hearing.
type Hearings interface {
	// Hearing gives a session with those it continues and those that continue it, in order of time.
	Hearing(ctx context.Context, id string) ([]Session, error)
}

// sheet is what the session sheet shows: one A4 page for signatures on paper, made from the sealed manifest
// and what was amended. The parts are those of one hearing.
type sheet struct {
	page
	Main  Session
	Parts []sheetPart
	Total string // media of all parts
	Local *time.Location
}

// sheetPart is one session of the hearing.
type sheetPart struct {
	Session
	Gap    string        // from the end of the part before
	QR     template.HTML // SVG of id and digest
	Digits []string      // of the manifest's digest, in groups
	Length string
}

// sheetPage shows the session sheet. Opening it is a view, and on record as one.
func (s *Server) sheetPage(w http.ResponseWriter, r *http.Request, pages *template.Template) error {
	x, err := s.look(r, "view", "", 0)
	if err != nil {
		return err
	}
	if x.Manifest == "" {
		return &Error{http.StatusConflict, "not-sealed", "此会话尚未封存，没有会话单。请在封存后打开。", "This session is not sealed yet and has no sheet. Open it once it is."}
	}
	all := []Session{x}
	if s.o.Hearings != nil {
		if all, err = s.o.Hearings.Hearing(r.Context(), x.ID); err != nil {
			return err
		}
	}
	p := sheet{page: s.page(r, "sheet"), Main: x, Local: time.Local}
	total := time.Duration(0)
	for i, y := range all {
		if y.ID != x.ID { // each part that is shown is a look of its own
			if _, err := s.o.Access.Enter(r.Context(), about(request(r, "view"), &y)); err != nil {
				return err
			}
		}
		part := sheetPart{Session: y, Length: hms(time.Duration(y.DurationUS) * time.Microsecond)}
		total += time.Duration(y.DurationUS) * time.Microsecond
		if i > 0 {
			part.Gap = between(all[i-1].Closed, y.Opened)
		}
		if y.Manifest != "" {
			if part.QR, err = qr("minglu:1:" + y.ID + ":" + y.Manifest); err != nil {
				return err
			}
			for d := y.Manifest; d != ""; d = d[min(8, len(d)):] {
				part.Digits = append(part.Digits, d[:min(8, len(d))])
			}
		}
		p.Parts = append(p.Parts, part)
	}
	p.Total = hms(total)
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "sheet.html", p); err != nil {
		return fmt.Errorf("BUG: page sheet: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
	return nil
}

// hearing gives the sessions of one interview or hearing that the person may see in the list, in order of time.
func (s *Server) hearing(w http.ResponseWriter, r *http.Request, u User) error {
	x, err := s.o.Store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	all := []Session{x}
	if s.o.Hearings != nil {
		if all, err = s.o.Hearings.Hearing(r.Context(), x.ID); err != nil {
			return err
		}
	}
	l := list{Sessions: []Session{}}
	for _, y := range all {
		if s.o.Access.Sees(u, about(request(r, "list"), &y)) {
			l.Sessions = append(l.Sessions, y.whole())
		}
	}
	if len(l.Sessions) == 0 {
		return ErrNotFound
	}
	return writeJSON(w, http.StatusOK, l)
}

// When writes a moment as people read it, in the board's time zone.
func (s sheet) When(rfc3339 string) string {
	t, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		return "–"
	}
	return t.In(s.Local).Format("2006-01-02 15:04:05")
}

// At writes media time; it counts from the first moment kept, which is before the trigger.
func (s sheet) At(us int64) string { return hms(time.Duration(us) * time.Microsecond) }

// Officers are their names and credentials.
func (s sheet) Officers(l []Officer) string {
	var all []string
	for _, o := range l {
		all = append(all, strings.TrimSpace(o.Name+" "+o.Credential))
	}
	return strings.Join(all, s.T("；", "; "))
}

// Gaps are the losses the last verification found, of each channel.
func (s sheet) Gaps(x Session) (gaps []Span) {
	for _, p := range x.Spans {
		if p.Finding == "gap" || p.Finding == "missing" || p.Finding == "altered" || p.Finding == "re-timed" {
			gaps = append(gaps, p)
		}
	}
	return gaps
}

func between(closed, opened string) string {
	a, err := time.Parse(time.RFC3339, closed)
	b, err2 := time.Parse(time.RFC3339, opened)
	if err != nil || err2 != nil || b.Before(a) {
		return "–"
	}
	return hms(b.Sub(a))
}

func hms(d time.Duration) string {
	n := int64(d / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", n/3600, n/60%60, n%60)
}

// qr draws a QR code (ISO/IEC 18004) as SVG, error correction M.
func qr(text string) (template.HTML, error) {
	c, err := qrcode.New(text, qrcode.Medium)
	if err != nil {
		return "", fmt.Errorf("web: qr code: %w", err)
	}
	bits := c.Bitmap()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="qr" viewBox="0 0 %d %d" role="img" shape-rendering="crispEdges" aria-label="QR"><rect width="100%%" height="100%%" fill="#fff"/><path fill="#000" d="`, len(bits), len(bits))
	for y, row := range bits {
		for x, on := range row {
			if on {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x, y)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()), nil
}

// Kind says what a channel is.
func (s sheet) Kind(k string) string {
	return cmp.Or(map[string]string{"camera": s.T("摄像机", "camera"), "microphone": s.T("麦克风", "microphone")}[k], k)
}
