// Package room decides what a room does: when it records, pauses, ends, warns and asks.
//
// It is pure: no clock, no device, no goroutine. [Step] takes the state, one event and the uptime,
// and returns the new state and what to do. The rules are those of workflow.md; each is a row of the
// table test. The time given is uptime (monotonic since boot), so no fault of the wall clock can end
// or delay a session. What carries the actions out (recorder, lamp, speaker, page) is wired in the
// agent's main; what they answer comes back as events.
//
// Recording is never refused: checks, missing facts and broken devices are noted beside it. Only when
// nothing can be recorded at all ([OpenFailed]) does the room stay in fault, and it tries again by itself.
package room
