package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/health"
	"minglu/drivers"
	"minglu/drivers/overlay"
)

// oldClimate is how long a reading of the room's air may stand in the picture.
const oldClimate = time.Minute

// captions makes the text of pictures that this board codes. What it is asked for it takes from the running agent.
type captions struct {
	text    []string // of time, place, climate, case, as configured
	room    string
	font    *overlay.Font
	sensor  bool // there is a thermometer
	now     func() clock.Reading
	climate func() *health.ClimateFact // newest reading; nil: none yet
	caseNo  func() string              // of the session under way; "": none, or not entered
}

// newCaptions takes the font as configured. One that cannot be read is told, and replaced by the built-in one.
func newCaptions(cfg *config.Config, log *slog.Logger) *captions {
	t := &captions{text: cfg.Overlay.Text, room: cfg.Device.Room, sensor: cfg.Thermometer != nil, font: overlay.Builtin(),
		now:     func() clock.Reading { return clock.Reading{T: time.Now(), Error: -1, Up: clock.Uptime()} },
		climate: func() *health.ClimateFact { return nil }, caseNo: func() string { return "" }}
	find := overlay.Find
	if cfg.Overlay.Font != config.FontAuto {
		find = func() (*overlay.Font, error) { return overlay.Open(cfg.Overlay.Font) }
	}
	f, err := find()
	if err != nil {
		log.Error("text in pictures is drawn with the built-in font, without Chinese", "err", err)
		return t
	}
	t.font = f
	return t
}

// captions of the agent follow its clock, its thermometer and its session.
func (a *agent) captions() *captions {
	t := newCaptions(a.cfg, a.log)
	t.now = a.clock.Now
	t.climate = func() *health.ClimateFact {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.climate
	}
	t.caseNo = func() string {
		c := a.running()
		if c == nil {
			return ""
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.details.Case
	}
	return t
}

// caption is the text of one channel.
type caption struct {
	*captions
	channel string // as people call it
	any     bool   // it is drawn with a font of its own, which has every character
}

// of is the text of a channel whose pictures are drawn on with font; nil where nothing is to be drawn.
func (t *captions) of(channel string) drivers.Overlay {
	if len(t.text) == 0 {
		return nil
	}
	return &caption{captions: t, channel: channel}
}

// ofCommand is the text of a channel whose command draws it, with a font it names itself.
func (t *captions) ofCommand(channel string) drivers.Overlay {
	return &caption{captions: t, channel: channel, any: true}
}

func (c *caption) draws(s string) bool { return c.any || c.font.Has(s) }

func (c *caption) has(what string) bool { return slices.Contains(c.text, what) }

func (c *caption) place() string {
	if c.channel == "" || c.channel == c.room {
		return c.room
	}
	return c.room + " " + c.channel
}

// Shown says what stands in every picture of the channel.
func (c *caption) Shown() drivers.Shown {
	by := func(there bool) drivers.ShownBy {
		if there {
			return drivers.ShownByBoard
		}
		return drivers.ShownUnknown // whatever the camera itself may have drawn is still there
	}
	return drivers.Shown{Time: by(c.has("time")), Place: by(c.has("place") && c.draws(c.place())), Climate: by(c.has("climate") && c.sensor), Case: by(c.has("case") && c.draws(caseWord))}
}

const caseWord = "案号"

// Lines is the text at uptime at: date, time and how sure they are; place and climate; the case.
func (c *caption) Lines(at time.Duration) (lines []string) {
	if c.has("time") {
		lines = append(lines, c.time(at))
	}
	var second []string
	if p := c.place(); c.has("place") && c.draws(p) {
		second = append(second, p)
	}
	if c.has("climate") && c.sensor {
		second = append(second, c.air(at))
	}
	if len(second) > 0 {
		lines = append(lines, strings.Join(second, "  "))
	}
	if no := c.caseNo(); no != "" && c.has("case") && c.draws(caseWord+no) {
		lines = append(lines, caseWord+" "+no)
	}
	return lines
}

// time is the moment at by this board's clock, in its zone, and what is known of the clock's error.
func (c *caption) time(at time.Duration) string {
	r := c.now()
	text := r.T.Add(at - r.Up).Local().Format("2006-01-02 15:04:05 -07:00")
	zh, en := "", ""
	switch {
	case r.BeforeFloor:
		zh, en = " 时钟未设置", " CLOCK NOT SET"
	case r.Error < 0:
		zh, en = " 未校时", " UNVERIFIED"
	default:
		sign := " ±"
		if !c.draws(sign) {
			sign = " +-"
		}
		return text + sign + uncertainty(r.Error).String()
	}
	if c.draws(zh) {
		return text + zh
	}
	return text + en
}

// uncertainty is an error bound as it is shown, never less than it is.
func uncertainty(d time.Duration) time.Duration {
	step := time.Millisecond
	if d > time.Second {
		step = time.Second
	}
	return (d + step - 1).Truncate(step)
}

// air is the room's climate, or that it is not known.
func (c *caption) air(at time.Duration) string {
	f := c.climate()
	if f == nil || at-f.At > oldClimate {
		return "--.- C --%RH"
	}
	degree := "°C"
	if !c.draws(degree) {
		degree = "C"
	}
	s := fmt.Sprintf("%.1f%s", f.Celsius, degree)
	if f.Humidity != nil {
		s += fmt.Sprintf(" %.0f%%RH", *f.Humidity)
	}
	return s
}

// stated is a source whose pictures a person has looked at: what the driver does not know, the statement tells.
type stated struct {
	drivers.Source
	shown drivers.Shown
}

func (s stated) Run(ctx context.Context, out drivers.Sink) error {
	return s.Source.Run(ctx, statedSink{out, s.shown})
}

type statedSink struct {
	drivers.Sink
	shown drivers.Shown
}

func (s statedSink) Open(d drivers.Description) {
	if d.Shown == (drivers.Shown{}) {
		d.Shown = s.shown
	}
	s.Sink.Open(d)
}

// statement is what the configuration says that somebody saw.
func statement(s *config.Shown) drivers.Shown {
	return drivers.Shown{Time: drivers.ShownBy(s.Time), Place: drivers.ShownBy(s.Place), Climate: drivers.ShownBy(s.Climate), Case: drivers.ShownBy(s.Case), Stated: s.By + " " + s.On}
}
