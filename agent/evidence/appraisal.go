package evidence

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// AppraisalsFolder lies in ledger/ of a disk and of the state folder, and beside the ledgers an office exports.
// It holds SHA256.json, SHA256.json.p7s and SHA256.pem of each appraisal, SHA256 being that of the JSON.
const AppraisalsFolder = "appraisals"

// Limits of an appraisal.
const (
	MaxAppraised    = 400       // sessions in one appraisal: a longer list is cut into several
	MaxAppraisal    = 160 << 10 // bytes of its JSON: with its signature it fits into one message to a room
	maxApprovals    = 8
	maxAppraisals   = 10_000 // files of a folder
	maxAppraisedTxt = 200    // bytes of a text in it
)

// Appraisal is the list of sessions that two named persons or more gave over to destruction
// (evidence-format.md section 3). What it says of a session stays when the session is gone.
type Appraisal struct {
	Type      string      `json:"type"` // "appraisal"
	V         int64       `json:"v"`    // 1
	ID        string      `json:"id"`   // 32 hex, random
	By        string      `json:"by"`   // who signs: the office, or the room by itself
	Reason    string      `json:"reason"`
	T         int64       `json:"t"`         // µs since 1970 when the last approval was given, by the signer's clock
	Approvals []Approval  `json:"approvals"` // two or more, of different persons
	Sessions  []Appraised `json:"sessions"`  // in order of their ids
}

// Approval is one person's word.
type Approval struct {
	Login string `json:"login"` // under which the person was logged in
	Name  string `json:"name"`
	Role  string `json:"role"`
	T     int64  `json:"t"` // µs since 1970
}

// Appraised is one session of the list.
type Appraised struct {
	Session  string `json:"session"`
	Manifest string `json:"manifest"` // SHA-256 of manifest.json
	Case     string `json:"case"`     // "" if it never had one
	Until    string `json:"until"`    // last day it had to be kept, 2006-01-02
}

var (
	hexDigest    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	appraisalID  = regexp.MustCompile(`^[0-9a-f]{32}$`)
	appraisalDay = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
)

// BuildAppraisal returns the JSON of an appraisal and its signature, a CMS by the template of the manifest's with
// cert alone and signing time a.T in seconds. Type and V are filled in.
func BuildAppraisal(a Appraisal, cert *x509.Certificate, key crypto.Signer) (json, p7s []byte, err error) {
	a.Type, a.V = "appraisal", 1
	if json, err = MarshalCanonical(a); err != nil {
		return nil, nil, fmt.Errorf("appraisal: %w", err)
	}
	if _, err = ParseAppraisal(json); err != nil {
		return nil, nil, err
	}
	if p7s, err = SignManifest(json, []*x509.Certificate{cert}, key, time.UnixMicro(a.T)); err != nil {
		return nil, nil, fmt.Errorf("appraisal: %w", err)
	}
	return json, p7s, nil
}

// ParseAppraisal reads an appraisal strictly. It knows nothing of its signature.
func ParseAppraisal(b []byte) (*Appraisal, error) {
	a := new(Appraisal)
	if len(b) > MaxAppraisal {
		return nil, fmt.Errorf("appraisal: %d bytes, more than %d", len(b), MaxAppraisal)
	}
	err := UnmarshalCanonical(b, a, true)
	if err == nil {
		err = a.valid()
	}
	if err != nil {
		return nil, fmt.Errorf("appraisal: %w", err)
	}
	return a, nil
}

func (a *Appraisal) valid() error {
	if a.Type != "appraisal" || a.V != 1 || !appraisalID.MatchString(a.ID) {
		return errors.New("type, version or id is out of range")
	}
	if len(a.Approvals) > maxApprovals || len(a.Sessions) == 0 || len(a.Sessions) > MaxAppraised {
		return fmt.Errorf("it has %d approvals and %d sessions", len(a.Approvals), len(a.Sessions))
	}
	texts := []string{a.By, a.Reason}
	logins, names := map[string]bool{}, map[string]bool{}
	for _, p := range a.Approvals {
		logins[strings.ToLower(p.Login)], names[strings.TrimSpace(p.Name)] = true, true
		texts = append(texts, p.Login, p.Name, p.Role)
		if p.Login == "" || strings.TrimSpace(p.Name) == "" || p.T > a.T {
			return errors.New("an approval has no login or no name, or is later than the appraisal")
		}
	}
	if len(logins) < 2 || len(names) < 2 || len(logins) != len(a.Approvals) {
		return errors.New("two different persons must have approved it, each once")
	}
	last := ""
	for _, s := range a.Sessions {
		if !sessionName.MatchString(s.Session) || !hexDigest.MatchString(s.Manifest) || !appraisalDay.MatchString(s.Until) || s.Session <= last {
			return fmt.Errorf("session %.40q: id, digest, day or order is wrong", s.Session)
		}
		last = s.Session
		texts = append(texts, s.Case)
	}
	if slices.ContainsFunc(texts, func(t string) bool { return len(t) > maxAppraisedTxt }) {
		return fmt.Errorf("a text is longer than %d bytes", maxAppraisedTxt)
	}
	return nil
}

