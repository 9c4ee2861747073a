package onvif

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// answerTo makes the Authorization header for a Digest challenge (RFC 7616), "" if none of the challenges is one that
// can be answered. Basic is not: it would send the password itself.
func answerTo(challenges []string, method, uri, user, password string) string {
	for _, algorithm := range []string{"SHA-256", "MD5"} { // the better one first, whatever their order
		for _, c := range challenges {
			kind, rest, _ := strings.Cut(c, " ")
			if !strings.EqualFold(kind, "Digest") {
				continue
			}
			p := parameters(rest)
			if a := p["algorithm"]; !strings.EqualFold(a, algorithm) && !(a == "" && algorithm == "MD5") {
				continue
			}
			qop := ""
			for _, q := range strings.Split(p["qop"], ",") {
				if strings.TrimSpace(q) == "auth" {
					qop = "auth"
				}
			}
			if p["nonce"] == "" || p["qop"] != "" && qop == "" {
				continue
			}
			b := make([]byte, 8)
			if _, err := rand.Read(b); err != nil {
				return ""
			}
			return respond(p, algorithm, qop, method, uri, user, password, hex.EncodeToString(b))
		}
	}
	return ""
}

func respond(p map[string]string, algorithm, qop, method, uri, user, password, cnonce string) string {
	sum := func(s string) string {
		var h hash.Hash = md5.New()
		if algorithm == "SHA-256" {
			h = sha256.New()
		}
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	}
	a1, a2 := sum(user+":"+p["realm"]+":"+password), sum(method+":"+uri)
	response, more := sum(a1+":"+p["nonce"]+":"+a2), ""
	if qop != "" {
		const count = "00000001" // each nonce is used once
		response = sum(strings.Join([]string{a1, p["nonce"], count, cnonce, qop, a2}, ":"))
		more = fmt.Sprintf(`, qop=%s, nc=%s, cnonce="%s"`, qop, count, cnonce)
	}
	s := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s%s`, quoted(user), quoted(p["realm"]), quoted(p["nonce"]), uri, response, algorithm, more)
	if o := p["opaque"]; o != "" {
		s += fmt.Sprintf(`, opaque="%s"`, quoted(o))
	}
	return s
}

func quoted(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

// parameters parses `key="value", key=value`.
func parameters(s string) map[string]string {
	p := map[string]string{}
	for len(s) > 0 && len(p) < 32 {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		key = strings.ToLower(strings.Trim(key, " ,\t"))
		rest = strings.TrimLeft(rest, " \t")
		var value strings.Builder
		if strings.HasPrefix(rest, `"`) {
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' && i+1 < len(rest) {
					i++
				}
				value.WriteByte(rest[i])
			}
			s = rest[min(i+1, len(rest)):]
		} else {
			v, after, _ := strings.Cut(rest, ",")
			value.WriteString(strings.TrimSpace(v))
			s = after
		}
		p[key] = value.String()
	}
	return p
}
