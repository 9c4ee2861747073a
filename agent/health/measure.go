package health

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"minglu/agent/clock"
	"minglu/agent/standard"
	"minglu/drivers"
)

const (
	startGrace    = 5 * time.Second  // a source is not missed right after the start
	goneAfter     = 2 * time.Second  // without data rates mean nothing
	oldReport     = 60 * time.Second // cameras send a report every few seconds
	oldPicture    = 5 * time.Second  // beyond the time between keyframes
	stepsLookIdle = time.Hour        // over which steps count while no session runs
)

// taker gathers the measurements of one look.
type taker struct {
	now clock.Reading
	f   *Facts
	out []standard.Measurement
}

func (t *taker) add(measure, subject, unit string, v standard.Value, at time.Duration, how text) {
	t.out = append(t.out, standard.Measurement{Measure: measure, Subject: subject, Value: v, Unit: unit, At: at, How: how})
}

func (t *taker) num(measure, subject, unit string, v float64, how text) {
	t.add(measure, subject, unit, standard.Number(round(v, 3)), t.now.Up, how)
}

func (t *taker) unknown(measure, subject, unit string, why text) {
	t.out = append(t.out, standard.Measurement{Measure: measure, Subject: subject, Unit: unit, At: t.now.Up, Unknown: why})
}

// optional adds d in a unit, or why there is none.
func (t *taker) optional(measure, unit string, of time.Duration, d *time.Duration, why, how text) {
	if d == nil {
		t.unknown(measure, "", unit, why)
		return
	}
	t.num(measure, "", unit, float64(*d)/float64(of), how)
}

// measure takes everything once.
func (h *Health) measure(f *Facts, now clock.Reading) []standard.Measurement {
	t := &taker{now: now, f: f}
	cameras, views, sounds := 0, 0, 0
	for _, c := range h.order {
		fact := f.channel(c.ID)
		if f.Paused {
			c.rest(now.Up)
		}
		if c.Camera {
			cameras++
			if fact.SampleAge >= 0 && fact.SampleAge <= goneAfter {
				views++
			}
			h.video(t, c, fact)
			h.pictures(t, c, fact)
			t.shown(c.ID, fact)
		}
		if h.audio(t, c, fact) {
			sounds++
		}
	}
	if cameras == 0 {
		for _, m := range pictureMeasures {
			t.unknown(m.measure, "", m.unit, whyNoCamera)
		}
	}
	if sounds == 0 {
		for _, m := range soundMeasures {
			t.unknown(m.measure, "", m.unit, whyNoMic)
		}
	}
	t.num("room.camera_views", "", "views", float64(views), howViews)
	h.storage(t)
	h.session(t)
	h.clock(t)
	h.roomAndBoard(t)
	for _, u := range unmeasured {
		t.unknown(u.measure, "", "", u.why)
	}
	slices.SortStableFunc(t.out, func(a, b standard.Measurement) int {
		return cmp.Or(cmp.Compare(a.Measure, b.Measure), cmp.Compare(a.Subject, b.Subject))
	})
	return t.out
}

func (f *Facts) channel(id string) ChannelFact {
	for _, c := range f.Channels {
		if c.ID == id {
			return c
		}
	}
	return ChannelFact{ID: id, SampleAge: -1}
}

// shown adds what can be read in the pictures. It is never guessed: it is known by construction, or stated by a person.
func (t *taker) shown(subject string, c ChannelFact) {
	how := howDrawn
	if by := c.Shown.Stated; by != "" {
		how = text{Zh: "人工声明：" + by, En: "stated by " + by}
	}
	for _, m := range []struct {
		measure string
		by      drivers.ShownBy
	}{{"picture.time_overlay", c.Shown.Time}, {"picture.place_overlay", c.Shown.Place}, {"picture.climate_overlay", c.Shown.Climate}} {
		switch {
		case !c.Connected && m.by == drivers.ShownUnknown && c.SampleAge < 0:
			t.unknown(m.measure, subject, "", whyNoFrames)
		case m.by == drivers.ShownUnknown:
			t.unknown(m.measure, subject, "", whyNotRead)
		default:
			t.add(m.measure, subject, "", standard.Bool(m.by != drivers.ShownByNone), t.now.Up, how)
		}
	}
}

type named struct{ measure, unit string }

var (
	pictureMeasures = []named{{"video.width", "px"}, {"video.height", "px"}, {"video.fps", "frame/s"}, {"video.codec", ""},
		{"video.keyframe_interval", "s"}, {"video.bitrate", "bit/s"}, {"video.since_last_frame", "s"}, {"record.frames_lost", "ratio"},
		{"camera.clock_offset", "s"}, {"picture.black_for", "s"}, {"picture.frozen_for", "s"}, {"picture.covered_for", "s"},
		{"picture.sharpness_ratio", "ratio"}, {"picture.scene_match", "ratio"}, {"picture.time_overlay", ""}, {"picture.place_overlay", ""}, {"picture.climate_overlay", ""}}
	soundMeasures = []named{{"audio.since_last_sample", "s"}, {"audio.sample_rate", "Hz"}, {"audio.silent_for", "s"}, {"audio.clipped", "ratio"}, {"audio.overruns", "1/h"}}
)

