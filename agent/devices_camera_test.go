package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/health"
	"minglu/drivers"
	"minglu/drivers/overlay"
)

func textConfig() *config.Config {
	return &config.Config{Device: config.Device{Room: "询问室三"}, Overlay: config.Overlay{Text: []string{"time", "place", "climate", "case"}, Font: config.FontAuto}, Thermometer: &config.Thermometer{}}
}

// TestCamerasOfTheBoard: what the configuration names becomes a source, and prints no password.
func TestCamerasOfTheBoard(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for _, c := range []config.Camera{
		{V4L2: &config.V4L2{Device: "/dev/v4l/by-id/x", Format: "H264", Controls: []string{"brightness=1"}}},
		{Pipeline: &config.CameraPipeline{Command: config.Command{"ffmpeg", "{overlay}"}}},
	} {
		if s, err := source(config.Channel{ID: "face", Name: "face", Camera: &c}, nil, nil, newCaptions(textConfig(), quiet), quiet); err != nil || s == nil {
			t.Errorf("source(%+v) = %v, %v", c, s, err)
		}
	}
}

// TestCaptions: what stands in a picture, and what is told of it.
func TestCaptions(t *testing.T) {
	const up = time.Hour
	local := time.Local
	time.Local = time.FixedZone("CST", 8*3600)
	t.Cleanup(func() { time.Local = local })
	now := clock.Reading{T: time.Date(2026, 11, 25, 10, 46, 29, 500e6, time.UTC), Up: up, Error: 2500 * time.Microsecond}
	humid := 45.2
	air := &health.ClimateFact{At: up - 30*time.Second, Celsius: 23.44, Humidity: &humid}
	all := drivers.Shown{Time: drivers.ShownByBoard, Place: drivers.ShownByBoard, Climate: drivers.ShownByBoard, Case: drivers.ShownByBoard}
	for _, tt := range []struct {
		rule   string
		change func(*captions)
		at     time.Duration
		want   []string
		shown  drivers.Shown
	}{
		{"everything", func(*captions) {}, up, []string{"2026-11-25 18:46:29 +08:00 ±3ms", "询问室三 被询问人  23.4°C 45%RH", "案号 渝市监〔2026〕3号"}, all},
		{"the time is that of the picture", func(*captions) {}, up - 600*time.Millisecond, []string{"2026-11-25 18:46:28 +08:00 ±3ms", "询问室三 被询问人  23.4°C 45%RH", "案号 渝市监〔2026〕3号"}, all},
		{"no case yet", func(c *captions) { c.caseNo = func() string { return "" } }, up, []string{"2026-11-25 18:46:29 +08:00 ±3ms", "询问室三 被询问人  23.4°C 45%RH"}, all},
		{"a clock nobody vouches for", func(c *captions) {
			now.Error = -1
			c.text = []string{"time"}
		}, up, []string{"2026-11-25 18:46:29 +08:00 未校时"}, drivers.Shown{Time: drivers.ShownByBoard}},
		{"a clock before its floor", func(c *captions) {
			now.BeforeFloor = true
			c.text = []string{"time"}
		}, up, []string{"2026-11-25 18:46:29 +08:00 时钟未设置"}, drivers.Shown{Time: drivers.ShownByBoard}},
		{"a bound of seconds", func(c *captions) {
			now.Error = 2100 * time.Millisecond
			c.text = []string{"time"}
		}, up, []string{"2026-11-25 18:46:29 +08:00 ±3s"}, drivers.Shown{Time: drivers.ShownByBoard}},
		{"an old reading of the air is none", func(c *captions) {
			air.At = up - 2*time.Minute
			c.text = []string{"climate"}
		}, up, []string{"--.- C --%RH"}, drivers.Shown{Climate: drivers.ShownByBoard}},
		{"no thermometer", func(c *captions) { c.sensor, c.text = false, []string{"place", "climate"} }, up, []string{"询问室三 被询问人"}, drivers.Shown{Place: drivers.ShownByBoard}},
		{"a font without Chinese", func(c *captions) { c.font = overlay.Builtin() }, up, []string{"2026-11-25 18:46:29 +08:00 +-3ms", "23.4C 45%RH"}, drivers.Shown{Time: drivers.ShownByBoard, Climate: drivers.ShownByBoard}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			was, airWas := now, *air
			defer func() { now, *air = was, airWas }()
			c := newCaptions(textConfig(), slog.New(slog.DiscardHandler))
			c.now = func() clock.Reading { return now }
			c.climate = func() *health.ClimateFact { return air }
			c.caseNo = func() string { return "渝市监〔2026〕3号" }
			tt.change(c)
			o := c.of("被询问人")
			if got := o.Lines(tt.at); !slices.Equal(got, tt.want) {
				t.Errorf("Lines() = %q, want %q", got, tt.want)
			}
			if got := o.Shown(); got != tt.shown {
				t.Errorf("Shown() = %+v, want %+v", got, tt.shown)
			}
		})
	}
	off := textConfig()
	off.Overlay.Text = nil
	if o := newCaptions(off, slog.New(slog.DiscardHandler)).of("x"); o != nil {
		t.Errorf("nothing is to be drawn, and there is %v", o)
	}
}

// once is a source that describes itself and ends.
type once struct{ d drivers.Description }

func (s once) Run(_ context.Context, out drivers.Sink) error {
	out.Open(s.d)
	return errors.New("end")
}

type openSink struct {
	drivers.Sink
	d drivers.Description
}

func (s *openSink) Open(d drivers.Description) { s.d = d }

// TestStatement: a person's word stands where the driver knows nothing, and nowhere else.
func TestStatement(t *testing.T) {
	says := statement(&config.Shown{Time: "camera", Place: "none", By: "王某", On: "2026-11-25"})
	if want := (drivers.Shown{Time: drivers.ShownByCam, Place: drivers.ShownByNone, Stated: "王某 2026-11-25"}); says != want {
		t.Errorf("statement() = %+v", says)
	}
	drawn := drivers.Shown{Time: drivers.ShownByBoard}
	for _, tt := range []struct{ driver, want drivers.Shown }{{drivers.Shown{}, says}, {drawn, drawn}} {
		out := &openSink{}
		_ = stated{once{drivers.Description{Shown: tt.driver}}, says}.Run(t.Context(), out)
		if out.d.Shown != tt.want {
			t.Errorf("the driver says %+v, told is %+v", tt.driver, out.d.Shown)
		}
	}
}
