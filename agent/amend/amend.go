// Package amend adds to sealed sessions what was learnt after the seal: facts that were missing, files bound by
// their digest, a signature that was refused.
//
// It guarantees: the manifest and the recording are never touched; an amendment that [Amender.Add] returned is
// signed, on each disk present that holds the session, and named by the device ledger; a power cut at any moment
// leaves it whole, or not there, once [Amender.Finish] has run. The order of writing:
//
//  1. attachment, certificates, signature, then the amendment itself, in a folder of the state
//  2. on each disk: attachment, certificates, amendment, signature
//  3. the ledger's `amend` line
//  4. the folder of the state is removed
//
// A cut before the end of 1 leaves nothing that counts; after it, Finish repeats 2 to 4, each step of which
// may be repeated.
//
// It does not guarantee that all copies have it: those on disks that are absent are completed by the mirror. It
// decides nothing: who may amend is access's.
package amend

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Errors to tell apart.
var (
	// ErrNotSealed: the session has no manifest yet; its facts are completed in the session itself.
	ErrNotSealed = errors.New("the session is not sealed")
	// ErrNotOurs: another device recorded the session, and only its key may amend it.
	ErrNotOurs = errors.New("the session was recorded by another device")
	// ErrNoDisk: no disk that is present holds the session.
	ErrNoDisk = errors.New("no disk that is present holds the session")
)

// Ledger is the device ledger.
type Ledger interface {
	// Amend enters the SHA-256 of amendment-N.json, in hex.
	Amend(session string, n int64, sha256 string) error
	// Amended tells what the ledger says of amendment n of a session, "" nothing.
	Amended(session string, n int64) (sha256 string, err error)
}

// Options of [New].
type Options struct {
	Folder string                     // in the state folder, for amendments under way; made when it is needed
	Files  durable.Files              // of the state folder
	Disks  func() []string            // folders of the disks present and writable
	Layer  durable.Layer              // of the disks; nil: the real one
	Device string                     // D of this device
	Key    crypto.Signer              // the device's
	Certs  func() []*x509.Certificate // of Key, the device's first
	Ledger Ledger
	Now    func() clock.Reading
	Log    *slog.Logger // nil: none
}

// Amender writes amendments, one at a time. Its methods are safe for concurrent use.
type Amender struct {
	o  Options
	mu sync.Mutex // one amendment at a time
}

