// Package config turns one YAML file into typed, checked settings.
//
// [Load] refuses what it does not understand: an unknown key, a value out of range, a disk that is
// not there and never was. It reports everything it finds at once, each with file, line, column, what is wrong and
// the remedy, in Chinese and English. What a key means, its unit and its default stand at the fields
// of [Config] and, for people, in [Example]. Secrets in addresses are kept in [Secret], which no
// print, log or digest shows.
//
// Only package main imports it: other packages have their own Options.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Duration is a length of time, written as in Go: "500ms", "10s", "5m", "8h".
type Duration time.Duration

// Std returns d as the standard type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as it is written in the file.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Secret is an address that may hold a password. Every way to print it leaves the password out.
type Secret string

// Reveal returns the address as configured, password included. Never log it.
func (s Secret) Reveal() string { return string(s) }

var secretQuery = regexp.MustCompile(`(?i)((?:^|[?&;])[^=&;]*(?:pass|pwd|secret|token|auth|key)[^=&;]*=)[^&;]*`)

// String returns the address without password; an address that cannot be parsed shows nothing.
func (s Secret) String() string {
	u, err := url.Parse(string(s))
	if err != nil || (u.Host == "" && s != "") {
		return "(hidden)"
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), "xxxxx")
		}
	}
	u.RawQuery = secretQuery.ReplaceAllString(u.RawQuery, "${1}xxxxx")
	u.Path, u.RawPath = secretQuery.ReplaceAllString(u.Path, "${1}xxxxx"), ""
	return u.String()
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Config is one agent's settings. Paths are absolute: relative ones count from the file's folder.
type Config struct {
	Device      Device       `yaml:"device"`
	Body        Body         `yaml:"body"`
	State       string       `yaml:"state"` // folder of keys, ledger, catalogue; default "state" beside the file; in no disk's folder
	Board       string       `yaml:"board"` // "auto" (default), "sim", or a board's name such as "raspberrypi-4", "rock-3a", "generic"
	Channels    []Channel    `yaml:"channels"`
	Overlay     Overlay      `yaml:"overlay"` // text in the pictures that this board codes
	Storage     Storage      `yaml:"storage"`
	Room        Room         `yaml:"room"`
	Inputs      Inputs       `yaml:"inputs"`
	Lamp        *Lamp        `yaml:"lamp"`        // nil: no lamp
	Thermometer *Thermometer `yaml:"thermometer"` // nil: none
	Speaker     *Speaker     `yaml:"speaker"`     // nil: none, no announcement
	Scanner     *Scanner     `yaml:"scanner"`     // nil: none, case numbers are typed
	Power       *Power       `yaml:"power"`       // nil: no battery
	RTC         *RTC         `yaml:"rtc"`         // nil: none, or the kernel's own business
	Buzzer      *Buzzer      `yaml:"buzzer"`      // nil: none
	Web         Web          `yaml:"web"`
	Access      Access       `yaml:"access"`
	Live        Live         `yaml:"live"` // pictures for people who watch
	MQTT        *MQTT        `yaml:"mqtt"` // nil: no office
	Identity    Identity     `yaml:"identity"`
	Timestamp   *Timestamp   `yaml:"timestamp"` // nil: the office is asked, if there is one
	Witness     *Witness     `yaml:"witness"`   // nil: the office alone, if there is one
	NTP         *NTP         `yaml:"ntp"`       // nil: the cameras get no time from here
	Watchdog    Watchdog     `yaml:"watchdog"`
	Archive     *Archive     `yaml:"archive"` // nil: sessions stay here until they are destroyed
	Keep        Keep         `yaml:"keep"`
}

// Device says which device this is and where it stands.
type Device struct {
	Name string `yaml:"name"` // required; [a-z0-9-]{1,64}: the CN of its certificate
	Room string `yaml:"room"` // required; as people call it, such as 询问室三
	Kind string `yaml:"kind"` // "interview" (default), "interrogation", "hearing", "other"
}

// Body is the law-enforcement body sessions belong to unless they name another.
type Body struct {
	Name   string `yaml:"name"`
	USCC   string `yaml:"uscc"`   // unified social credit code, 18 characters (GB 32100-2015); may be empty
	System string `yaml:"system"` // 市场监管, 应急管理 …; may be empty
}

// Channel is one camera with its sound, or one microphone.
type Channel struct {
	ID         string      `yaml:"id"`   // required; [a-z][a-z0-9_]{0,31}, unique
	Name       string      `yaml:"name"` // as people call it; default the id
	Camera     *Camera     `yaml:"camera"`
	Microphone *Microphone `yaml:"microphone"`
}

// SimCamera is a synthetic camera.
type SimCamera struct {
	Width  int `yaml:"width"`  // pixels, even; default 1280; at least 1152 so that the frame number fits
	Height int `yaml:"height"` // pixels, even; default 720; at least 448
	FPS    int `yaml:"fps"`    // pictures per second, 5 to 60; default 25
}

// Microphone is where sound comes from: exactly one of its fields.
type Microphone struct {
	ALSA *Capture       `yaml:"alsa"` // sound card; its device alone, such as "hw:0,0", or keys
	RTSP Secret         `yaml:"rtsp"` // address of a stream without picture
	Sim  *SimMicrophone `yaml:"sim"`  // board sim only
}

// SimMicrophone is a synthetic microphone. It has no settings.
type SimMicrophone struct{}

