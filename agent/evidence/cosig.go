package evidence

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Signature types of C2SP signed-note that matter here.
const (
	TypeCosignature = 0x04 // Ed25519 cosignature/v1 (C2SP tlog-cosignature)
	TypeMLDSA44     = 0x06 // ML-DSA-44 cosignature/v1: known by name, not checked by this version
)

// Witness is a party that cosigns checkpoints, known by its key.
type Witness struct {
	Name string
	Type byte   // TypeCosignature, or a type that this version cannot check
	Key  []byte // of an Ed25519 key 32 bytes
	Own  bool   // belongs to the body whose device it witnesses; said by who trusts, not by the key
}

// NewWitness describes an Ed25519 witness.
func NewWitness(name string, key ed25519.PublicKey) (Witness, error) {
	w := Witness{Name: name, Type: TypeCosignature, Key: key}
	return w, w.check()
}

func (w Witness) check() error {
	if !noteName(w.Name) {
		return fmt.Errorf("witness: name %q is empty, over 255 bytes, or has white space or a plus in it", w.Name)
	}
	if w.Type == TypeCosignature && len(w.Key) != ed25519.PublicKeySize {
		return fmt.Errorf("witness %s: an Ed25519 key has 32 bytes, this one %d", w.Name, len(w.Key))
	}
	return nil
}

// noteName tells whether a name may stand in a signed note (C2SP signed-note).
func noteName(s string) bool {
	return s != "" && len(s) < 256 && utf8.ValidString(s) && !strings.Contains(s, "+") && strings.IndexFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}) < 0
}

// Known tells whether this version can check the witness's cosignatures.
func (w Witness) Known() bool { return w.Type == TypeCosignature }

// ID is the key ID: the first 4 bytes of SHA-256(name ‖ LF ‖ type ‖ key).
func (w Witness) ID() [4]byte {
	d := sha256.Sum256(append([]byte(w.Name+"\n"), append([]byte{w.Type}, w.Key...)...))
	return [4]byte(d[:4])
}

// VKey returns the key as C2SP signed-note writes it: name+id+base64(type ‖ key).
func (w Witness) VKey() string {
	id := w.ID()
	return w.Name + "+" + hex.EncodeToString(id[:]) + "+" + base64.StdEncoding.EncodeToString(append([]byte{w.Type}, w.Key...))
}

// ParseVKey reads a verifier key. A key of a type that this version cannot check is no error:
// [Witness.Known] tells. An Ed25519 key of the plain type 0x01 is none of a witness.
func ParseVKey(s string) (Witness, error) {
	name, rest, _ := strings.Cut(s, "+")
	id, key64, ok := strings.Cut(rest, "+")
	key, err := strictBase64(key64)
	if !ok || err != nil || len(key) < 2 || len(key) > 4096 {
		return Witness{}, fmt.Errorf("witness key %q: not name+id+base64 of one type byte and a key", s)
	}
	w := Witness{Name: name, Type: key[0], Key: key[1:]}
	if err := w.check(); err != nil {
		return Witness{}, err
	}
	if w.Type == 1 {
		return Witness{}, fmt.Errorf("witness key %q: of type 1, which signs notes; a witness's key has type 4", s)
	}
	if want := w.ID(); w.Known() && hex.EncodeToString(want[:]) != id || len(id) != 8 || !isHex(id, 8) {
		return Witness{}, fmt.Errorf("witness key %q: its id does not fit name and key", s)
	}
	return w, nil
}

// Cosignature is a parsed cosignature line.
type Cosignature struct {
	Line    string // as given, without line feed
	Witness string // name it claims
	ID      [4]byte
	Sig     []byte // behind the key ID
}

// SHA256 is the digest of the line, as `cosig` and `anchor` lines name it.
func (c Cosignature) SHA256() string {
	d := sha256.Sum256([]byte(c.Line))
	return hex.EncodeToString(d[:])
}

