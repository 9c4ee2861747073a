package guard

import (
	"time"

	"minglu/agent/report"
)

// The limits of [Step].
const (
	// Silent is for how long a part of the agent may give no sign of life.
	Silent = 15 * time.Second
	// Stall is for how long nothing of what arrives may become durable.
	Stall = 15 * time.Second
	// Quiet is after how long without a sample nothing arrives.
	Quiet = 5 * time.Second
)

// Facts are one look at the room.
type Facts struct {
	Up      time.Duration // uptime of the look
	Loop    time.Duration // uptime at which the room's loop last decided something; it ticks ten times a second
	Wanted  bool          // something is to be recorded now: a session that is not paused, or one that could not be opened
	Session string        // id, "" none is open
	Durable int64         // signed lines of it that are durable on a disk
	Arrived time.Duration // uptime of the newest sample of any channel, 0 none
	Disks   int           // as configured
	Hung    int           // of them, those that hang
	Lost    int           // of them, those that are full, gone or in another's hands
}

// State is what Step remembers. The zero State is a start.
type State struct {
	Session string
	Durable int64
	Moved   time.Duration // uptime at which recording last advanced, or had no need to
}

// Verdict says whether the watchdogs are fed.
type Verdict struct {
	Feed bool
	Why  report.Text
}

// Step decides. It is pure.
func Step(s State, f Facts, now time.Duration) (State, Verdict) {
	moved := f.Session != s.Session || f.Durable > s.Durable
	if s.Moved == 0 || !f.Wanted || now-f.Arrived > Quiet || moved || f.Hung == 0 && f.Lost >= f.Disks {
		s.Moved = now
	}
	if moved {
		s.Session, s.Durable = f.Session, f.Durable
	}
	switch {
	case now-f.Up > Silent:
		return s, Verdict{false, text("录制程序的内部没有应答", "Parts of the agent do not answer")}
	case now-f.Loop > Silent:
		return s, Verdict{false, text("房间控制循环停滞", "The room's loop stands still")}
	case now-s.Moved > Stall:
		return s, Verdict{false, text("录制停滞：画面和声音到达，但没有写入磁盘", "Recording stands still: pictures and sound arrive and are not stored")}
	case !f.Wanted:
		return s, Verdict{true, text("空闲", "idle")}
	case now-f.Arrived > Quiet:
		return s, Verdict{true, text("没有画面或声音到达", "nothing arrives")}
	case f.Hung == 0 && f.Lost >= f.Disks:
		return s, Verdict{true, text("没有可用磁盘", "no disk can be used")}
	}
	return s, Verdict{true, text("录制中", "recording")}
}