// Of returns what the appraisal says of a session, nil if it does not name it.
func (a *Appraisal) Of(session string) *Appraised {
	i, ok := slices.BinarySearchFunc(a.Sessions, session, func(s Appraised, id string) int { return strings.Compare(s.Session, id) })
	if !ok {
		return nil
	}
	return &a.Sessions[i]
}

// CheckAppraisal reads an appraisal and checks that one of the certificates signed it, within its time. It returns
// that certificate.
func CheckAppraisal(json, p7s []byte, appraisers []*x509.Certificate) (*Appraisal, *x509.Certificate, error) {
	a, err := ParseAppraisal(json)
	if err != nil {
		return nil, nil, err
	}
	at := time.UnixMicro(a.T)
	err = errors.New("appraisal: no certificate of an appraiser was given")
	for _, c := range appraisers {
		signed, cerr := CheckCMS(p7s, json, []*x509.Certificate{c})
		switch {
		case cerr != nil:
			err = fmt.Errorf("appraisal: by none of the appraisers' certificates: %w", cerr)
		case !signed.Equal(at.Truncate(time.Second)):
			return nil, nil, errors.New("appraisal: its signing time is not its own")
		case at.Before(c.NotBefore) || at.After(c.NotAfter):
			return nil, nil, fmt.Errorf("appraisal: the certificate of %q did not hold then", c.Subject.CommonName)
		default:
			return a, c, nil
		}
	}
	return nil, nil, err
}

// end is how a session left the device.
type end struct {
	kind      string // "archived", "destroying", "destroyed"
	appraisal string // SHA-256, of a destruction
}

// appraisalFile is an appraisal as found.
type appraisalFile struct{ json, p7s []byte }

// takeAppraisals reads a folder of appraisals. What is none is told by nobody: it proves nothing.
func (v *verifier) takeAppraisals(fsys fs.FS, dir string) error {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return fmt.Errorf("V1: %w", err)
	}
	if len(entries) > maxAppraisals {
		return fmt.Errorf("V1: %s: more than %d files", dir, maxAppraisals)
	}
	for _, e := range entries {
		sum, is := strings.CutSuffix(e.Name(), ".json")
		if !is || !hexDigest.MatchString(sum) {
			continue
		}
		json, err := readLimited(fsys, path.Join(dir, e.Name()), MaxAppraisal)
		if err != nil || DigestFile("", json).SHA256 != sum {
			continue
		}
		p7s, err := readLimited(fsys, path.Join(dir, e.Name()+".p7s"), maxCMS)
		if err == nil {
			v.appraisals[sum] = append(v.appraisals[sum], appraisalFile{json, p7s})
		}
	}
	return nil
}

// destroyed says by whose word a session that a ledger calls destroyed is gone (V16).
func (v *verifier) destroyed(l *ledgerCopy, id string) string {
	if v.o.Trust == nil {
		return deviceWord
	}
	for _, f := range v.appraisals[l.ends[id].appraisal] {
		a, by, err := CheckAppraisal(f.json, f.p7s, v.o.Trust.Appraisers)
		if err != nil {
			continue
		}
		s := a.Of(id)
		if s == nil || !l.given[id].bears(s.Manifest) {
			continue
		}
		names := make([]string, len(a.Approvals))
		for i, p := range a.Approvals {
			names[i] = p.Name + " (" + p.Login + ")"
		}
		return fmt.Sprintf("by appraisal %s of %s, kept until %s, approved by %s, signed by %q (%s)", a.ID,
			time.UnixMicro(a.T).UTC().Format(time.DateOnly), s.Until, strings.Join(names, " and "), by.Subject.CommonName, fingerprint(by))
	}
	return deviceWord
}

// returned notes copies of sessions that a ledger calls destroyed: an old disk came back.
func (v *verifier) returned() {
	for i := range v.result.Sessions {
		s := &v.result.Sessions[i]
		for _, l := range v.ledgers {
			if l.log != nil && l.ends[s.ID].kind == "destroyed" && strings.HasPrefix(s.Origin, l.log.origin+"/") {
				s.Notes = append(s.Notes, "the ledger says it was destroyed, and this copy is here: destroy it again")
			}
		}
	}
}

// AppraisalFiles are the names and bytes of an appraisal in a folder of them.
func AppraisalFiles(json, p7s []byte, cert *x509.Certificate) (digest string, files map[string][]byte) {
	digest = DigestFile("", json).SHA256
	return digest, map[string][]byte{digest + ".json": json, digest + ".json.p7s": p7s, digest + ".pem": MarshalCertsPEM(cert)}
}
