package sim

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"minglu/drivers"
)

// Input is a simulated button, door contact or presence sensor. It implements [drivers.Input]; any
// number of Runs at a time.
type Input struct {
	kind   drivers.InputKind
	uptime func() time.Duration

	mu   sync.Mutex
	on   bool
	subs map[*subscriber]struct{}
}

// subscriber is one Run that has not yet told the events in its queue.
type subscriber struct {
	queue []drivers.InputEvent
	wake  chan struct{}
}

// Run implements [drivers.Input]. It loses no change, however short.
func (in *Input) Run(ctx context.Context, event func(drivers.InputEvent)) error {
	s := &subscriber{wake: make(chan struct{}, 1)}
	in.mu.Lock()
	s.push(drivers.InputEvent{Kind: in.kind, On: in.on, Up: in.uptime()})
	in.subs[s] = struct{}{}
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		delete(in.subs, s)
		in.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.wake:
		}
		in.mu.Lock()
		queue := s.queue
		s.queue = nil
		in.mu.Unlock()
		for _, e := range queue {
			event(e)
		}
	}
}

func (s *subscriber) push(e drivers.InputEvent) {
	s.queue = append(s.queue, e)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (in *Input) set(on bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.on == on {
		return
	}
	in.on = on
	e := drivers.InputEvent{Kind: in.kind, On: on, Up: in.uptime()}
	for s := range in.subs {
		s.push(e)
	}
}

// On reports whether the input is on now.
func (in *Input) On() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.on
}

// LampChange is one change of the lamp.
type LampChange struct {
	State drivers.LampState `json:"state"`
	Up    time.Duration     `json:"up_ns"` // uptime
}

// lampHistory is how many changes a lamp remembers.
const lampHistory = 256

// Lamp is a simulated lamp. It implements [drivers.Lamp] and remembers when it showed what.
type Lamp struct {
	uptime func() time.Duration

	mu      sync.Mutex
	changes []LampChange
}

// Set implements [drivers.Lamp].
func (l *Lamp) Set(s drivers.LampState) error {
	switch s {
	case drivers.LampIdle, drivers.LampRecording, drivers.LampPaused, drivers.LampImpaired, drivers.LampFault:
	default:
		return fmt.Errorf("sim: lamp: no state %q", s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.changes); n > 0 && l.changes[n-1].State == s {
		return nil
	}
	if len(l.changes) == lampHistory {
		l.changes = append(l.changes[:0], l.changes[1:]...)
	}
	l.changes = append(l.changes, LampChange{s, l.uptime()})
	return nil
}

// Changes are the last changes, oldest first.
func (l *Lamp) Changes() []LampChange {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]LampChange(nil), l.changes...)
}

// Thermometer is a simulated thermometer: 22 to 24 °C and 40 to 50 %RH over an hour.
type Thermometer struct{ uptime func() time.Duration }

// Read implements [drivers.Thermometer].
func (t *Thermometer) Read(ctx context.Context) (drivers.Climate, error) {
	if ctx.Err() != nil {
		return drivers.Climate{}, context.Cause(ctx)
	}
	up := t.uptime()
	wave := math.Sin(2 * math.Pi * up.Hours())
	return drivers.Climate{MilliCelsius: 23000 + int(1000*wave), MilliPercent: 45000 - int(5000*wave), Up: up}, nil
}

// Speaker is a simulated speaker: every microphone of the room hears what it plays. It implements
// [drivers.Speaker].
type Speaker struct {
	uptime func() time.Duration
	air    *air

	mu     sync.Mutex
	plays  int
	lastUp time.Duration
}

// speakerGain leaves room for voice and beep beside the announcement.
const speakerGain = 0.5

// Play implements [drivers.Speaker]: mono or stereo, 8 to 48 kHz.
func (s *Speaker) Play(ctx context.Context, wav []byte) error {
	pcm, err := decodeWAV(wav)
	if err != nil {
		return err
	}
	for i := range pcm {
		pcm[i] *= speakerGain
	}
	up := s.uptime()
	s.mu.Lock()
	s.plays++
	s.lastUp = up
	s.mu.Unlock()
	playing := &sound{start: pcmFrames(up), pcm: pcm}
	s.air.add(playing)
	err = waitUntil(ctx, s.uptime, up+time.Duration(len(pcm))*time.Second/SampleRateHz)
	if err != nil {
		s.air.stop(playing, pcmFrames(s.uptime()))
	}
	return err
}

// pcmFrames is an uptime in PCM frames. It does not overflow within 100 years.
func pcmFrames(up time.Duration) int64 {
	return int64(up/time.Second)*SampleRateHz + int64(up%time.Second)*SampleRateHz/int64(time.Second)
}

// Plays says how often something was played, and the uptime the last one began.
func (s *Speaker) Plays() (n int, last time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plays, s.lastUp
}