// age adds since when a channel delivers nothing.
func (t *taker) age(measure, subject string, age, up time.Duration) {
	switch {
	case age >= 0:
		t.num(measure, subject, "s", age.Seconds(), howAge)
	case up < startGrace:
		t.unknown(measure, subject, "s", whyStarting)
	default:
		t.num(measure, subject, "s", up.Seconds(), howAge)
	}
}

// video measures the stream of a camera.
func (h *Health) video(t *taker, c *channel, fact ChannelFact) {
	t.age("video.since_last_frame", c.ID, fact.SampleAge, t.now.Up-h.began)
	c.mu.Lock()
	defer c.mu.Unlock()
	why := text{}
	var v *track
	switch {
	case t.f.Paused:
		why = whyPaused
	case len(c.tracks) == 0 || !c.tracks[0].format.Codec.Video() || !c.tracks[0].seen, fact.SampleAge < 0 || fact.SampleAge > goneAfter:
		why = whyNoFrames
	default:
		v = c.tracks[0]
	}
	if v == nil {
		for _, m := range pictureMeasures[:8] {
			if m.measure != "video.since_last_frame" {
				t.unknown(m.measure, c.ID, m.unit, why)
			}
		}
		t.unknown("camera.clock_offset", c.ID, "s", why)
		return
	}
	if v.width > 0 {
		t.num("video.width", c.ID, "px", float64(v.width), howSPS)
		t.num("video.height", c.ID, "px", float64(v.height), howSPS)
	} else {
		t.unknown("video.width", c.ID, "px", whyStarting)
		t.unknown("video.height", c.ID, "px", whyStarting)
	}
	t.add("video.codec", c.ID, "", standard.String(string(v.format.Codec)), t.now.Up, howSPS)
	if b, of := v.sum(t.now.Up, rateSeconds); of > 0 {
		t.num("video.fps", c.ID, "frame/s", float64(b.frames)/float64(of), howCount)
		t.num("video.bitrate", c.ID, "bit/s", float64(8*b.bytes)/float64(of), howBits)
		t.num("record.frames_lost", c.ID, "ratio", float64(b.missing)/max(1, float64(b.frames+b.missing)), howMissing)
	} else {
		t.unknown("video.fps", c.ID, "frame/s", whyStarting)
		t.unknown("video.bitrate", c.ID, "bit/s", whyStarting)
		t.unknown("record.frames_lost", c.ID, "ratio", whyStarting)
	}
	gap := v.keyGap
	if late := t.now.Up - v.keyAt; v.keyAt > 0 && gap > 0 && late > gap+time.Second {
		gap = late // the next one is overdue
	}
	if gap > 0 {
		t.num("video.keyframe_interval", c.ID, "s", gap.Seconds(), howKeys)
	} else {
		t.unknown("video.keyframe_interval", c.ID, "s", whyStarting)
	}
	r := c.report
	if r == nil || r.NTP.IsZero() || t.now.Up-r.Arrival > oldReport {
		t.unknown("camera.clock_offset", c.ID, "s", whyNoReports)
		return
	}
	here := t.now.T.Add(r.Arrival - t.now.Up)
	t.add("camera.clock_offset", c.ID, "s", standard.Number(round(r.NTP.Sub(here).Abs().Seconds(), 3)), r.Arrival, howReports)
}