// New returns an Amender. It opens nothing.
func New(o Options) (*Amender, error) {
	if o.Folder == "" || o.Disks == nil || o.Key == nil || o.Certs == nil || o.Ledger == nil || o.Now == nil {
		return nil, errors.New("amend: options: Folder, Disks, Key, Certs, Ledger and Now are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Amender{o: o}, nil
}

// Hold keeps amendments back until release is called: while a repair may write amendments of its own.
func (a *Amender) Hold() (release func()) {
	a.mu.Lock()
	return a.mu.Unlock
}

// Add amends a sealed session. file is that of an attachment, whose name, size and digest stand in data; else
// nil. It returns when the amendment is durable on a disk and in the ledger. It blocks as long as the disks and
// a repair under way take.
func (a *Amender) Add(session, kind string, data map[string]string, file []byte) (*evidence.Amendment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	am, err := a.add(session, kind, data, file)
	if err != nil {
		return nil, fmt.Errorf("amend: %s: %w", session, err)
	}
	return am, nil
}

func (a *Amender) add(session, kind string, data map[string]string, file []byte) (*evidence.Amendment, error) {
	if err := a.finish(session); err != nil { // what is under way comes first: amendments follow one another
		return nil, err
	}
	m, manifest, dir, err := a.sealed(session)
	if err != nil {
		return nil, err
	}
	n, prev, err := last(dir)
	if err != nil {
		return nil, err
	}
	certs, own, err := a.certs(dir)
	if err != nil {
		return nil, err
	}
	now := a.o.Now()
	am := evidence.Amendment{Session: m.Session, N: n + 1, Manifest: digest(manifest), Kind: kind, T: now.T.UnixMicro(), TE: -1, Data: data}
	if now.Error >= 0 {
		am.TE = now.Error.Microseconds()
	}
	if prev != nil {
		am.Prev = digest(prev)
	}
	json, p7s, err := evidence.BuildAmendment(am, certs, a.o.Key)
	if err != nil {
		return nil, err
	}
	w := work{session: session, n: am.N, json: json, p7s: p7s, file: file}
	if own {
		w.pem = evidence.MarshalCertsPEM(certs...)
	}
	if err := a.stage(w); err != nil {
		return nil, err
	}
	if err := a.publish(w); err != nil {
		return nil, err
	}
	return &am, nil
}

// sealed finds the copy of a session to amend by: the one with most amendments.
func (a *Amender) sealed(session string) (m *evidence.Manifest, manifest []byte, dir string, err error) {
	most, unsealed := int64(-1), false
	for _, d := range a.o.Disks() {
		folder := filepath.Join(d, "sessions", session)
		if _, err := os.Stat(folder); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(folder, "manifest.json.p7s")); err != nil {
			unsealed = true
			continue
		}
		some, facts, err := evidence.ReadFacts(os.DirFS(folder))
		if some == nil || err != nil {
			return nil, nil, "", fmt.Errorf("%s: %w: verify the session first", folder, err)
		}
		if facts.Amended > most {
			m, dir, most = some, folder, facts.Amended
		}
	}
	switch {
	case m == nil && unsealed:
		return nil, nil, "", ErrNotSealed
	case m == nil:
		return nil, nil, "", ErrNoDisk
	case !strings.HasPrefix(m.Origin, "minglu/"+a.o.Device+"/"):
		return nil, nil, "", ErrNotOurs
	}
	manifest, err = os.ReadFile(filepath.Join(dir, "manifest.json"))
	return m, manifest, dir, err
}

// last is the newest amendment of a copy that was read without an error; 0, nil if there is none.
func last(dir string) (n int64, b []byte, err error) {
	for {
		next, err := os.ReadFile(filepath.Join(dir, evidence.AmendmentName(n+1)))
		if errors.Is(err, fs.ErrNotExist) {
			return n, b, nil
		}
		if err != nil {
			return 0, nil, err
		}
		n, b = n+1, next
	}
}

// certs are those to sign with: the session's own while the key is the same, else those in force, which are to
// be written beside (own).
func (a *Amender) certs(dir string) (certs []*x509.Certificate, own bool, err error) {
	for _, name := range []string{"device.pem", "chain.pem"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && name == "chain.pem" {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		some, err := evidence.CertsPEM(b)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
		certs = append(certs, some...)
	}
	same, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if ok && same.Equal(a.o.Key.Public()) {
		return certs, false, nil
	}
	return a.o.Certs(), true, nil
}

func digest(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// Finish completes what a cut interrupted, and drops what had not become whole. Call it at each start before a
// repair writes to the same sessions.
func (a *Amender) Finish(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	entries, err := os.ReadDir(a.o.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		session, _, _ := strings.Cut(e.Name(), ".")
		err = errors.Join(err, a.finish(session))
	}
	if err != nil {
		return fmt.Errorf("amend: %w", err)
	}
	return nil
}

// finish completes what is under way for one session.
func (a *Amender) finish(session string) error {
	entries, err := os.ReadDir(a.o.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), session+".") {
			continue
		}
		w, err := a.staged(e.Name())
		if errors.Is(err, fs.ErrNotExist) { // never whole: nobody was told that it is there
			a.o.Log.Warn("an amendment that a cut interrupted before it was whole is dropped", "session", session)
			if err := a.drop(e.Name()); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := a.resume(w); err != nil {
			return err
		}
	}
	return nil
}

// resume publishes what is whole. If another amendment has taken its number since (a late tail), it is made anew
// with the next one.
func (a *Amender) resume(w work) error {
	err := a.publish(w)
	if !errors.Is(err, errTaken) {
		return err
	}
	am, err := evidence.ParseAmendment(w.json)
	if err != nil {
		return err
	}
	if err := a.drop(w.name()); err != nil {
		return err
	}
	_, err = a.add(am.Session, am.Kind, am.Data, w.file)
	return err
}

// errTaken means that an amendment of this number, and another, is on a disk already.
var errTaken = errors.New("another amendment has this number")

// taken tells whether another amendment has the number of w.
func (a *Amender) taken(w work) (bool, error) {
	if sum, err := a.o.Ledger.Amended(w.session, w.n); err != nil || sum != "" {
		return err == nil && sum != digest(w.json), err
	}
	for _, d := range a.o.Disks() {
		b, err := os.ReadFile(filepath.Join(d, "sessions", w.session, evidence.AmendmentName(w.n)))
		if err == nil && !bytes.Equal(b, w.json) {
			return true, nil
		}
	}
	return false, nil
}
