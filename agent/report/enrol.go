package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// What a board and the office's device API say to each other (docs/enrolment.md). JSON over TLS; keys
// and certificates travel as DER in base64.

// Paths of the device API.
const (
	PathEnrol  = "/v1/enrol"  // POST [Enrol], answers [Enrolled]: a code, no client certificate
	PathRenew  = "/v1/renew"  // POST [Enrol], answers [Enrolled]: the client certificate of before, no code
	PathStatus = "/v1/status" // GET, answers [Standing] of the client certificate shown, also of one no longer good
	PathCRL    = "/v1/crl"    // GET: revocation lists, PEM
	PathRoot   = "/v1/root"   // GET: root certificate, PEM
	PathTrust  = "/v1/trust"  // GET, answers [TrustFiles]
)

// TrustFiles are what a device is to believe beside the office's own authority, by name as in a trust
// folder: roots of time-stamping authorities, keys of witnesses. No secret is in them.
type TrustFiles struct {
	V     int               `json:"v"`     // 1
	Files map[string][]byte `json:"files"` // "tsa/NAME.pem", "witness/NAME.vkey", base64
}

// trustName is what a device takes as the name of a file: one below tsa/ or witness/, nothing else.
var trustName = regexp.MustCompile(`^(tsa/[A-Za-z0-9._-]{1,64}\.pem|witness/[A-Za-z0-9._-]{1,64}\.vkey)$`)

// ParseTrustFiles reads TrustFiles.
func ParseTrustFiles(b []byte) (t TrustFiles, err error) {
	if err = strictJSON(b, &t); err == nil && t.V != 1 {
		err = fmt.Errorf("version %d, this program reads 1", t.V)
	}
	for name := range t.Files {
		if err == nil && (!trustName.MatchString(name) || strings.Contains(name, "..")) {
			err = fmt.Errorf("a file named %.100q", name)
		}
	}
	if err != nil {
		return TrustFiles{}, fmt.Errorf("report: trust: %w", err)
	}
	return t, nil
}

// MaxEnrol bounds what the device API reads and what a board reads of its answer.
const MaxEnrol = 64 << 10

// Enrol asks for certificates: three PKCS #10 requests whose subject is CN=Name.
type Enrol struct {
	V     int    `json:"v"`              // 1
	Code  string `json:"code,omitempty"` // [EnrolCode], for a first enrolment
	Name  string `json:"name"`
	Sign  []byte `json:"sign"`          // of the signing key, ECDSA P-256
	TLS   []byte `json:"tls"`           // of the TLS key, ECDSA P-256, another one
	SM2   []byte `json:"sm2,omitempty"` // of the SM2 key; none: no SM2 certificate
	Board Board  `json:"board"`
}

// Board says what asks, for people who look at the office's register. Nothing of it is proven.
type Board struct {
	Serial string `json:"serial,omitempty"`
	Model  string `json:"model,omitempty"`
	SW     string `json:"sw,omitempty"`
	TPM    bool   `json:"tpm"` // the signing key is in a TPM
}

// Enrolled carries the certificates.
type Enrolled struct {
	V        int      `json:"v"` // 1
	Name     string   `json:"name"`
	Device   string   `json:"device"` // D
	Sign     []byte   `json:"sign"`
	TLS      []byte   `json:"tls"`
	Chain    [][]byte `json:"chain"` // above both, without the root
	Root     []byte   `json:"root"`
	SM2      []byte   `json:"sm2,omitempty"`
	SM2Chain [][]byte `json:"sm2_chain,omitempty"` // above SM2, root included
	MQTT     string   `json:"mqtt,omitempty"`      // port of the office's MQTT over TLS, host:port where that is elsewhere, "" if it has none
}

// Where a device stands with the office's authority.
const (
	StandingGood     = "good"
	StandingUnknown  = "notenrolled" // no certificate, or one of another authority
	StandingRevoked  = "revoked"
	StandingExpired  = "expired"
	StandingMisnamed = "misnamed" // the certificate is of another name or of another use
)

// Standing is how the office sees a certificate.
type Standing struct {
	V      int       `json:"v"` // 1
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"` // why it was revoked
	At     time.Time `json:"at,omitzero"`      // when
	Now    time.Time `json:"now"`              // the office's clock
}

// EnrolRefusal is the answer to a request that was refused, with HTTP status 4xx.
type EnrolRefusal struct {
	Code string `json:"code"` // "code.unknown", "code.used", "code.expired", "name", "name.enrolled", "request", "device", "held", "busy", or a standing
	Text Text   `json:"text"`
}

func (r *EnrolRefusal) Error() string { return r.Text.Zh + " / " + r.Text.En }

