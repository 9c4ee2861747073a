package notary

import (
	"testing"
	"time"
)

// TestPlan: each row is one rule of what is asked for next.
func TestPlan(t *testing.T) {
	const m, h = time.Minute, time.Hour
	all, tok, cos, shw := job{true, true, true}, job{token: true}, job{cosig: true, named: true}, job{cosig: true}
	at := func(change func(*plan)) plan {
		p := plan{tokens: true, witnesses: true, jitter: func(d time.Duration) time.Duration { return d }, wished: h, shown: h}
		if change != nil {
			change(&p)
		}
		return p
	}
	for _, tt := range []struct {
		rule      string
		p         plan
		up, tsa   time.Duration
		recording bool
		want      job
		wait      time.Duration
	}{
		{"a start asks for everything", at(func(p *plan) { p.wished, p.shown = 0, 0 }), h, 0, false, all, 0},
		{"an idle room is asked about hourly", at(nil), 2*h - 1, 0, false, job{}, time.Millisecond},
		{"and then it is", at(nil), 2 * h, 0, false, all, 0},
		{"a recording each ten minutes", at(func(p *plan) { p.shown = h + 9*m + 30*time.Second }), h + 10*m, 0, true, all, 0},
		{"the witness sees it each minute", at(nil), h + m, 0, true, shw, 0},
		{"not before", at(nil), h + m - time.Second, 0, true, job{}, time.Second},
		{"a moment is asked for at once", at(func(p *plan) { p.token, p.cosig = true, true }), h + 1, 0, false, all, 0},
		{"authorities that failed are waited for", at(func(p *plan) { p.token = true }), h + 1, h + m, false, job{}, m - 1},
		{"the witness is not", at(func(p *plan) { p.token, p.cosig = true, true }), h + 1, h + m, false, cos, 0},
		{"nor the authorities for a witness that failed", at(func(p *plan) { p.token, p.cosig, p.cosigRetry = true, true, 2*h }), h + 1, 0, false, tok, 0},
		{"a witness that cannot be reached costs nothing", at(func(p *plan) { p.show, p.cosigRetry = true, never }), h + 1, 0, true, job{}, m - 1},
		{"without witnesses tokens alone", at(func(p *plan) { p.witnesses, p.wished = false, 0 }), h, 0, false, tok, 0},
		{"without authorities cosignatures alone", at(func(p *plan) { p.tokens, p.wished = false, 0 }), h, 0, false, cos, 0},
		{"without anybody nothing", at(func(p *plan) { p.tokens, p.witnesses, p.wished = false, false, 0 }), h, never, false, job{}, h},
		{"a witness in conflict is left alone", at(func(p *plan) { p.conflict, p.token, p.cosig = true, true, true }), h + 1, 0, false, tok, 0},
	} {
		p := tt.p
		if got, wait := p.next(tt.up, tt.tsa, tt.recording); got != tt.want || wait != tt.wait {
			t.Errorf("%s: next() = %+v, %v; want %+v, %v", tt.rule, got, wait, tt.want, tt.wait)
		}
	}
}

// TestPlanOutcome: what is wished while something is on its way, and what fails, is asked for again.
func TestPlanOutcome(t *testing.T) {
	p := plan{tokens: true, witnesses: true, jitter: func(d time.Duration) time.Duration { return d }}
	next := func(up time.Duration) job {
		j, _ := p.next(up, 0, false)
		p.begin(j)
		return j
	}
	j := next(time.Hour)
	p.moment(time.Hour + 1) // while it is done
	p.done(j, outcome{token: true, cosig: true}, time.Hour+2)
	if j = next(time.Hour + 3); j != (job{true, true, true}) {
		t.Errorf("a moment during a round is lost: %+v", j)
	}
	p.owes(true, true)
	p.done(j, outcome{token: true, cosig: true}, time.Hour+4)
	if j = next(time.Hour + 5); j != (job{}) {
		t.Errorf("what a session lacked was on its way: %+v", j)
	}
	p.owes(true, true)
	j = next(time.Hour + 6)
	p.done(j, outcome{}, time.Hour+7)
	if j, wait := p.next(time.Hour+8, never, false); j != (job{}) || wait != backoffMin-1 {
		t.Errorf("after a failure: %+v, %v", j, wait)
	}
	if j = next(time.Hour + 7 + backoffMin); j != (job{true, true, true}) {
		t.Errorf("what failed is not asked for again: %+v", j)
	}
	last := time.Duration(0)
	for range 20 {
		last = backoff(last)
	}
	if last != backoffMax {
		t.Errorf("the longest wait is %v", last)
	}
	p.done(j, outcome{token: true, away: true}, 2*time.Hour)
	if j = next(3 * time.Hour); j.cosig {
		t.Errorf("nobody can be reached: %+v", j)
	}
	p.back()
	if j = next(3*time.Hour + 1); !j.named {
		t.Errorf("back again: %+v", j)
	}
}

// TestOwesIsNoLoop: a session that lacks something although it was got is asked for at an interval.
func TestOwesIsNoLoop(t *testing.T) {
	p := plan{tokens: true, witnesses: true, jitter: func(d time.Duration) time.Duration { return d }, wished: time.Hour, shown: time.Hour}
	rounds, up := 0, time.Hour
	for up < 2*time.Hour-time.Second {
		p.owes(true, true)
		j, wait := p.next(up, 0, false)
		if j != (job{}) {
			rounds++
			p.begin(j)
			p.done(j, outcome{token: true, cosig: true}, up)
			continue
		}
		up += min(wait, time.Minute)
	}
	if rounds != 12 {
		t.Errorf("%d rounds in an hour, want one each five minutes", rounds)
	}
}
