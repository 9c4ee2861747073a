package health

import (
	"slices"
	"time"

	"minglu/agent/standard"
)

// storage measures the disks.
func (h *Health) storage(t *taker) {
	found := h.probes.latest()
	devices := map[uint64]bool{}
	rate := h.bitRate(t.now.Up)
	usable, looked := 0, true
	for _, d := range t.f.Disks {
		k, ok := found.disks[d.Name]
		if d.OK {
			usable++
			if ok && k.err == nil && t.f.written(d.Name) {
				devices[k.device] = true
			}
			looked = looked && ok
		}
		switch {
		case !d.OK:
			t.num("storage.hours_left", d.Name, "h", 0, howHours) // nothing fits on a disk that cannot be written
		case d.Free < 0 || rate <= 0:
			t.unknown("storage.hours_left", d.Name, "h", whyNoRate)
		default:
			t.num("storage.hours_left", d.Name, "h", float64(max(0, d.Free))*8/float64(rate)/3600, howHours)
		}
		switch {
		case !ok:
			t.unknown("storage.wear", d.Name, "ratio", whyProbing)
			t.unknown("storage.user_deletable", d.Name, "", whyProbing)
			continue
		case k.err != nil:
			t.unknown("storage.wear", d.Name, "ratio", whyDiskError)
			t.unknown("storage.user_deletable", d.Name, "", whyDiskError)
			continue
		case k.worn == nil:
			t.unknown("storage.wear", d.Name, "ratio", k.wornWhy)
		default:
			t.num("storage.wear", d.Name, "ratio", *k.worn, howWear)
		}
		t.add("storage.user_deletable", d.Name, "", standard.Bool(k.open != "" || t.f.APIDeletes), t.now.Up, howModes)
	}
	if len(t.f.Disks) == 0 {
		for _, m := range []named{{"storage.hours_left", "h"}, {"storage.wear", "ratio"}, {"storage.user_deletable", ""}} {
			t.unknown(m.measure, "", m.unit, whyNoDisk)
		}
	}
	if usable > 0 && !looked {
		t.unknown("storage.copies", "", "copies", whyProbing)
		return
	}
	t.num("storage.copies", "", "copies", float64(len(devices)), howDisks)
}

// written reports whether a disk holds what the session records, or would hold what one did.
func (f *Facts) written(disk string) bool {
	return f.Session == nil || f.Session.Disks == nil || slices.Contains(f.Session.Disks, disk)
}

// bitRate is what all channels deliver, or last delivered, in bit/s; 0 unknown.
func (h *Health) bitRate(now time.Duration) int64 {
	rate := int64(0)
	for _, c := range h.order {
		c.mu.Lock()
		for _, t := range c.tracks {
			if b, of := t.sum(now, rateSeconds); of > 0 {
				rate += 8 * b.bytes / of
			}
		}
		c.mu.Unlock()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if rate > 0 {
		h.rate = rate
	}
	return h.rate
}

// session measures the session under way.
func (h *Health) session(t *taker) {
	t.optional("recorder.longest_run", "h", time.Hour, t.f.LongestRun, whyNever, howKeeping)
	if n := len(t.out) - 1; t.f.LongestRun != nil {
		t.out[n].AtLeast = true
	}
	t.optional("recorder.resume_after_power", "s", time.Second, t.f.ResumeAfter, whyNoPower, howKeeping)
	t.optional("evidence.last_verified_age", "h", time.Hour, t.f.LastVerified, whyNever, howRegister)
	switch {
	case !t.f.Stamps.Configured:
		t.unknown("evidence.untimestamped_for", "", "s", whyNoStamps)
	default:
		t.optional("evidence.untimestamped_for", "s", time.Second, t.f.Stamps.UnstampedIn, whyStampsOpen, howKeeping)
	}
	if !t.f.Archive.Configured {
		t.unknown("archive.oldest_unsent", "", "h", whyNoArchive)
	} else {
		t.optional("archive.oldest_unsent", "h", time.Hour, t.f.Archive.OldestFor, whyNotYet, howArchive)
	}
	if t.f.Archive.Early == nil {
		t.unknown("archive.early_deletions", "", "sessions", whyNotYet)
	} else {
		t.num("archive.early_deletions", "", "sessions", float64(*t.f.Archive.Early), howKeeping)
	}
	if t.f.LastPrecheck == nil {
		t.unknown("session.precheck", "", "", whyNoSession)
	} else {
		t.add("session.precheck", "", "", standard.Bool(*t.f.LastPrecheck), t.now.Up, howLog)
	}
	s := t.f.Session
	last := h.lastTrigger(s)
	if s == nil {
		for _, m := range []named{{"record.gap_total", "s"}, {"session.notice_after", "s"}, {"lamp.lag", "s"}} {
			t.unknown(m.measure, "", m.unit, whyNoSession)
		}
		t.optional("session.trigger_to_record", "s", time.Second, last, whyNoSession, howLast)
		t.num("evidence.unsigned_for", "", "s", 0, howSession) // nothing is waiting for a signature
		return
	}
	t.num("evidence.unsigned_for", "", "s", s.Unsigned.Seconds(), howSession)
	for _, c := range h.order {
		if gap, ok := s.GapTotal[c.ID]; ok {
			t.num("record.gap_total", c.ID, "s", gap.Seconds(), howSession)
		} else {
			t.unknown("record.gap_total", c.ID, "s", whyNoGapSum)
		}
	}
	t.elapsed("session.notice_after", s.NoticeAfter, s.Began)
	t.elapsed("session.trigger_to_record", s.TriggerToRecord, s.Began)
	t.optional("lamp.lag", "s", time.Second, s.LampLag, whyNoLamp, howSession)
}

// lastTrigger is how long the newest session that recorded took to do so, nil if none has yet.
func (h *Health) lastTrigger(s *SessionFact) *time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s != nil && s.TriggerToRecord != nil {
		h.trigger = s.TriggerToRecord
	}
	return h.trigger
}

