package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// Command is a program and its arguments, without a shell. Every way to print it leaves logins, passwords and keys
// out; all else shows, so that the digest of the settings follows each change of it that is none of a secret.
type Command []string

// Reveal returns the words as configured, secrets included. Never log them.
func (c Command) Reveal() []string { return append([]string(nil), c...) }

const hidden = "xxxxx"

var (
	// A login ends at the last @ before the path (RFC 3986 3.2).
	commandLogin = regexp.MustCompile(`(://)[^/?#\s]*@`)
	commandPair  = regexp.MustCompile(`(?i)([\w-]*(?:pass|password|passwd|passphrase|pwd|pw|secret|token|auth|key)=)[^&;\s]*`)
	commandHead  = regexp.MustCompile(`(?i)(authorization|cookie)(["']?\s*[:=]).*`)
	// What follows such an option is a secret as a whole: ffmpeg's -headers and -decryption_key, another program's --password.
	commandOption = regexp.MustCompile(`(?i)^--?[\w-]*(?:pass|password|passwd|passphrase|pwd|pw|secret|token|auth|headers?|cookies?|(?:^|[_-])key)(?::\w+)?$`)
)

func (c Command) shown() []string {
	words := make([]string, len(c))
	for i, w := range c {
		if i > 0 && commandOption.MatchString(c[i-1]) {
			words[i] = hidden
			continue
		}
		w = commandLogin.ReplaceAllString(w, "${1}"+hidden+"@")
		w = commandHead.ReplaceAllString(w, "${1}${2}"+hidden)
		words[i] = commandPair.ReplaceAllString(w, "${1}"+hidden)
	}
	return words
}

// String is the words without secrets.
func (c Command) String() string { return strings.Join(c.shown(), " ") }

// GoString is String, for %#v.
func (c Command) GoString() string { return c.String() }

// Format is String for every verb: %v of a slice would show its words.
func (c Command) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue is String, for slog.
func (c Command) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON lists the words without secrets.
func (c Command) MarshalJSON() ([]byte, error) { return json.Marshal(c.shown()) }
