// Package unrecorded keeps the records of what was lawfully not recorded: secrets, urgency, objective causes,
// each with a written reason and the person who gives it.
//
// It guarantees: a record that [Book.Add] returned is signed, durable in the state folder and named by the
// device ledger, by its digest alone; a cut leaves it whole or not there once [Book.Finish] has run. The order:
// certificates, signature, record, ledger line. Nothing is ever taken away.
//
// It does not judge whether a reason is lawful: the head of the body does, and the year's statistics show it.
package unrecorded

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Ledger is the device ledger.
type Ledger interface {
	// NotRecorded commits to a record by its id and the SHA-256 in hex.
	NotRecorded(id, sha256 string) error
	// HasNotRecorded tells whether it did.
	HasNotRecorded(id string) (bool, error)
}

// Options of [Open].
type Options struct {
	Folder string        // state/notrecorded; made when it is needed
	Files  durable.Files // of the state folder
	Key    crypto.Signer
	Certs  func() []*x509.Certificate // of Key
	Ledger Ledger
	Now    func() clock.Reading
}

// Book is all records. Its methods are safe for concurrent use.
type Book struct {
	o  Options
	mu sync.Mutex // guards all
	// all are the records, oldest first.
	all []evidence.NotRecorded
}

const maxRecord = 64 << 10 // bytes of one

// Open reads the records. One that cannot be read is an error beside those that can: the book works all the same.
func Open(o Options) (*Book, error) {
	b := &Book{o: o}
	entries, err := os.ReadDir(o.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		n, rerr := b.read(id)
		if rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		b.all = append(b.all, *n)
	}
	slices.SortFunc(b.all, func(x, y evidence.NotRecorded) int { return int(max(-1, min(1, x.T-y.T))) })
	if err != nil {
		err = fmt.Errorf("unrecorded: %w", err)
	}
	return b, err
}

func (b *Book) read(id string) (*evidence.NotRecorded, error) {
	name := filepath.Join(b.o.Folder, id+".json")
	if st, err := os.Stat(name); err != nil || st.Size() > maxRecord {
		return nil, fmt.Errorf("%s: cannot be read, or is larger than %d bytes", name, maxRecord)
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	n, err := evidence.ParseNotRecorded(raw)
	if err == nil && n.ID != id {
		err = errors.New("it is of another id")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// Add enters a record; ID, T and TE are filled in. It returns when the record is durable and in the ledger.
func (b *Book) Add(n evidence.NotRecorded) (evidence.NotRecorded, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := make([]byte, 16)
	rand.Read(id) // never fails since Go 1.24
	now := b.o.Now()
	n.ID, n.T, n.TE = hex.EncodeToString(id), now.T.UnixMicro(), -1
	if now.Error >= 0 {
		n.TE = now.Error.Microseconds()
	}
	certs := b.o.Certs()
	json, p7s, err := evidence.BuildNotRecorded(n, certs, b.o.Key)
	if err != nil {
		return n, fmt.Errorf("unrecorded: %w", err)
	}
	if err := b.write(n.ID, json, p7s, evidence.MarshalCertsPEM(certs...)); err != nil {
		return n, fmt.Errorf("unrecorded: %w", err)
	}
	b.all = append(b.all, n)
	return n, nil
}

func (b *Book) write(id string, json, p7s, pem []byte) error {
	if err := b.o.Files.MkdirAll(b.o.Folder); err != nil {
		return err
	}
	for _, f := range []struct {
		ext  string
		data []byte
	}{{".pem", pem}, {".json.p7s", p7s}, {".json", json}} { // the record last: with it, all is there
		if err := b.o.Files.Create(filepath.Join(b.o.Folder, id+f.ext), f.data); err != nil {
			return err
		}
	}
	return b.o.Ledger.NotRecorded(id, evidence.DigestFile("", json).SHA256)
}

// Finish enters into the ledger what a cut kept from it. Call it at each start.
func (b *Book) Finish() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.all {
		has, err := b.o.Ledger.HasNotRecorded(n.ID)
		if err != nil {
			return fmt.Errorf("unrecorded: %w", err)
		}
		if has {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(b.o.Folder, n.ID+".json"))
		if err == nil {
			err = b.o.Ledger.NotRecorded(n.ID, evidence.DigestFile("", raw).SHA256)
		}
		if err != nil {
			return fmt.Errorf("unrecorded: %w", err)
		}
	}
	return nil
}

// List returns at most limit records, newest first.
func (b *Book) List(limit int) []evidence.NotRecorded {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.all[max(0, len(b.all)-limit):])
	slices.Reverse(list)
	return list
}
