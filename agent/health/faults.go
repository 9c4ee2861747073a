package health

import (
	"slices"
	"strings"
	"time"

	"minglu/agent/clock"
	"minglu/agent/standard"
)

// stepShown is how long a step of the clock is shown.
const stepShown = time.Minute

// fromItems says which fault of the catalogue a failed item is, for its subject.
var fromItems = []struct{ item, code string }{
	{"camera.black", "picture.black"},
	{"camera.frozen", "picture.frozen"},
	{"camera.covered", "picture.covered"},
	{"camera.blur", "picture.blurred"},
	{"camera.moved", "picture.moved"},
	{"camera.fps", "picture.slow"},
	{"rec.drops", "picture.lossy"},
	{"mic.silence", "sound.silent"},
	{"mic.clipping", "sound.clipping"},
	{"mic.loss", "sound.lossy"},
	{"rec.hours", "disk.low"},
	{"rec.wear", "disk.worn"},
	{"rec.signed", "record.unsigned"},
	{"time.error", "clock.inaccurate"},
	{"time.camera", "camera.clock"},
	{"room.climate_age", "climate.stale"},
	{"net.offline", "uplink.offline"},
	{"power.supply", "power.low"},
	{"board.temperature", "board.hot"},
	{"security.identity", "certificate.expiring"},
}

// look measures and judges once, and tells what changed.
func (h *Health) look() {
	f, now := h.o.Facts(), h.o.Now()
	ms := h.measure(&f, now)
	state, verdicts := standard.Step(h.o.Profile, h.state, ms, standard.Facts{Recording: f.Recording && !f.Paused, Closed: f.Closed, Class: f.Class}, now.Up)
	h.state = state
	faults := h.faults(verdicts, &f, now)
	r := Report{At: now, Measurements: ms, Verdicts: verdicts, Faults: faults}
	h.mu.Lock()
	r.VerdictsChanged = standard.Changed(h.last.Verdicts, verdicts)
	h.mu.Unlock()
	r.FaultsChanged = h.tell(faults)
	h.mu.Lock()
	h.last = r
	h.mu.Unlock()
	h.o.Report(r)
}

// faults are those that stand now.
func (h *Health) faults(verdicts []standard.Verdict, f *Facts, now clock.Reading) []Fault {
	out := h.failed(verdicts, f, now, h.standing)
	if h.stepMax(now.Up-stepShown) > 0 {
		out = append(out, Fault{Code: "clock.step"})
	}
	for i := range out {
		out[i].Since = h.standsSince(out[i].Code, out[i].Ch, now.Up)
	}
	return out
}

// failed turns verdicts and the clock into faults.
func (h *Health) failed(verdicts []standard.Verdict, f *Facts, now clock.Reading, standing []Fault) (out []Fault) {
	for i := range verdicts {
		if v := &verdicts[i]; v.Result == standard.Fail {
			if code := h.code(v, f, standing, now.Up); code != "" {
				out = append(out, Fault{Code: code, Ch: v.Subject})
			}
		}
	}
	switch {
	case now.BeforeFloor:
		out = append(out, Fault{Code: "clock.behind"})
	case now.Error < 0:
		out = append(out, Fault{Code: "clock.unverified"})
	}
	return out
}

// code is the fault of a failed item, "" if it is none.
func (h *Health) code(v *standard.Verdict, f *Facts, standing []Fault, up time.Duration) string {
	switch v.Item {
	case "camera.signal":
		return CameraFault(f.channel(v.Subject), standing, up)
	case "rec.hours": // a disk that cannot be written has a fault of its own, from the recorder
		if slices.ContainsFunc(f.Disks, func(d DiskFact) bool { return d.Name == v.Subject && !d.OK }) {
			return ""
		}
	case "mic.present":
		if c := h.channels[v.Subject]; c != nil && c.Camera {
			return "sound.gone"
		}
		return "microphone.gone"
	}
	for _, m := range fromItems {
		if m.item == v.Item {
			return m.code
		}
	}
	return ""
}

// noPictureAfter is how long a camera may be connected before its first picture is missed.
const noPictureAfter = 5 * time.Second

// cameraFaults are the codes of drivers.Problem that have a fault of their own.
var cameraFaults = []string{"credentials", "address", "not-found", "codec", "protocol"}

// CameraFault is the fault of a camera that sends nothing, or sends again but not yet for long enough:
// then it keeps the one that stands. up is now.
//
// A camera that once delivered is set up right: if it cannot be reached, or what stands between knows
// no such stream, it is gone, and nobody has to look into the configuration.
func CameraFault(c ChannelFact, standing []Fault, up time.Duration) string {
	delivered := c.SampleAge >= 0
	fresh := c.Connected && c.ConnectedSince > 0 && up-c.ConnectedSince < noPictureAfter
	if fresh || delivered && c.SampleAge <= goneAfter {
		for _, f := range standing {
			if name, camera := strings.CutPrefix(f.Code, "camera."); f.Ch == c.ID && camera && (name == "gone" || name == "noframes" || slices.Contains(cameraFaults, name)) {
				return f.Code
			}
		}
	}
	switch {
	case fresh:
		return "camera.gone"
	case c.Connected || c.Problem == "no-frames":
		return "camera.noframes"
	case delivered && (c.Problem == "address" || c.Problem == "not-found"):
		return "camera.gone"
	case slices.Contains(cameraFaults, c.Problem):
		return "camera." + c.Problem
	}
	return "camera.gone"
}

func (h *Health) standsSince(code, ch string, now time.Duration) time.Duration {
	for _, f := range h.standing {
		if f.Code == code && f.Ch == ch {
			return f.Since
		}
	}
	return now
}

// tell hands out what began and what ended since the last look.
func (h *Health) tell(faults []Fault) (changed bool) {
	before := h.standing
	h.standing = faults
	for _, f := range before {
		if !slices.Contains(faults, f) {
			changed = true
			h.o.Fault(f.Code, f.Ch, false)
		}
	}
	for _, f := range faults {
		if !slices.Contains(before, f) {
			changed = true
			h.o.Fault(f.Code, f.Ch, true)
		}
	}
	return changed
}

// Precheck is the check before use: what would fail if a session began now, as far as it can be told at
// once. Items that need a session, or a window, are left out, and silence: a room is quiet before.
func (h *Health) Precheck() []Fault {
	f, now := h.o.Facts(), h.o.Now()
	_, verdicts := standard.Step(h.o.Profile, standard.State{}, h.measure(&f, now), standard.Facts{Recording: true, Class: f.Class}, now.Up)
	return slices.DeleteFunc(h.failed(verdicts, &f, now, nil), func(f Fault) bool { return f.Code == "sound.silent" })
}
