package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of fields. The schemas repeat them; a test compares the two.
const (
	maxID       = 128  // ids, codes, units
	maxName     = 200  // names of people, rooms and bodies
	maxText     = 1000 // sentences
	maxNote     = 4096 // a signed note
	maxFaults   = 200
	maxMeasures = 1000
	maxItems    = 1000
	maxOfficers = 50
	maxFailed   = 200
	maxFlags    = 10
	maxNumber   = 1<<53 - 1 // what JSON readers of other languages hold exactly
)

// Sets of characters, beside those in between.
const (
	digits = "0123456789"
	hex    = digits + "abcdef"
	az     = "abcdefghijklmnopqrstuvwxyz"
	word   = az + digits + "._-"
	ident  = word + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + az + digits + "+/="
)

// checker keeps the first limit that was broken, and where.
type checker struct {
	path []string
	err  error
}

func (c *checker) fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s", strings.Join(append(slices.Clone(c.path), field), "."), fmt.Sprintf(format, args...))
	}
}

// in checks what lies under field.
func (c *checker) in(field string, check func(*checker)) {
	c.path = append(c.path, field)
	check(c)
	c.path = c.path[:len(c.path)-1]
}

// each checks the entries of a list that may have at most max.
func each[T any](c *checker, field string, list []T, max int, check func(*T, *checker)) {
	if len(list) > max {
		c.fail(field, "%d entries, want at most %d", len(list), max)
		return
	}
	for i := range list {
		if c.err != nil {
			return
		}
		c.in(fmt.Sprintf("%s[%d]", field, i), func(c *checker) { check(&list[i], c) })
	}
}

// text wants min to max characters, none a control character other than tab and line feed.
func (c *checker) text(field, s string, min, max int) {
	if n := utf8.RuneCountInString(s); n < min || n > max {
		c.fail(field, "%d characters, want %d to %d", n, min, max)
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' || r == 0x7f {
			c.fail(field, "holds the control character %U", r)
		}
	}
}

// chars wants min to max characters, all out of set.
func (c *checker) chars(field, s string, min, max int, set string) {
	if len(s) < min || len(s) > max {
		c.fail(field, "%d characters, want %d to %d", len(s), min, max)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(set, r) }); i >= 0 {
		c.fail(field, "%q: only %s may stand here", short(s), set)
	}
}

// exactly wants n characters out of set, or nothing where it may be left out.
func (c *checker) exactly(field, s string, n int, set string, optional bool) {
	if s != "" || !optional {
		c.chars(field, s, n, n, set)
	}
}

func (c *checker) pair(field string, t *Text) {
	if t != nil {
		c.in(field, func(c *checker) { c.text("zh", t.Zh, 1, maxText); c.text("en", t.En, 1, maxText) })
	}
}

func (c *checker) oneOf(field, s string, of ...string) {
	if !slices.Contains(of, s) {
		c.fail(field, "%q, want one of %s", short(s), strings.Join(of, ", "))
	}
}

func (c *checker) number(field string, n, min, max int64) {
	if n < min || n > max {
		c.fail(field, "%d, want %d to %d", n, min, max)
	}
}

func (c *checker) time(field string, t time.Time) {
	if t.IsZero() {
		c.fail(field, "missing")
	}
}

func (c *checker) device(s string) { c.chars("device", s, 1, 64, az+digits+"-") }

// value wants a finite number, a text, a truth value or nothing.
func (c *checker) value(field string, v any) {
	switch v := v.(type) {
	case nil, bool:
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			c.fail(field, "not a finite number")
		}
	case string:
		c.text(field, v, 0, maxText)
	default:
		c.fail(field, "%T, want a number, a text, true, false or null", v)
	}
}

func (m State) check(c *checker) {
	c.device(m.Device)
	c.number("bdseq", m.BdSeq, 1, maxNumber)
	c.chars("run", m.Run, 16, 16, hex)
	if m.Online {
		c.time("t", m.T)
		c.chars("boot", m.Boot, 1, 64, hex+"-")
		c.chars("state", m.State, 1, 32, word)
	}
	c.chars("boot", m.Boot, 0, 64, hex+"-")
	c.text("room", m.Room, 0, maxName)
	c.chars("state", m.State, 0, 32, word)
	c.chars("session", m.Session, 0, maxID, ident)
	c.text("version", m.Version, 0, maxID)
	c.exactly("lists", m.Lists, 64, hex, true)
	c.body(m.Body)
	each(c, "faults", m.Faults, maxFaults, func(f *ActiveFault, c *checker) {
		c.chars("code", f.Code, 1, maxID, word)
		c.text("ch", f.Ch, 0, maxName)
	})
}

func (c *checker) body(b *Body) {
	if b != nil {
		c.in("body", func(c *checker) {
			c.text("name", b.Name, 1, maxName)
			c.text("uscc", b.USCC, 0, maxID)
			c.text("system", b.System, 0, maxName)
		})
	}
}

func (m Health) check(c *checker) {
	c.device(m.Device)
	c.time("t", m.T)
	each(c, "measurements", m.Measurements, maxMeasures, func(x *Measurement, c *checker) {
		c.chars("measure", x.Measure, 1, maxID, word)
		c.text("subject", x.Subject, 0, maxName)
		c.value("value", x.Value)
		c.text("unit", x.Unit, 0, maxID)
		c.pair("how", x.How)
		c.pair("unknown", x.Unknown)
		if (x.Value == nil) != (x.Unknown != nil) {
			c.fail("unknown", "want the reason why there is no value, and only then")
		}
	})
}