// ParseEnrol reads a request.
func ParseEnrol(b []byte) (e Enrol, err error) {
	if err = strictJSON(b, &e); err == nil {
		switch {
		case e.V != 1:
			err = fmt.Errorf("version %d, this office speaks 1", e.V)
		case !ValidDevice(e.Name):
			err = errors.New("name: want 1 to 64 of a-z, 0-9 and hyphen")
		case len(e.Sign) == 0 || len(e.TLS) == 0:
			err = errors.New("a request for signing and one for TLS are needed")
		case len(e.Board.Serial) > 128 || len(e.Board.Model) > 128 || len(e.Board.SW) > 128:
			err = errors.New("board: a text over 128 bytes")
		}
	}
	if err != nil {
		return Enrol{}, fmt.Errorf("report: enrol: %w", err)
	}
	return e, nil
}

// ParseEnrolled reads the office's answer.
func ParseEnrolled(b []byte) (e Enrolled, err error) {
	if err = strictJSON(b, &e); err == nil {
		switch {
		case e.V != 1:
			err = fmt.Errorf("version %d, this board speaks 1", e.V)
		case len(e.Sign) == 0 || len(e.TLS) == 0 || len(e.Chain) == 0 || len(e.Root) == 0:
			err = errors.New("a certificate is missing")
		case len(e.Chain) > 4 || len(e.SM2Chain) > 4:
			err = errors.New("a chain of more than 4")
		}
	}
	if err != nil {
		return Enrolled{}, fmt.Errorf("report: enrolled: %w", err)
	}
	return e, nil
}

func strictJSON(b []byte, v any) error {
	if len(b) > MaxEnrol {
		return fmt.Errorf("over %d bytes", MaxEnrol)
	}
	return json.NewDecoder(bytes.NewReader(b)).Decode(v)
}

// EnrolCode is what the office prints and a person types at the board: a secret that is good once, and
// enough of the root certificate's digest that the board knows the office at first contact. Its String
// is the secret itself: show it once, never log it.
type EnrolCode struct {
	Secret [10]byte
	Root   [12]byte // the first bytes of SHA-256 of the root certificate
}

// alphabet is Crockford's: no I, L, O, U.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var codeText = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// NewEnrolCode joins a random secret with the DER of the root certificate.
func NewEnrolCode(secret [10]byte, root []byte) EnrolCode {
	d := sha256.Sum256(root)
	return EnrolCode{secret, [12]byte(d[:12])}
}

func (c EnrolCode) sum() []byte {
	d := sha256.Sum256(append(append([]byte("minglu enrolment code v1\n"), c.Secret[:]...), c.Root[:]...))
	return d[:3]
}

// String returns the code as 8 groups of 5 letters and digits.
func (c EnrolCode) String() string {
	text := codeText.EncodeToString(append(append(c.Secret[:len(c.Secret):len(c.Secret)], c.Root[:]...), c.sum()...))
	var groups []string
	for ; text != ""; text = text[5:] {
		groups = append(groups, text[:5])
	}
	return strings.Join(groups, "-")
}

// ParseEnrolCode reads a code as people type it: any case, spaces and hyphens anywhere, O for 0, I and L
// for 1. It finds each mistype but one in 16 million. The error never holds the text.
func ParseEnrolCode(s string) (c EnrolCode, err error) {
	if len(s) > 200 {
		return c, errors.New("enrolment code: too long")
	}
	s = strings.NewReplacer("-", "", " ", "", "\t", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(strings.TrimSpace(s)))
	if len(s) != 40 {
		return c, fmt.Errorf("enrolment code: %d letters and digits, want 40 in 8 groups of 5", len(s))
	}
	b, err := codeText.DecodeString(s)
	if err != nil || len(b) != 25 { // the decoder passes over line feeds
		return c, errors.New("enrolment code: a character that cannot be in it: only digits and letters without I, L, O, U")
	}
	copy(c.Secret[:], b)
	copy(c.Root[:], b[10:])
	if !bytes.Equal(c.sum(), b[22:]) {
		return EnrolCode{}, errors.New("enrolment code: mistyped: compare it group by group")
	}
	return c, nil
}

// IsRoot reports whether DER bytes are the root certificate the code was made for.
func (c EnrolCode) IsRoot(der []byte) bool {
	d := sha256.Sum256(der)
	return bytes.Equal(d[:12], c.Root[:])
}

// Ref is what the office keeps of the code: it cannot be turned back.
func (c EnrolCode) Ref() string {
	d := sha256.Sum256(append([]byte("minglu enrolment code v1 ref\n"), c.Secret[:]...))
	return fmt.Sprintf("%x", d)
}
