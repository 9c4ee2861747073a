package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Argon2id parameters: the second choice of OWASP's cheat sheet, which a Raspberry Pi 3 (1 GiB)
// computes in under a second. RFC 9106 section 4 would like 64 MiB; that hurts a recorder.
const (
	hashKiB     = 19 * 1024
	hashPasses  = 2
	hashThreads = 1
	hashSalt    = 16
	hashLen     = 32
)

// Limits on what a user file may ask of this machine.
const (
	maxKiB     = 64 * 1024
	maxPasses  = 10
	maxThreads = 4
	maxHash    = 64
)

var b64 = base64.RawStdEncoding

// password is a parsed hash.
type password struct {
	kib, passes uint32
	threads     uint8
	salt, key   []byte
}

func newPassword(text string) password {
	p := password{kib: hashKiB, passes: hashPasses, threads: hashThreads, salt: make([]byte, hashSalt)}
	rand.Read(p.salt)
	p.key = p.derive(text, hashLen)
	return p
}

func (p password) derive(text string, n int) []byte {
	return argon2.IDKey([]byte(text), p.salt, p.passes, p.kib, p.threads, uint32(n))
}

// is reports in constant time whether text is the password.
func (p password) is(text string) bool {
	return subtle.ConstantTimeCompare(p.derive(text, len(p.key)), p.key) == 1
}

// String is the PHC string format: $argon2id$v=19$m=…,t=…,p=…$salt$key.
func (p password) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.kib, p.passes, p.threads,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

// parsePassword reads what String writes, and nothing else.
func parsePassword(s string) (password, error) {
	bad := func(why string) (password, error) {
		return password{}, fmt.Errorf("password hash: %s: set the password anew", why)
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("not $argon2id$…")
	}
	var p password
	var v int
	if n, err := fmt.Sscanf(parts[2], "v=%d", &v); n != 1 || err != nil || v != argon2.Version {
		return bad("unknown version")
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.kib, &p.passes, &p.threads); n != 3 || err != nil {
		return bad("unreadable parameters")
	}
	if p.threads < 1 || p.threads > maxThreads || p.passes < 1 || p.passes > maxPasses || p.kib < 8*uint32(p.threads) || p.kib > maxKiB {
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
