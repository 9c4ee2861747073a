package sim

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"minglu/drivers"
)

//go:embed control.html
var controlHTML []byte

//go:embed control.js
var controlJS []byte

// State is what the room's devices do now. Uptimes are in nanoseconds.
type State struct {
	Up          time.Duration              `json:"up_ns"`
	Channels    []ChannelState             `json:"channels"`
	Inputs      map[drivers.InputKind]bool `json:"inputs"`
	Lamp        []LampChange               `json:"lamp,omitempty"` // oldest first; the last one holds
	Climate     *ClimateState              `json:"climate,omitempty"`
	Speaker     *SpeakerState              `json:"speaker,omitempty"`
	Power       *PowerState                `json:"power,omitempty"`
	RTC         *RTCState                  `json:"rtc,omitempty"`
	Buzzer      []BuzzerSound              `json:"buzzer,omitempty"` // oldest first
	ClockStep   time.Duration              `json:"clock_step_ns"`    // sum of all simulated steps
	CanStepTime bool                       `json:"can_step_clock"`
	CanScan     bool                       `json:"can_scan"` // there is a scanner
}

// ChannelState is one camera or microphone.
type ChannelState struct {
	ID     string   `json:"id"`
	Kind   string   `json:"kind"`             // "camera", "microphone"
	Can    []string `json:"can"`              // the faults it can have
	Faults []string `json:"faults"`           // those it has
	Frames int64    `json:"frames,omitempty"` // camera: pictures delivered
	Last   int64    `json:"last,omitempty"`   // camera: number of the last one
}

// ClimateState is the room's air.
type ClimateState struct {
	MilliCelsius int `json:"milli_celsius"`
	MilliPercent int `json:"milli_percent"`
}

// SpeakerState says what the speaker has played.
type SpeakerState struct {
	Plays int           `json:"plays"`
	Last  time.Duration `json:"last_ns"`
}

// State returns a copy of what the devices do now.
func (r *Room) State() State {
	s := State{Up: r.o.Uptime(), Channels: []ChannelState{}, Inputs: map[drivers.InputKind]bool{},
		ClockStep: time.Duration(r.stepped.Load()), CanStepTime: r.o.StepClock != nil, CanScan: r.scanner != nil}
	for _, c := range r.cameras {
		s.Channels = append(s.Channels, ChannelState{ID: c.o.ID, Kind: "camera", Can: cameraFaults,
			Faults: append([]string{}, c.faults.list()...), Frames: c.frames.Load(), Last: c.last.Load()})
	}
	for _, m := range r.microphones {
		s.Channels = append(s.Channels, ChannelState{ID: m.id, Kind: "microphone", Can: microphoneFaults,
			Faults: append([]string{}, m.faults.list()...)})
	}
	for kind, in := range r.inputs {
		s.Inputs[kind] = in.On()
	}
	if r.lamp != nil {
		s.Lamp = r.lamp.Changes()
	}
	if r.thermometer != nil {
		if c, err := r.thermometer.Read(context.Background()); err == nil {
			s.Climate = &ClimateState{c.MilliCelsius, c.MilliPercent}
		}
	}
	if r.speaker != nil {
		n, last := r.speaker.Plays()
		s.Speaker = &SpeakerState{n, last}
	}
	if r.power != nil {
		s.Power = r.power.state()
	}
	if r.rtc != nil {
		s.RTC = r.rtc.state()
	}
	if r.buzzer != nil {
		s.Buzzer = r.buzzer.Sounds()
	}
	return s
}

// Handler operates the room over HTTP, to be mounted at /sim/ of a simulated room only:
//
//	GET  /sim/                       a page with all of it
//	GET  /sim/state                  [State] as JSON
//	POST /sim/button?hold=100ms      press the button; or ?on=true, ?on=false
//	POST /sim/door?on=true           open (default) or close the door
//	POST /sim/presence?on=true       somebody is there (default) or not
//	POST /sim/scan?code=2026-12      the scanner reads a code
//	POST /sim/fault/NAME?channel=ID&on=true   show a fault, or end it; no channel: all that can
//	POST /sim/fault/clock-step?by=-2s         jump the wall clock
//
// A POST answers 204, or 400 with the reason. Requests of other sites' pages are refused; checking
// Host and login is the caller's.
func (r *Room) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sim/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'")
		serve(w, "text/html; charset=utf-8", controlHTML)
	})
	mux.HandleFunc("GET /sim/control.js", func(w http.ResponseWriter, _ *http.Request) {
		serve(w, "text/javascript; charset=utf-8", controlJS)
	})
	mux.HandleFunc("GET /sim/state", func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.Marshal(r.State())
		if err != nil {
			panic("BUG: sim: state: " + err.Error())
		}
		serve(w, "application/json", b)
	})
	mux.HandleFunc("POST /sim/button", r.act(func(q *http.Request) error {
		if q.FormValue("on") != "" {
			return r.setInput(drivers.Button, q)
		}
		hold, err := duration(q, "hold", 100*time.Millisecond)
		if err == nil && (hold < 0 || hold > time.Minute) {
			err = fmt.Errorf("sim: hold %v: choose 0s to 1m", hold)
		}
		if err != nil {
			return err
		}
		return r.Press(hold)
	}))
	mux.HandleFunc("POST /sim/door", r.act(func(q *http.Request) error { return r.setInput(drivers.Door, q) }))
	mux.HandleFunc("POST /sim/presence", r.act(func(q *http.Request) error { return r.setInput(drivers.Presence, q) }))
	mux.HandleFunc("POST /sim/scan", r.act(func(q *http.Request) error { return r.Scan(q.FormValue("code")) }))
	mux.HandleFunc("POST /sim/fault/{name}", r.act(func(q *http.Request) error {
		if q.PathValue("name") == FaultClockStep && q.FormValue("by") != "" {
			by, err := duration(q, "by", 0)
			if err != nil {
				return err
			}
			return r.StepClock(by)
		}
		on, err := flag(q)
		if err != nil {
			return err
		}
		return r.Fault(q.PathValue("name"), q.FormValue("channel"), on)
	}))
	return http.NewCrossOriginProtection().Handler(mux)
}

func serve(w http.ResponseWriter, kind string, b []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(b)
}

// maxBody bounds a form: all of them fit into the address.
const maxBody = 4096

func (r *Room) act(do func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		q.Body = http.MaxBytesReader(w, q.Body, maxBody)
		if err := do(q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (r *Room) setInput(kind drivers.InputKind, q *http.Request) error {
	on, err := flag(q)
	if err != nil {
		return err
	}
	return r.SetInput(kind, on)
}

func flag(q *http.Request) (bool, error) {
	s := q.FormValue("on")
	if s == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("sim: on=%q: write true or false", s)
	}
	return on, nil
}

func duration(q *http.Request, name string, def time.Duration) (time.Duration, error) {
	s := q.FormValue(name)
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("sim: %s=%q: write a number with its unit, such as 500ms or -2s", name, s)
	}
	return d, nil
}