// pictures measures what a camera shows.
func (h *Health) pictures(t *taker, c *channel, fact ChannelFact) {
	var failed error
	if c.pictures != nil {
		failed = c.pictures.problem()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.view
	why := text{}
	switch {
	case c.pictures == nil:
		why = whyNoDecoder
	case t.f.Paused:
		why = whyPaused
	case fact.SampleAge < 0 || fact.SampleAge > goneAfter:
		why = whyNoFrames
		v.forget()
	case failed != nil:
		why = whyBroken
		v.forget()
	case !v.seen:
		why = whyNotYet
	case t.now.Up-v.at > oldPicture+2*c.keyGap():
		why = whyNoneLately
	}
	if why != (text{}) {
		for _, m := range pictureMeasures[9:] {
			t.unknown(m.measure, c.ID, m.unit, why)
		}
		return
	}
	seconds := func(measure string, began time.Duration, not text) {
		switch {
		case not != text{}:
			t.unknown(measure, c.ID, "s", not)
		case began < 0:
			t.add(measure, c.ID, "s", standard.Number(0), v.at, howPicture)
		default:
			t.add(measure, c.ID, "s", standard.Number(round((v.at-began).Seconds(), 3)), v.at, howPicture)
		}
	}
	hides := text{}
	switch {
	case v.black >= 0:
		hides = whyBlack
	case v.covered >= 0:
		hides = whyCovered
	}
	seconds("picture.black_for", v.black, text{})
	if v.black >= 0 {
		seconds("picture.covered_for", -1, whyBlack)
	} else {
		seconds("picture.covered_for", v.covered, text{})
	}
	seconds("picture.frozen_for", v.frozen, hides)
	if hides == (text{}) && !v.base.ready() {
		hides = whyLearning
	}
	if hides != (text{}) {
		t.unknown("picture.sharpness_ratio", c.ID, "ratio", hides)
		t.unknown("picture.scene_match", c.ID, "ratio", hides)
		return
	}
	t.add("picture.sharpness_ratio", c.ID, "ratio", standard.Number(round(v.last.sharp/max(v.base.Sharp, 1e-6), 3)), v.at, howBase)
	t.add("picture.scene_match", c.ID, "ratio", standard.Number(round(v.match, 3)), v.at, howBase)
}

// keyGap is the time between keyframes, 0 unknown. c.mu is held.
func (c *channel) keyGap() time.Duration {
	if len(c.tracks) == 0 {
		return 0
	}
	return c.tracks[0].keyGap
}

// audio measures the sound of a channel and reports whether it has any.
func (h *Health) audio(t *taker, c *channel, fact ChannelFact) bool {
	var failed error
	if c.sounds != nil {
		failed = c.sounds.problem()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var a *track
	if i := c.soundTrack(); i >= 0 {
		a = c.tracks[i]
	}
	if c.Camera && a == nil {
		return false
	}
	age := fact.SampleAge
	if c.Camera { // the age capture tells is that of the pictures
		if age = -1; a.seen {
			age = max(0, t.now.Up-a.arrival)
		}
	}
	if c.Camera && t.f.Paused {
		t.unknown("audio.since_last_sample", c.ID, "s", whyPaused)
	} else {
		t.age("audio.since_last_sample", c.ID, age, t.now.Up-h.began)
	}
	t.num("audio.overruns", c.ID, "1/h", float64(c.lossesIn(t.now.Up)), howLosses)
	switch {
	case fact.SourceHz > 0:
		t.num("audio.sample_rate", c.ID, "Hz", float64(fact.SourceHz), howFormat)
	case a == nil:
		t.unknown("audio.sample_rate", c.ID, "Hz", whyNoSound)
	case !c.Camera && a.format.Codec == drivers.Opus:
		t.unknown("audio.sample_rate", c.ID, "Hz", whyRawRate)
	default:
		t.num("audio.sample_rate", c.ID, "Hz", float64(a.format.SampleRateHz), howFormat)
	}
	quiet, clipped, at, how, err := h.level(t, c, a, fact, age, failed)
	var why whyError
	if errors.As(err, &why) {
		t.unknown("audio.silent_for", c.ID, "s", text(why))
		t.unknown("audio.clipped", c.ID, "ratio", text(why))
		return true
	}
	if s := t.f.Session; s != nil { // that it was quiet before the session says nothing
		quiet = min(quiet, max(0, t.now.Up-s.Began))
	}
	t.add("audio.silent_for", c.ID, "s", standard.Number(round(quiet.Seconds(), 3)), at, how)
	t.add("audio.clipped", c.ID, "ratio", standard.Number(round(clipped, 5)), at, how)
	return true
}

// whyError is the reason for an unknown, as an error.
type whyError text

func (w whyError) Error() string { return w.En }

// level is how loud a channel is: by capture for a raw microphone, decoded for a camera. c.mu is held.
func (h *Health) level(t *taker, c *channel, a *track, fact ChannelFact, age time.Duration, failed error) (quiet time.Duration, clipped float64, at time.Duration, how text, err error) {
	s := &c.sound
	switch {
	case t.f.Paused:
		err = whyError(whyPaused)
	case age < 0 || age > startGrace:
		err = whyError(whyNoSound)
	case fact.Level.Known:
		return fact.Level.Quiet, fact.Level.Clipped, t.now.Up, howLevel, nil
	case !c.Camera:
		err = whyError(whyNoLevel)
	case c.sounds == nil:
		err = whyError(whyNoDecoder)
	case a.format.Codec != drivers.AAC && a.format.Codec != drivers.Opus:
		err = whyError(whyCodedElse)
	case failed != nil:
		err = whyError(whyBroken)
	case !s.seen || t.now.Up-s.at > oldPicture:
		err = whyError(whyStarting)
	default:
		return s.at - s.loudAt, s.clipped, s.at, howSound, nil
	}
	return 0, 0, 0, text{}, err
}
