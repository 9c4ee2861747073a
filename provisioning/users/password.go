package users

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
)

// Argon2id parameters. People choose passwords: the second choice of OWASP's password storage cheat
// sheet. Devices get 160 random bits, which nobody guesses whatever the hash; the small one keeps a
// restart of an office of ten thousand rooms to seconds.
const (
	slowKiB, slowPasses = 19 * 1024, 2
	fastKiB, fastPasses = 256, 1
	hashSalt, hashLen   = 16, 32
)

// Limits on what a file may ask of this machine.
const (
	maxKiB    = 64 * 1024
	maxPasses = 10
	maxHash   = 64
)

var b64 = base64.RawStdEncoding

// password is a parsed hash; one thread always.
type password struct {
	kib, passes uint32
	salt, key   []byte
}

func newPassword(kind Kind, text string) password {
	p := password{kib: slowKiB, passes: slowPasses, salt: make([]byte, hashSalt)}
	if kind == Devices {
		p.kib, p.passes = fastKiB, fastPasses
	}
	rand.Read(p.salt)
	p.key = p.derive(text, hashLen)
	return p
}

func (p password) derive(text string, n int) []byte {
	return argon2.IDKey([]byte(text), p.salt, p.passes, p.kib, 1, uint32(n))
}

// is reports in constant time whether text is the password.
func (p password) is(text string) bool {
	return subtle.ConstantTimeCompare(p.derive(text, len(p.key)), p.key) == 1
}

// String is the PHC string format.
func (p password) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, p.kib, p.passes, b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

// parsePassword reads what String writes, and nothing else.
func parsePassword(s string) (password, error) {
	bad := func(why string) (password, error) {
		return password{}, fmt.Errorf("password hash: %s: set the password anew", why)
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return bad("not $argon2id$…")
	}
	var p password
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=1", &p.kib, &p.passes); n != 2 || err != nil {
		return bad("unreadable parameters")
	}
	if p.passes < 1 || p.passes > maxPasses || p.kib < 8 || p.kib > maxKiB {
		return bad("parameters out of range")
	}
	var err error
	if p.salt, err = b64.DecodeString(parts[4]); err != nil || len(p.salt) < 8 || len(p.salt) > maxHash {
		return bad("unreadable salt")
	}
	if p.key, err = b64.DecodeString(parts[5]); err != nil || len(p.key) < 16 || len(p.key) > maxHash {
		return bad("unreadable key")
	}
	if p.String() != s {
		return bad("not in its one written form")
	}
	return p, nil
}

// proofs remembers, per name, a keyed digest of the last right password together with the hash it
// was right for. The key lives in this process only, so that memory read later gives no password to guess at.
type proofs struct {
	key []byte
	mu  *sync.Mutex
	by  map[string][]byte // at most one for each account
}

func newProofs() proofs {
	p := proofs{key: make([]byte, 32), mu: new(sync.Mutex), by: map[string][]byte{}}
	rand.Read(p.key)
	return p
}

func (p proofs) digest(hash, text string) []byte {
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(hash)) // has no newline
	m.Write([]byte{'\n'})
	m.Write([]byte(text))
	return m.Sum(nil)
}

func (p proofs) has(name, hash, text string) bool {
	d := p.digest(hash, text)
	p.mu.Lock()
	defer p.mu.Unlock()
	return hmac.Equal(d, p.by[name])
}

func (p proofs) keep(name, hash, text string) {
	d := p.digest(hash, text)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by[name] = d
}
