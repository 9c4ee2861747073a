package witness

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"minglu/agent/evidence"
)

// maxBody bounds a request: old, 63 hashes, a note.
const maxBody = 16 << 10

// Handler serves POST /add-checkpoint of C2SP tlog-witness, and GET /vkey, which tells the public key.
// Nobody needs to log in: a checkpoint is believed by its signature alone. Refused requests of one
// address are not slowed down here; put a limit before it where strangers can reach it.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.serveAdd)
	mux.HandleFunc("GET /vkey", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(rw, w.VKey())
	})
	return mux
}

func (w *Witness) serveAdd(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		http.Error(rw, "the request is too long or was cut off", http.StatusBadRequest)
		return
	}
	req, err := ParseRequest(string(body))
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	line, err := w.Add(req)
	var no *Refusal
	switch {
	case err == nil:
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(rw, line)
	case errors.As(err, &no) && no.Status == http.StatusConflict:
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintln(rw, no.Size)
	case errors.As(err, &no):
		http.Error(rw, no.Reason, no.Status)
	case errors.Is(err, ErrFrozen):
		http.Error(rw, ErrFrozen.Error(), http.StatusServiceUnavailable)
	default:
		w.o.Log.Error("witness", "err", err)
		http.Error(rw, "the witness cannot write its state now: try again later", http.StatusServiceUnavailable)
	}
}

// ParseRequest reads the body of add-checkpoint.
func ParseRequest(body string) (r Request, err error) {
	head, text, two := strings.Cut(body, "\n\n")
	lines := strings.Split(head, "\n")
	old, ok := strings.CutPrefix(lines[0], "old ")
	if !two || !ok {
		return r, errors.New("the request does not begin with “old SIZE”, proof lines and an empty line")
	}
	if r.Old, err = parseSize(old); err != nil {
		return r, err
	}
	if len(lines)-1 > maxProof {
		return r, fmt.Errorf("more than %d proof lines", maxProof)
	}
	for _, l := range lines[1:] {
		h, err := evidence.ParseHash(l)
		if err != nil {
			return r, err
		}
		r.Proof = append(r.Proof, h)
	}
	r.Note = text
	return r, nil
}

// Body is the request as add-checkpoint wants it.
func (r Request) Body() string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", r.Old)
	for _, h := range r.Proof {
		b.WriteString(h.String() + "\n")
	}
	return b.String() + "\n" + r.Note
}