// Storage says where and how recordings are written.
type Storage struct {
	Disks    []string `yaml:"disks"`    // one or two folders that exist, each the root of its disk
	Segment  Duration `yaml:"segment"`  // length of a media file, 10s to 1h; default 5m
	Fragment Duration `yaml:"fragment"` // media in one fragment at most, 100ms to 500ms; default 500ms
	Cycle    string   `yaml:"cycle"`    // from signature to signature: a duration from 500ms to 2s, or "auto" (default): what doctor measured last, else 500ms
	Preroll  Duration `yaml:"preroll"`  // kept from before the trigger, 0s to 60s; default 10s
	Postroll Duration `yaml:"postroll"` // recorded after the stop, 0s to 60s; default 3s
}

// CycleAuto is the signing cycle that follows the measured disks.
const CycleAuto = "auto"

// SigningCycle returns the cycle in force, measured being what the disks were found to need, 0 if
// nobody measured them.
func (s Storage) SigningCycle(measured time.Duration) time.Duration {
	if d, err := time.ParseDuration(s.Cycle); err == nil {
		return d
	}
	if measured >= MinCycle && measured <= MaxCycle {
		return measured
	}
	return MinCycle
}

// Room holds the rules of the room.
type Room struct {
	Start        []string `yaml:"start"`         // what starts a session: "button", "door", "presence"; default all that are configured
	PresenceHold Duration `yaml:"presence_hold"` // somebody is there this long before it counts, 0s to 10m; default 5s
	PauseLimit   Duration `yaml:"pause_limit"`   // a longer pause asks for a reason; default 10m
	EmptyAsk     Duration `yaml:"empty_ask"`     // the room is empty this long: ask whether to stop; default 10m, 0s never
	EmptyStop    Duration `yaml:"empty_stop"`    // after asking, stop when nobody answers; default 5m
	NoticeWithin Duration `yaml:"notice_within"` // the notice is due this soon after the start; default 120s
	Limit        Duration `yaml:"limit"`         // longest lawful session: reaching it is a fault, not a stop; default 8h, 0s none
	LimitWarn    Duration `yaml:"limit_warn"`    // warn this long before the limit; default 30m
	ResumeWithin Duration `yaml:"resume_within"` // power back this soon: record on as a continuation; default 10m, 0s never
}

// SimDevice is a simulated device without settings.
type SimDevice struct{}

// Web is the room's own pages and API.
type Web struct {
	Listen string `yaml:"listen"` // host:port; default "127.0.0.1:8080"; other than loopback needs tls
	Auth   string `yaml:"auth"`   // "login" (default); "none" opens everything: board sim on loopback only
	TLS    *TLS   `yaml:"tls"`
}

// TLS names the files of the pages' certificate.
type TLS struct {
	Cert string `yaml:"cert"` // PEM chain
	Key  string `yaml:"key"`  // PEM key
}

// Access is by which rule people look at sessions. Lists from the office may say otherwise for a body.
type Access struct {
	Approval string `yaml:"approval"` // "roles" (default), "others" or "all"
}

// Live is how people watch the room.
type Live struct {
	Listen string `yaml:"listen"` // host:port, UDP; default: the host of web.listen and any port
	Idle   bool   `yaml:"idle"`   // the body's rule lets an idle room be watched; default false. A pause never is
}

// MQTT is the office's broker.
type MQTT struct {
	URL Secret `yaml:"url"` // mqtts://NAME:PASSWORD@host:8883, or mqtt:// on loopback
	CA  string `yaml:"ca"`  // PEM file of the certificate that vouches for the broker; default: the system's
}

// Identity says where the device's key is.
type Identity struct {
	TPM string `yaml:"tpm"` // device of a TPM 2.0, such as /dev/tpmrm0, or the socket of one; default none: a file
}

// Timestamp names RFC 3161 services, asked in order.
type Timestamp struct {
	URLs []Secret `yaml:"urls"`
	Via  string   `yaml:"via"` // "office": it asks; "direct": urls alone; default: urls in order, then the office if there is one
}

// Witness names witnesses that are asked directly, beside the office (C2SP tlog-witness).
type Witness struct {
	URLs []Secret `yaml:"urls"` // add-checkpoint is added
}

// NTP is the time server for the cameras.
type NTP struct {
	Listen string `yaml:"listen"` // host:port, UDP; an address of the cameras' network, such as "192.168.9.1:123"
}

// Sim reports whether this is a simulated room.
func (c *Config) Sim() bool { return c.Board == BoardSim }

// BoardSim is the board of a simulated room.
const BoardSim = "sim"

// Digest is the SHA-256, in hex, of the settings in force with secrets removed: the same settings
// give the same digest whatever the file's comments and order of keys.
func (c *Config) Digest() string {
	sum := sha256.Sum256([]byte(c.String()))
	return hex.EncodeToString(sum[:])
}

// String is the settings in force as JSON, defaults filled in, secrets removed.
func (c *Config) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic("BUG: config: " + err.Error())
	}
	return string(b)
}

// Problem is one thing wrong with the file.
type Problem struct {
	File         string
	Line, Column int    // from 1
	Key          string // path of the key, such as "channels[1].id"
	Zh, En       string // what is wrong and the remedy, one sentence each
}

func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + itoa(p.Line) + ":" + itoa(p.Column)
	}
	if p.Key != "" {
		s += ": " + p.Key
	}
	return s + ": " + p.Zh + " / " + p.En
}

// Error is everything wrong with the file, in order of place.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}