// elapsed adds how long something took since began, or that it has taken at least this long.
func (t *taker) elapsed(measure string, took *time.Duration, began time.Duration) {
	d := max(0, t.now.Up-began)
	if took != nil {
		d = *took
	}
	t.num(measure, "", "s", d.Seconds(), howLog)
	t.out[len(t.out)-1].AtLeast = took == nil
}

// clock measures the wall clock.
func (h *Health) clock(t *taker) {
	switch r := t.now; {
	case r.BeforeFloor:
		t.unknown("clock.error", "", "s", whyClockBad)
	case r.Error < 0:
		t.unknown("clock.error", "", "s", whyUnverified)
	default:
		t.add("clock.error", "", "s", standard.Number(round(r.Error.Seconds(), 6)), r.Up, howClock)
	}
	t.add("clock.before_build", "", "", standard.Bool(t.now.BeforeFloor), t.now.Up, howFloor)
	from := t.now.Up - stepsLookIdle
	if t.f.Session != nil {
		from = t.f.Session.Began
	}
	t.num("clock.step_max", "", "s", h.stepMax(from).Seconds(), howSteps)
}

// stepMax is the largest jump of the wall clock since an uptime.
func (h *Health) stepMax(from time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	most := time.Duration(0)
	for _, s := range h.steps {
		if s.at >= from {
			most = max(most, s.by.Abs())
		}
	}
	return most
}

// roomAndBoard measures the air, the supply, the certificate and the way to the office.
func (h *Health) roomAndBoard(t *taker) {
	why := whySensorMute
	if !t.f.HasThermometer {
		why = whyNoSensor
	}
	if c := t.f.Climate; c != nil {
		t.num("climate.age", "", "s", (t.now.Up - c.At).Seconds(), howSensor)
		t.add("climate.temperature", "", "°C", standard.Number(round(c.Celsius, 2)), c.At, howSensor)
		if c.Humidity != nil {
			t.add("climate.humidity", "", "%RH", standard.Number(round(*c.Humidity, 1)), c.At, howSensor)
		} else {
			t.unknown("climate.humidity", "", "%RH", whyNoHumidity)
		}
	} else {
		for _, m := range []named{{"climate.age", "s"}, {"climate.temperature", "°C"}, {"climate.humidity", "%RH"}} {
			t.unknown(m.measure, "", m.unit, why)
		}
	}
	found := h.probes.latest()
	t.supply(found.underVolt)
	if found.celsius != nil {
		t.num("board.temperature", "", "°C", *found.celsius, howThermal)
	} else {
		t.unknown("board.temperature", "", "°C", whyNoThermal)
	}
	switch {
	case t.now.BeforeFloor:
		t.unknown("device.certificate_days_left", "", "d", whyClockBad)
	case t.f.CertDaysLeft == nil:
		t.unknown("device.certificate_days_left", "", "d", whyCert)
	default:
		t.num("device.certificate_days_left", "", "d", *t.f.CertDaysLeft, howCert)
	}
	if t.f.Unexplained != nil {
		t.num("access.without_reason", "", "views", float64(*t.f.Unexplained), howLooks)
	} else {
		t.unknown("access.without_reason", "", "views", whyRegister)
	}
	switch u := t.f.Uplink; {
	case !u.Configured:
		t.unknown("uplink.offline_for", "", "h", whyNoOffice)
	default: // one that never acknowledged has been away since the start at least
		t.num("uplink.offline_for", "", "h", (t.now.Up - max(u.LastAck, h.began)).Hours(), howAck)
	}
}

// supply measures mains and battery. under is the board's own flag of a low voltage, nil if it has none: then the battery's voltage,
// behind which the board hangs, tells.
func (t *taker) supply(under *bool) {
	p := t.f.Power
	switch {
	case under != nil:
		t.add("power.undervoltage", "", "", standard.Bool(*under), t.now.Up, howHwmon)
	case p != nil:
		t.add("power.undervoltage", "", "", standard.Bool(p.Low), p.At, howMeter)
	default:
		t.unknown("power.undervoltage", "", "", whyNoHwmon)
	}
	if !t.f.HasBattery {
		return
	}
	if p == nil {
		t.unknown("power.mains", "", "", whyMeterMute)
		t.unknown("power.battery_charge", "", "ratio", whyMeterMute)
		return
	}
	t.add("power.mains", "", "", standard.Bool(p.Mains), p.At, howMeter)
	t.add("power.battery_charge", "", "ratio", standard.Number(round(p.Charge, 3)), p.At, howMeter)
	if p.Left != nil {
		t.add("power.battery_left", "", "min", standard.Number(round(p.Left.Minutes(), 1)), p.At, howMeter)
	}
}
