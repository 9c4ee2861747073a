// Package sim simulates the devices of a room: camera, microphone, button, door contact, presence
// sensor, lamp, thermometer, speaker, scanner, battery, hardware clock and buzzer, with the faults they can have.
//
// A [Room] holds one twin of each device asked for. Picture and sound hang on the uptime: picture n
// belongs to uptime n/fps, sound frame k to uptime k/48000, so that the flash in the picture and the
// beep in the sound begin at the same whole second, of all channels alike. The camera's H.264 is exact
// (what a decoder shows is what was drawn, bit for bit) and each picture bears a number that
// [ReadNumber] finds again in decoded pixels. Nothing here is random.
//
// A simulated device stands in for a real one where the configuration says so, and nowhere else.
package sim

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"minglu/drivers"
)

// The faults a [Room] can show.
const (
	FaultBlack     = "black"      // camera: black pictures
	FaultFrozen    = "frozen"     // camera: the same picture again and again
	FaultCovered   = "covered"    // camera: something dark in front of the lens
	FaultNoFrames  = "no-frames"  // camera: connected, but no picture comes
	FaultSilence   = "silence"    // microphone: digital zero
	FaultClipping  = "clipping"   // microphone: far too loud
	FaultGone      = "gone"       // both: not connected
	FaultClockStep = "clock-step" // the board's wall clock jumps; see [Room.StepClock]
	FaultMains     = "mains"      // the mains are lost: the room runs on its battery
	FaultWornOut   = "worn-out"   // the battery lasts for 40 s only
	FaultRTC       = "rtc"        // the hardware clock's battery is dead: it has just begun in 2000
)

var (
	cameraFaults     = []string{FaultBlack, FaultFrozen, FaultCovered, FaultNoFrames, FaultGone}
	microphoneFaults = []string{FaultSilence, FaultClipping, FaultGone}
	powerFaults      = []string{FaultMains, FaultWornOut, FaultRTC} // of the board itself
)

// CameraOptions describe one camera.
type CameraOptions struct {
	ID     string
	Width  int // pixels, even, [MinWidth] to 1920; 0: 1280
	Height int // pixels, even, [MinHeight] to 1088; 0: 720
	FPS    int // pictures per second, 5 to 60; 0: 25
}

// Options say what the room has.
type Options struct {
	Cameras     []CameraOptions
	Microphones []string // channel ids

	Button, Door, Presence bool
	Lamp, Thermometer      bool
	Speaker, Scanner       bool
	Power, RTC, Buzzer     bool

	Uptime    func() time.Duration // required: the board's uptime
	Wall      func() time.Time     // what the clock in the picture shows; nil: time.Now
	StepClock func(time.Duration)  // makes the agent's wall clock jump; nil: the fault is refused
}

// Room is a simulated room. Its methods are safe for concurrent use.
type Room struct {
	o           Options
	cameras     []*Camera
	microphones []*Microphone
	inputs      map[drivers.InputKind]*Input
	lamp        *Lamp
	thermometer *Thermometer
	speaker     *Speaker
	scanner     *Scanner
	power       *Power
	rtc         *RTC
	buzzer      *Buzzer
	stepped     atomic.Int64 // ns, sum of the clock steps
}