// ParseCosignature reads `— name base64(key ID ‖ signature)`, given without its line feed.
func ParseCosignature(line string) (Cosignature, error) {
	name, sig64, ok := strings.Cut(strings.TrimPrefix(line, "— "), " ")
	raw, err := strictBase64(sig64)
	if !ok || !strings.HasPrefix(line, "— ") || !noteName(name) || err != nil || len(raw) < 5 || len(raw) > 8192 {
		return Cosignature{}, errors.New("cosignature: not a signature line of a note: — name base64")
	}
	return Cosignature{Line: line, Witness: name, ID: [4]byte(raw), Sig: raw[4:]}, nil
}

// strictBase64 reads the one way base64 is written here.
func strictBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err == nil && base64.StdEncoding.EncodeToString(b) != s { // DecodeString skips CR and LF
		err = errors.New("not strict base64")
	}
	return b, err
}

// cosignedText is what an Ed25519 witness signs: the checkpoint's signed text with a time before it.
func cosignedText(text []byte, seconds uint64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", seconds), text...)
}

// Verify checks a cosignature line over a checkpoint's signed text ([SignedText]) and returns the time
// the witness claims, to the second. A line of another witness, or of a type that this version cannot
// check, is [ErrUntrusted]; a line that bears this witness's name with another key ID, or this
// witness's key ID with another name, is false.
func (w Witness) Verify(text []byte, line string) (time.Time, error) {
	c, err := ParseCosignature(line)
	if err != nil {
		return time.Time{}, err
	}
	switch sameName, sameID := c.Witness == w.Name, c.ID == w.ID(); {
	case !sameName && !sameID:
		return time.Time{}, fmt.Errorf("cosignature of %s: %w: another witness than %s", c.Witness, ErrUntrusted, w.Name)
	case !w.Known():
		return time.Time{}, fmt.Errorf("cosignature of %s: %w: signature type %#x is not known here", c.Witness, ErrUntrusted, w.Type)
	case !sameName || !sameID:
		return time.Time{}, fmt.Errorf("cosignature of %s: name and key do not belong together", c.Witness)
	case len(c.Sig) != 8+ed25519.SignatureSize:
		return time.Time{}, fmt.Errorf("cosignature of %s: not a time and an Ed25519 signature", c.Witness)
	}
	seconds := binary.BigEndian.Uint64(c.Sig)
	if seconds > 253402300799 || !ed25519.Verify(w.Key, cosignedText(text, seconds), c.Sig[8:]) {
		return time.Time{}, fmt.Errorf("cosignature of %s: does not hold", c.Witness)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// Cosign returns the cosignature line of the witness with this name over a checkpoint's signed text,
// without line feed. The key is Ed25519; at is cut to seconds. Commit to what is signed before calling it.
func Cosign(name string, key crypto.Signer, text []byte, at time.Time) (string, error) {
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return "", fmt.Errorf("cosign: key is %T, want Ed25519", key.Public())
	}
	w, err := NewWitness(name, pub)
	if err != nil {
		return "", fmt.Errorf("cosign: %w", err)
	}
	if at.Unix() < 0 {
		return "", errors.New("cosign: a time before 1970")
	}
	sig, err := key.Sign(nil, cosignedText(text, uint64(at.Unix())), crypto.Hash(0))
	if err != nil {
		return "", fmt.Errorf("cosign: %w", err)
	}
	id := w.ID()
	raw := append(binary.BigEndian.AppendUint64(id[:], uint64(at.Unix())), sig...)
	return "— " + name + " " + base64.StdEncoding.EncodeToString(raw), nil
}

// ReadWitnesses reads a file of verifier keys, one a line. Empty lines and comments (#) are left out;
// the comment `# own` marks the key after it as that of the body itself.
func ReadWitnesses(b []byte) ([]Witness, error) {
	var out []Witness
	own := false
	for i, line := range bytes.Split(b, []byte{'\n'}) {
		s := strings.TrimSpace(string(line))
		if comment, ok := strings.CutPrefix(s, "#"); ok {
			own = own || strings.TrimSpace(comment) == "own"
			continue
		}
		if s == "" {
			continue
		}
		w, err := ParseVKey(s)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		w.Own, own = own, false
		out = append(out, w)
	}
	return out, nil
}
