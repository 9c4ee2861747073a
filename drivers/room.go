package drivers

import (
	"context"
	"time"
)

// InputKind says what an input means to the room.
type InputKind string

// The kinds of input.
const (
	Button   InputKind = "button"   // On while held down
	Door     InputKind = "door"     // On while open
	Presence InputKind = "presence" // On while somebody is there
)

// InputEvent is one change of an input.
type InputEvent struct {
	Kind InputKind
	On   bool
	Up   time.Duration // uptime of the change
}

// Input is a button, a door contact or a presence sensor.
type Input interface {
	// Run calls event for the state found at the start and each change after it, debounced, until
	// ctx ends or the device fails; it returns the cause. event must not block.
	Run(ctx context.Context, event func(InputEvent)) error
}

// LampState is what the lamp outside the room shows.
type LampState string

// The states of the lamp.
const (
	LampIdle      LampState = "idle"
	LampRecording LampState = "recording"
	LampPaused    LampState = "paused"
	LampImpaired  LampState = "impaired" // recording goes on, but not everything
	LampFault     LampState = "fault"    // nothing is recorded although it should be
)

// Lamp is the light 指示灯 that tells people whether they are recorded.
type Lamp interface {
	// Set returns when the lamp shows s, or an error. Safe for concurrent use.
	Set(s LampState) error
}

// Climate is one reading of the room's air.
type Climate struct {
	MilliCelsius int           // temperature, 1/1000 °C
	MilliPercent int           // relative humidity, 1/1000 %RH; -1 unknown
	Up           time.Duration // uptime of the reading
}

// Thermometer reads the room's air.
type Thermometer interface {
	Read(ctx context.Context) (Climate, error)
}

// Speaker plays announcements into the room, so that they are heard and recorded.
type Speaker interface {
	// Play returns when the sound has been played, or ctx has ended. wav is RIFF WAVE, PCM 16 bit.
	Play(ctx context.Context, wav []byte) error
}

// Scanner reads bar codes and QR codes, such as that of a case's cover.
type Scanner interface {
	// Run calls scanned for each code that is read, with the uptime its last byte came, until ctx ends or the
	// device fails or is unplugged; it returns the cause. scanned must not block. After it has returned it may be
	// called again.
	Run(ctx context.Context, scanned func(text string, up time.Duration)) error
}

// RTCTime is what a hardware clock shows.
type RTCTime struct {
	T       time.Time     // UTC; this second has begun, the next has not
	Stopped bool          // it stood still since it was last set (no battery, or an empty one): T is worth nothing
	Up      time.Duration // uptime of the reading
}

// RTC is a hardware clock 硬件时钟: it goes on by a battery of its own while the board has no power.
type RTC interface {
	Read(ctx context.Context) (RTCTime, error)
}

// SettableRTC is a hardware clock that this program may set.
type SettableRTC interface {
	RTC
	// Set lets the clock go on from the next full second of now, up to a second away, and returns once it has been read
	// back. What was wrong with its time before is forgotten.
	Set(ctx context.Context, now func() time.Time) error
}

// Supply is one reading of what the room runs on.
type Supply struct {
	MilliVolt int           // of the battery, 1/1000 V
	MilliAmp  int           // out of the battery, 1/1000 A; negative: into it
	Mains     bool          // false: the battery feeds the room
	Charge    int           // of the battery, 1/1000 of full
	Left      time.Duration // until the battery is empty if all goes on as it does; with Mains, -1
	Up        time.Duration // uptime of the reading
}

// PowerMeter reads what the room runs on. Its judgement gets better with regular readings, some seconds apart.
type PowerMeter interface {
	Read(ctx context.Context) (Supply, error)
}

// Beep is a signal of the buzzer.
type Beep string

// The signals of a buzzer.
const (
	BeepStart  Beep = "start"  // recording begins, or goes on after a pause
	BeepPaused Beep = "paused" // a break begins
	BeepEnd    Beep = "end"    // recording ends
	BeepAsk    Beep = "ask"    // the room asks something, or warns of a limit: see the page
	BeepFault  Beep = "fault"  // something is not recorded
)

// Buzzer is a beeper 蜂鸣器 in the room.
type Buzzer interface {
	// Sound returns when the signal has sounded, or ctx has ended; then the buzzer is silent.
	Sound(ctx context.Context, b Beep) error
}
