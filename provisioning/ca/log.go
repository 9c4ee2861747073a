package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"minglu/agent/evidence"
)

// What a certificate is for.
const (
	KindSign   = "sign"   // signs evidence
	KindTLS    = "tls"    // client of the office
	KindSM2    = "sm2"    // signs manifests by the national suite
	KindServer = "server" // the office's own listeners
)

// Lines of the log. Times are µs since 1970.
type (
	begun struct {
		evidence.Common
		V          int64  `json:"v"` // 1
		Root       string `json:"root"`
		Issuing    string `json:"issuing"`
		SM2Root    string `json:"sm2_root"`
		SM2Issuing string `json:"sm2_issuing"` // certificates, base64 DER
	}
	issued struct {
		evidence.Common
		Kind   string `json:"kind"`
		Name   string `json:"name"`
		Device string `json:"device"`
		Serial string `json:"serial"` // hex
		Cert   string `json:"cert"`   // base64 DER
		Until  int64  `json:"until"`
		Ref    string `json:"ref"` // of the code, or the serial it renews
	}
	revoked struct {
		evidence.Common
		Serial string `json:"serial"`
		Reason string `json:"reason"`
		Code   int64  `json:"code"` // RFC 5280 5.3.1
	}
	listed struct {
		evidence.Common
		Kind   string `json:"kind"` // "p256", "sm2"
		Number int64  `json:"number"`
		SHA256 string `json:"sha256"` // of the DER
		Until  int64  `json:"until"`
		N      int64  `json:"n"` // revocations in it
	}
	stamped struct {
		evidence.Common
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"` // of the token
	}
)

// Entry is one certificate.
type Entry struct {
	Kind, Name, Device, Serial string
	DER                        []byte // not to be changed
	From, Until                time.Time
	Ref                        string
	Revoked                    time.Time // zero: it is not
	Reason                     string
	code                       int64
}

func (e *Entry) good(now time.Time) bool { return e.Revoked.IsZero() && now.Before(e.Until) }

// Good reports whether the certificate is neither revoked nor expired.
func (e Entry) Good(now time.Time) bool { return e.good(now) }

type head struct {
	size int64
	root evidence.Hash
	sig  string
}

// state is what the signed lines of the log say.
type state struct {
	tree     *evidence.Tree
	bytes    int64 // up to the end of the last sign line
	signed   head
	entries  []*Entry
	bySerial map[string]*Entry
	revoked  []*Entry // in the order of revocation
	lists    map[string]listed
	stampAt  time.Time
	stamp    int64 // size the last token is over
}

func newState(string) *state {
	return &state{tree: new(evidence.Tree), bySerial: map[string]*Entry{}, lists: map[string]listed{}}
}

// apply takes one line that is not a sign line.
func (s *state) apply(l evidence.Line) error {
	switch l.Type {
	case "issued":
		var i issued
		if err := l.Decode(&i); err != nil {
			return err
		}
		der, err := base64.StdEncoding.DecodeString(i.Cert)
		if err != nil {
			return err
		}
		e := &Entry{Kind: i.Kind, Name: i.Name, Device: i.Device, Serial: i.Serial, DER: der, From: time.UnixMicro(i.T).UTC(), Until: time.UnixMicro(i.Until).UTC(), Ref: i.Ref}
		s.entries = append(s.entries, e)
		s.bySerial[i.Serial] = e
	case "revoked":
		var r revoked
		if err := l.Decode(&r); err != nil {
			return err
		}
		if e := s.bySerial[r.Serial]; e != nil && e.Revoked.IsZero() {
			// RFC 5280 5.3: a whole second, never after the moment of the line.
			e.Revoked, e.Reason, e.code = time.UnixMicro(r.T).UTC().Truncate(time.Second), r.Reason, r.Code
			s.revoked = append(s.revoked, e)
		}
	case "crl":
		var c listed
		if err := l.Decode(&c); err != nil {
			return err
		}
		s.lists[c.Kind] = c
	case "token":
		var t stamped
		if err := l.Decode(&t); err != nil {
			return err
		}
		s.stampAt, s.stamp = time.UnixMicro(t.T).UTC(), t.Size
	}
	return nil
}

