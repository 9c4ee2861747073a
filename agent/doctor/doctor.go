// Package doctor looks at a room's parts and says in words what is wrong and what to do.
//
// It guarantees: a check changes nothing but a temporary file it takes away again; each finding is said
// in Chinese and English, with a remedy where there is one; a check that hangs is given up, and that is
// its finding. It repairs nothing itself: main does, with the parts that do so in ordinary running.
//
// It does not judge recordings (package evidence does), nor whether a room meets the equipment standard
// (package standard does).
package doctor

import (
	"context"
	"fmt"
	"time"

	"minglu/agent/report"
)

// Level says how much a finding matters.
type Level string

// The levels, from light to heavy.
const (
	Good Level = "good" // as it should be
	Note Level = "note" // works, and somebody should know
	Bad  Level = "bad"  // does not work
)

// Finding is what a check found.
type Finding struct {
	Check string      `json:"check"` // stable, such as "disk.space"
	On    string      `json:"on"`    // the disk, channel or file it is about, "" if there is only one
	Level Level       `json:"level"`
	Text  report.Text `json:"text"`
	Do    report.Text `json:"do"`             // what to do about it; empty for Good
	Cure  bool        `json:"cure,omitempty"` // doctor --repair mends it
}

// Check is one look at something. It may block as long as ctx lets it.
type Check struct {
	Name string // of the finding, should it be given up
	On   string
	Run  func(ctx context.Context) []Finding
}

// Worst returns the heaviest level.
func Worst(all []Finding) Level {
	worst := Good
	for _, f := range all {
		if f.Level == Bad || f.Level == Note && worst == Good {
			worst = f.Level
		}
	}
	return worst
}

// Run does the checks one after the other and hands on what each finds. One that takes longer than
// within is given up: its goroutine ends when the system call it is in does.
func Run(ctx context.Context, checks []Check, within time.Duration, found func([]Finding)) {
	for _, c := range checks {
		if ctx.Err() != nil {
			return
		}
		one, cancel := context.WithTimeout(ctx, within)
		done := make(chan []Finding, 1)
		go func() { done <- c.Run(one) }()
		select {
		case f := <-done:
			found(f)
		case <-one.Done():
			select { // it may have ended because it was asked to
			case f := <-done:
				found(f)
			case <-time.After(time.Second):
				found([]Finding{bad(c.Name, c.On, report.Text{Zh: "没有在限定时间内应答", En: "did not answer in time"},
					report.Text{Zh: "请检查其连接后重试", En: "Check its connection and try again"})})
			}
		}
		cancel()
	}
}

func good(check, on, zh, en string) Finding {
	return Finding{Check: check, On: on, Level: Good, Text: report.Text{Zh: zh, En: en}}
}

func note(check, on string, text, do report.Text) Finding {
	return Finding{Check: check, On: on, Level: Note, Text: text, Do: do}
}

func bad(check, on string, text, do report.Text) Finding {
	return Finding{Check: check, On: on, Level: Bad, Text: text, Do: do}
}

func text(zh, en string) report.Text { return report.Text{Zh: zh, En: en} }

// size writes bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d B", n)
}