// New returns a room in which nothing has happened yet. It starts no goroutine.
func New(o Options) (*Room, error) {
	if o.Uptime == nil {
		return nil, errors.New("sim: options: Uptime is missing: pass clock.Uptime")
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	r := &Room{o: o, inputs: map[drivers.InputKind]*Input{}}
	air := &air{}
	ids := map[string]bool{}
	for _, c := range o.Cameras {
		cam, err := newCamera(c, o.Uptime, o.Wall)
		if err != nil {
			return nil, err
		}
		r.cameras = append(r.cameras, cam)
		if ids[c.ID] {
			return nil, fmt.Errorf("sim: options: channel %q twice: name each once", c.ID)
		}
		ids[c.ID] = true
	}
	for _, id := range o.Microphones {
		r.microphones = append(r.microphones, &Microphone{id: id, uptime: o.Uptime, air: air})
		if ids[id] {
			return nil, fmt.Errorf("sim: options: channel %q twice: name each once", id)
		}
		ids[id] = true
	}
	for _, in := range []struct {
		kind  drivers.InputKind
		there bool
	}{{drivers.Button, o.Button}, {drivers.Door, o.Door}, {drivers.Presence, o.Presence}} {
		if in.there {
			r.inputs[in.kind] = &Input{kind: in.kind, uptime: o.Uptime, subs: map[*subscriber]struct{}{}}
		}
	}
	if o.Lamp {
		r.lamp = &Lamp{uptime: o.Uptime}
	}
	if o.Thermometer {
		r.thermometer = &Thermometer{uptime: o.Uptime}
	}
	if o.Scanner {
		r.scanner = newScanner(o.Uptime)
	}
	if o.Power {
		r.power = &Power{uptime: o.Uptime, left: powerLasts}
	}
	if o.RTC {
		r.rtc = &RTC{uptime: o.Uptime, offset: since(o.Wall(), o.Uptime())}
	}
	if o.Buzzer {
		r.buzzer = &Buzzer{uptime: o.Uptime}
	}
	if o.Speaker {
		r.speaker = &Speaker{uptime: o.Uptime, air: air}
	}
	return r, nil
}

// Camera returns the camera of a channel, nil if there is none.
func (r *Room) Camera(id string) *Camera {
	if i := slices.IndexFunc(r.cameras, func(c *Camera) bool { return c.o.ID == id }); i >= 0 {
		return r.cameras[i]
	}
	return nil
}

// Microphone returns the microphone of a channel, nil if there is none.
func (r *Room) Microphone(id string) *Microphone {
	if i := slices.IndexFunc(r.microphones, func(m *Microphone) bool { return m.id == id }); i >= 0 {
		return r.microphones[i]
	}
	return nil
}

// Input returns the button, door contact or presence sensor, nil if there is none.
func (r *Room) Input(kind drivers.InputKind) *Input { return r.inputs[kind] }

// Lamp returns the lamp, nil if there is none.
func (r *Room) Lamp() *Lamp { return r.lamp }

// Thermometer returns the thermometer, nil if there is none.
func (r *Room) Thermometer() *Thermometer { return r.thermometer }

// Speaker returns the speaker, nil if there is none.
func (r *Room) Speaker() *Speaker { return r.speaker }

// Power returns the battery with its meter, nil if there is none.
func (r *Room) Power() *Power { return r.power }

// RTC returns the hardware clock, nil if there is none.
func (r *Room) RTC() *RTC { return r.rtc }

// Buzzer returns the buzzer, nil if there is none.
func (r *Room) Buzzer() *Buzzer { return r.buzzer }

// SetInput moves an input: the button down, the door open, somebody there.
func (r *Room) SetInput(kind drivers.InputKind, on bool) error {
	in := r.inputs[kind]
	if in == nil {
		return fmt.Errorf("sim: this room has no %s: add it to inputs in the configuration", kind)
	}
	in.set(on)
	return nil
}

// Press pushes the button and lets it go after held, which the two events tell exactly; it does not wait.
func (r *Room) Press(held time.Duration) error {
	in := r.inputs[drivers.Button]
	if in == nil {
		return errors.New("sim: this room has no button: add it to inputs in the configuration")
	}
	in.set(true)
	time.AfterFunc(held, func() { in.set(false) })
	return nil
}

// StepClock makes the board's wall clock jump by d.
func (r *Room) StepClock(d time.Duration) error {
	if r.o.StepClock == nil {
		return errors.New("sim: the clock of this room cannot be stepped")
	}
	r.stepped.Add(int64(d))
	r.o.StepClock(d)
	return nil
}

// Fault makes a channel show a fault, or ends it. An empty channel means every channel that can have
// it. [FaultClockStep] jumps 10 s ahead, and back when ended; [Room.StepClock] takes any distance.
func (r *Room) Fault(name, channel string, on bool) error {
	if name == FaultClockStep {
		switch s := time.Duration(r.stepped.Load()); {
		case on:
			return r.StepClock(10 * time.Second)
		case s != 0:
			return r.StepClock(-s)
		}
		return nil
	}
	if done, err := r.boardFault(name, on); done {
		return err
	}
	if !slices.Contains(cameraFaults, name) && !slices.Contains(microphoneFaults, name) {
		return fmt.Errorf("sim: no fault %q: there are %v, %v, %v and %s", name, cameraFaults, microphoneFaults, powerFaults, FaultClockStep)
	}
	n := 0
	for _, c := range r.cameras {
		if (channel == "" || channel == c.o.ID) && slices.Contains(cameraFaults, name) {
			c.faults.set(name, on)
			n++
		}
	}
	for _, m := range r.microphones {
		if (channel == "" || channel == m.id) && slices.Contains(microphoneFaults, name) {
			m.faults.set(name, on)
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("sim: no channel %q that can be %s", channel, name)
	}
	return nil
}

// boardFault shows or ends a fault of battery or hardware clock; it is not done if the fault is none of these.
func (r *Room) boardFault(name string, on bool) (done bool, err error) {
	switch {
	case !slices.Contains(powerFaults, name):
		return false, nil
	case name == FaultRTC && r.rtc == nil:
		return true, errors.New("sim: this room has no hardware clock: add rtc to the configuration")
	case name == FaultRTC:
		r.rtc.die(on)
	case r.power == nil:
		return true, errors.New("sim: this room has no battery: add power to the configuration")
	default:
		r.power.fault(name, on)
	}
	return true, nil
}

// faults are those one device shows now.
type faults struct {
	mu  sync.Mutex
	now []string
}

func (f *faults) set(name string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = slices.DeleteFunc(slices.Clone(f.now), func(s string) bool { return s == name })
	if on {
		f.now = append(f.now, name)
	}
}

func (f *faults) has(name string) bool { return slices.Contains(f.list(), name) }

// list is not to be changed.
func (f *faults) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// errGone is what a device says that is not connected.
func errGone(id string) error {
	return &drivers.Problem{Code: "not-found",
		Zh:  "模拟设备 " + id + " 已断开；请在模拟控制页恢复",
		En:  "the simulated device " + id + " is disconnected: connect it again on the simulation's page",
		Err: errors.New("sim: " + id + ": gone")}
}
