package evidence

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Amendment is amendment-N.json: what was learnt after the seal. The manifest never changes.
type Amendment struct {
	Type     string            `json:"type"` // "amendment"
	V        int64             `json:"v"`    // 1
	Session  string            `json:"session"`
	N        int64             `json:"n"`        // from 1
	Manifest string            `json:"manifest"` // SHA-256 of manifest.json
	Prev     string            `json:"prev"`     // SHA-256 of amendment-(N-1).json, "" for the first
	Kind     string            `json:"kind"`     // "details", "attachment", "refused", "late-tail", …
	T        int64             `json:"t"`        // µs since 1970 by the device's clock
	TE       int64             `json:"te"`       // error bound of T, -1 unknown
	Data     map[string]string `json:"data"`     // what Kind says; keys [a-z][a-z0-9_]{0,31}
}

// maxAmendments is how many a session may have: their numbers have at most four digits.
const maxAmendments = 9999

var amendmentName = regexp.MustCompile(`^amendment-([1-9][0-9]{0,3})\.(json|json\.p7s|json\.tsr|pem)$`)

// AmendmentName is the file name of amendment n.
func AmendmentName(n int64) string { return fmt.Sprintf("amendment-%d.json", n) }

// BuildAmendment returns amendment-N.json and its signature amendment-N.json.p7s, made by the same
// template as the manifest's with signing time a.T in seconds. Type and V are filled in; Manifest and
// Prev are the caller's digests. certs are those of the session's device.pem and chain.pem if the key is
// still the same; after a rotation those of the key in force, to be written beside as amendment-N.pem
// ([MarshalCertsPEM]). Write json, p7s (and pem) durably, then the ledger's `amend` line, whose sha256 is
// that of amendment-N.json.
func BuildAmendment(a Amendment, certs []*x509.Certificate, key crypto.Signer) (json, p7s []byte, err error) {
	a.Type, a.V = "amendment", 1
	if a.Data == nil {
		a.Data = map[string]string{}
	}
	if json, err = MarshalCanonical(a); err != nil {
		return nil, nil, fmt.Errorf("amendment %d: %w", a.N, err)
	}
	if _, err = ParseAmendment(json); err != nil {
		return nil, nil, err
	}
	if p7s, err = SignManifest(json, certs, key, time.UnixMicro(a.T)); err != nil {
		return nil, nil, fmt.Errorf("amendment %d: %w", a.N, err)
	}
	return json, p7s, nil
}

// ParseAmendment reads amendment-N.json strictly.
func ParseAmendment(b []byte) (*Amendment, error) {
	a := new(Amendment)
	if err := UnmarshalCanonical(b, a, true); err != nil {
		return nil, fmt.Errorf("amendment: %w", err)
	}
	if a.Type != "amendment" || a.V != 1 || a.N < 1 || a.N > maxAmendments || a.Kind == "" {
		return nil, errors.New("amendment: type, version, number or kind is out of range")
	}
	return a, nil
}

// CheckAmendment checks amendment n of a session against its signature, the manifest and the amendment
// before it (nil for the first). It judges no chain and no date.
func CheckAmendment(json, p7s []byte, n int64, session string, manifest, prev []byte, certs []*x509.Certificate) (*Amendment, error) {
	a, err := followingAmendment(json, n, session, manifest, prev)
	if err == nil {
		err = a.signed(json, p7s, certs)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// followingAmendment reads amendment n and checks what it says of the files before it.
func followingAmendment(json []byte, n int64, session string, manifest, prev []byte) (*Amendment, error) {
	a, err := ParseAmendment(json)
	if err != nil {
		return nil, err
	}
	before := ""
	if prev != nil {
		before = DigestFile("", prev).SHA256
	}
	switch {
	case a.N != n || a.Session != session:
		return nil, fmt.Errorf("it is amendment %d of session %s", a.N, a.Session)
	case a.Manifest != DigestFile("", manifest).SHA256:
		return nil, errors.New("it amends another manifest")
	case a.Prev != before:
		return nil, errors.New("it does not follow the amendment before it")
	}
	return a, nil
}

func (a *Amendment) signed(json, p7s []byte, certs []*x509.Certificate) error {
	at, err := CheckCMS(p7s, json, certs)
	if err == nil && !at.Equal(time.UnixMicro(a.T).Truncate(time.Second)) {
		err = errors.New("its signing time is not its own")
	}
	return err
}
