package console

import (
	"minglu/agent/report"
	"minglu/provisioning/fleet"
)

// cure names, for items of the default profile, the fault of the catalogue whose advice helps when
// they fail. An item that is not here is shown with its reason alone.
var cure = map[string]string{
	"camera.signal": "camera.noframes", "camera.black": "picture.black", "camera.frozen": "picture.frozen", "camera.covered": "picture.covered",
	"camera.blur": "picture.blurred", "camera.moved": "picture.moved", "camera.fps": "picture.slow", "camera.codec": "camera.codec",
	"mic.present": "microphone.gone", "mic.silence": "sound.silent", "mic.clipping": "sound.clipping", "mic.loss": "sound.lossy",
	"rec.copies": "disk.failed", "rec.drops": "picture.lossy", "rec.hours": "disk.low", "rec.wear": "disk.worn", "rec.signed": "record.unsigned",
	"time.error": "clock.inaccurate", "time.gross": "clock.inaccurate", "time.sane": "clock.behind", "time.steps": "clock.step", "time.camera": "camera.clock",
	"room.climate_age": "climate.stale", "room.lamp": "lamp.failed", "net.offline": "uplink.offline", "power.supply": "power.low",
	"board.temperature": "board.hot", "security.identity": "certificate.expiring",
}

type remedy struct {
	Zh string `json:"zh"`
	En string `json:"en"`
}

// detail is a room with what to do about each item that fails, by "item subject".
type detail struct {
	fleet.Detail
	Do map[string]remedy `json:"do"`
}

func advise(d fleet.Detail) detail {
	out := detail{d, map[string]remedy{}}
	if d.Compliance == nil {
		return out
	}
	for _, it := range d.Compliance.Items {
		if code, ok := cure[it.Item]; ok && it.Verdict == report.Fail {
			do := report.Find(code).Do.In(it.Subject)
			out.Do[it.Item+" "+it.Subject] = remedy{do.Zh, do.En}
		}
	}
	return out
}