// follow reads what was added to the log since. What lies behind the last signature was never acted
// upon: with the lock held it is cut, else left alone.
func (c *CA) follow(locked bool) error {
	name := filepath.Join(c.o.Dir, LogFile)
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < c.s.bytes {
		return fmt.Errorf("%s is shorter than it was: put it back from the backup; never issue from an older one", name)
	}
	if info.Size() == c.s.bytes && c.s.bytes > 0 {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, c.s.bytes, info.Size()-c.s.bytes))
	if err != nil {
		return err
	}
	end, err := c.take(b)
	if err != nil {
		return fmt.Errorf("%w: %s: %w: put the whole file back from the newest backup", ErrDamaged, name, err)
	}
	if c.s.bytes == 0 {
		return fmt.Errorf("%s: no signature of this authority holds: put it back from the backup", name)
	}
	if locked && end < int64(len(b)) {
		c.o.Log.Warn("ca: an unfinished change was cut off the log", "bytes", int64(len(b))-end)
		return c.files.Truncate(name, c.s.bytes)
	}
	return nil
}

// take applies all lines up to the last signature in b, and returns where that ends.
func (c *CA) take(b []byte) (end int64, err error) {
	tree, pending, off := c.s.tree.Clone(), []evidence.Line(nil), int64(0)
	for raw := range bytes.Lines(b) {
		off += int64(len(raw))
		line, whole := bytes.CutSuffix(raw, []byte{'\n'})
		if !whole {
			break
		}
		l, err := evidence.ParseLine(line)
		if err != nil {
			return end, fmt.Errorf("line %d: %w", tree.Size(), err)
		}
		if l.Type != "sign" {
			tree.Append(line)
			pending = append(pending, l)
			continue
		}
		var s evidence.Sign
		if err := l.Decode(&s); err != nil {
			return end, err
		}
		root, err := evidence.ParseHash(s.Root)
		if err != nil || s.Size != tree.Size() || root != tree.Root() {
			return end, fmt.Errorf("line %d: the signature is over another log", tree.Size())
		}
		if err := evidence.VerifySig(c.signer.Public(), c.origin, s.Size, root, s.Sig); err != nil {
			return end, fmt.Errorf("line %d: %w", tree.Size(), err)
		}
		for _, p := range pending {
			if err := c.s.apply(p); err != nil {
				return end, fmt.Errorf("line %s: %w", p.Type, err)
			}
		}
		tree.Append(line)
		c.s.bytes += off - end
		c.s.tree, c.s.signed, pending, end = tree.Clone(), head{s.Size, root, s.Sig}, nil, off
	}
	return end, nil
}

// append adds lines and one signature over them all as one change, and takes them over once they are
// durable. The caller is within change.
func (c *CA) append(lines ...any) error {
	b, err := c.lines(c.s.tree.Clone(), lines)
	if err != nil {
		return err
	}
	f, err := c.files.Append(filepath.Join(c.o.Dir, LogFile))
	if err != nil {
		return err
	}
	err = f.WriteAt(b, c.s.bytes)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = c.take(b)
	return err
}

func (c *CA) lines(tree *evidence.Tree, lines []any) (b []byte, err error) {
	for _, v := range lines {
		var common *evidence.Common
		switch v := v.(type) {
		case *begun:
			common, v.Type = &v.Common, "begun"
		case *issued:
			common, v.Type = &v.Common, "issued"
		case *revoked:
			common, v.Type = &v.Common, "revoked"
		case *listed:
			common, v.Type = &v.Common, "crl"
		case *stamped:
			common, v.Type = &v.Common, "token"
		default:
			return nil, fmt.Errorf("BUG: %T is no line", v)
		}
		var salt [16]byte
		rand.Read(salt[:]) // never fails (crypto/rand)
		common.Seq, common.T, common.TE, common.Salt = tree.Size(), c.o.Now().UnixMicro(), -1, hex.EncodeToString(salt[:])
		line, err := evidence.MarshalLine(v)
		if err != nil {
			return nil, err
		}
		tree.Append(line)
		b = append(append(b, line...), '\n')
	}
	sign, err := c.signer.SignLine(c.origin, tree)
	if err != nil {
		return nil, err
	}
	return append(append(b, sign...), '\n'), nil
}

func hexSHA256(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// readIf reads a file; a missing one is empty.
func readIf(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