func (m Compliance) check(c *checker) {
	c.device(m.Device)
	c.time("t", m.T)
	c.in("profile", func(c *checker) {
		c.text("id", m.Profile.ID, 1, maxID)
		c.text("version", m.Profile.Version, 1, maxID)
		c.text("zh", m.Profile.Zh, 0, maxName)
		c.text("en", m.Profile.En, 0, maxName)
	})
	each(c, "items", m.Items, maxItems, func(x *Item, c *checker) {
		c.chars("item", x.Item, 1, maxID, ident)
		c.text("subject", x.Subject, 0, maxName)
		c.oneOf("verdict", x.Verdict, Pass, Fail, Unknown, NotApplicable)
		c.value("value", x.Value)
		c.text("limit", x.Limit, 0, maxText)
		c.text("unit", x.Unit, 0, maxID)
		c.text("clause", x.Clause, 0, maxText)
		c.chars("basis", x.Basis, 1, 32, word)
		c.chars("seen", x.Seen, 0, 32, word)
		c.time("since", x.Since)
		c.oneOf("severity", x.Severity, "must", "should", "info")
		c.pair("why", x.Why)
		if x.Verdict == Unknown && x.Why == nil {
			c.fail("why", "missing: an unknown verdict needs its reason")
		}
		c.text("zh", x.Zh, 1, maxText)
		c.text("en", x.En, 1, maxText)
	})
}

func (m Numbered) check(c *checker) {
	c.device(m.Device)
	c.chars("outbox", m.Outbox, 16, 16, hex)
	c.number("n", m.N, 1, maxNumber)
	c.time("t", m.T)
	if _, ok := KindOf(m.Type); !ok {
		c.fail("type", "%q: want session.…, alarm.… or command.…", short(m.Type))
	}
	if len(m.Body) == 0 || m.Body[0] != '{' {
		c.fail("body", "want an object")
	}
	if c.err == nil {
		c.err = m.checkBody()
	}
}

// checkBody checks the body of the types this version knows.
func (m Numbered) checkBody() (err error) {
	switch m.Type {
	case SessionOpened, SessionPaused, SessionResumed, SessionSealed, SessionRecovered, SessionAmended, SessionNotRecorded, SessionCommanded,
		SessionArchived, SessionKept, SessionHeld, SessionReleased, SessionMoved, SessionDestroyed:
		_, err = m.Session()
	case SessionAccessed:
		_, err = m.Look()
	case AlarmRaised, AlarmCleared:
		_, err = m.Alarm()
	case CommandWasRefused:
		_, err = m.Refused()
	}
	return err
}

func (m SessionEvent) check(c *checker) {
	c.chars("session", m.Session, 1, maxID, ident)
	c.command(m.Command, m.Do, 0)
	c.chars("trigger", m.Trigger, 0, maxID, word)
	c.chars("continues", m.Continues, 0, maxID, ident)
	c.body(m.Body)
	c.text("case", m.Case, 0, maxName)
	c.text("matter", m.Matter, 0, maxName)
	c.officers(m.Officers)
	c.text("who", m.Who, 0, maxName)
	each(c, "flags", m.Flags, maxFlags, func(s *string, c *checker) { c.chars("", *s, 1, 32, word) })
	c.chars("kind", m.Kind, 0, 32, word)
	c.text("reason", m.Reason, 0, maxText)
	c.number("media_ms", m.MediaMS, 0, maxNumber)
	c.exactly("manifest", m.Manifest, 64, hex, true)
	c.number("copies", int64(m.Copies), 0, 100)
	c.text("where", m.Where, 0, maxText)
	c.exactly("receipt", m.Receipt, 64, hex, true)
	c.chars("keep_until", m.Until, 0, 32, word)
	each(c, "failed", m.Failed, maxFailed, func(s *string, c *checker) { c.text("", *s, 1, maxName) })
}

func (c *checker) command(id, do string, min int) {
	c.chars("command", id, min, 64, ident)
	c.chars("do", do, min, 32, word)
}

func (c *checker) officers(list []Officer) {
	each(c, "officers", list, maxOfficers, func(o *Officer, c *checker) {
		c.text("name", o.Name, 1, maxName)
		c.text("credential", o.Credential, 0, maxName)
	})
}

func (m Alarm) check(c *checker) {
	c.chars("code", m.Code, 1, maxID, word)
	c.text("ch", m.Ch, 0, maxName)
	c.oneOf("severity", string(m.Severity), string(Failure), string(Impairs), string(Warning))
	c.text("zh", m.Zh, 1, maxText)
	c.text("en", m.En, 1, maxText)
	c.text("do_zh", m.DoZh, 1, maxText)
	c.text("do_en", m.DoEn, 1, maxText)
}

func (m CommandRefused) check(c *checker) {
	c.command(m.Command, m.Do, 1)
	c.text("who", m.Who, 0, maxName)
	c.chars("code", m.Code, 1, maxID, word)
	c.text("zh", m.Zh, 1, maxText)
	c.text("en", m.En, 1, maxText)
}

func (m Ack) check(c *checker) {
	c.chars("outbox", m.Outbox, 16, 16, hex)
	c.number("upto", m.UpTo, 0, maxNumber)
}

func (m Command) check(c *checker) {
	c.chars("id", m.ID, 1, 64, ident)
	c.chars("do", m.Do, 1, 32, word)
	c.time("t", m.T)
	c.text("who", m.Who, 1, maxName)
	c.body(m.Body)
	c.text("case", m.Case, 0, maxName)
	c.text("matter", m.Matter, 0, maxName)
	c.officers(m.Officers)
	c.text("text", m.Text, 0, maxText)
	c.text("reason", m.Reason, 0, maxText)
}
