package notary

import "time"

// plan says what is to be asked for, and when. It is a pure state machine: times are uptimes, and it
// holds no more than one wish of a kind, because only the newest checkpoint counts.
type plan struct {
	tokens    bool // there is somebody to ask for tokens
	witnesses bool // there is somebody to show checkpoints to
	jitter    func(time.Duration) time.Duration

	began    time.Duration // uptime of the start
	token    bool          // a moment has passed that no token is after
	cosig    bool          // a moment has passed that no kept cosignature is after
	show     bool          // the witness is to get the newest checkpoint
	wished   time.Duration // uptime of the last moment, periodic ones included; 0: none yet
	shown    time.Duration // uptime at which a checkpoint was last to be shown
	flying   job           // what is being asked for
	conflict bool          // a witness holds another history: it is not asked any more

	cosigRetry time.Duration // not before
	cosigWait  time.Duration // the last back-off
	retry      time.Duration // nothing is asked before: what came could not be kept
	retryWait  time.Duration

	lacks    job           // what sealed sessions lack
	owesNext time.Duration // before which it is not asked for again
}

// outcome is what became of a job.
type outcome struct {
	token, cosig bool
	away         bool // no witness can be reached until [plan.back]
	unwanted     bool // no witness is one
	failed       bool // the device's own memory failed: whatever is asked for now could not be kept
}

// job is one round: one checkpoint, shown to whom it says.
type job struct {
	token bool
	cosig bool
	named bool // a cosignature is kept and named in the logs
}

// moment notes an event.
func (p *plan) moment(up time.Duration) {
	p.token, p.cosig, p.show = p.tokens, p.witnesses, p.witnesses
	p.wished, p.shown = up, up
}

// back forgets that the witness failed.
func (p *plan) back() {
	p.cosigRetry, p.cosigWait = 0, 0
	p.show = p.witnesses // it may know less than it did
}

// next returns what to do now, or how long to wait. tsaRetry is when an authority may be asked again.
func (p *plan) next(up, tsaRetry time.Duration, recording bool) (j job, wait time.Duration) {
	tokenEvery, showEvery := TokenIdle, ShowIdle
	if recording {
		tokenEvery, showEvery = TokenRecording, ShowRecording
	}
	if p.wished == 0 || up-p.wished >= tokenEvery {
		p.moment(up)
	}
	if up-p.shown >= showEvery {
		p.show, p.shown = p.witnesses, up
	}
	if p.lacks != (job{}) && up >= p.owesNext {
		p.token, p.cosig = p.token || p.lacks.token, p.cosig || p.lacks.cosig
		p.lacks, p.owesNext = job{}, up+owesEvery
	}
	wait = min(p.wished+tokenEvery, p.shown+showEvery) - up
	later := func(at time.Duration) { wait = min(wait, max(at-up, 0)) }
	if p.lacks != (job{}) {
		later(p.owesNext)
	}
	if up < p.retry {
		later(p.retry)
		return job{}, max(wait, time.Millisecond)
	}
	if p.token {
		if j.token = up >= tsaRetry; !j.token {
			later(tsaRetry)
		}
	}
	if (p.cosig || p.show) && !p.conflict {
		if j.cosig = up >= p.cosigRetry; !j.cosig {
			later(p.cosigRetry)
		}
	}
	j.named = j.cosig && p.cosig
	if j.token && p.witnesses && !p.conflict && up >= p.cosigRetry { // both over one checkpoint
		j.cosig, j.named = true, true
	}
	if j.token || j.cosig {
		return j, 0
	}
	return job{}, max(wait, time.Millisecond)
}

// begin takes a job's wishes off: what comes while it is done is wished anew.
func (p *plan) begin(j job) {
	p.flying = j
	if j.token {
		p.token, p.lacks.token = false, false
	}
	if j.cosig {
		p.show = false
	}
	if j.named {
		p.cosig, p.lacks.cosig = false, false
	}
}

// never is when somebody is asked again who cannot be reached: what ends that calls back.
const never = time.Duration(1<<63 - 1)

// done takes the outcome of a job. What failed is wished again.
func (p *plan) done(j job, o outcome, up time.Duration) {
	p.flying = job{}
	if o.failed {
		p.retryWait = backoff(p.retryWait)
		p.retry = up + p.jitter(p.retryWait)
	} else {
		p.retry, p.retryWait = 0, 0
	}
	if j.token && !o.token {
		p.token = true
	}
	if !j.cosig {
		return
	}
	if o.cosig {
		p.cosigRetry, p.cosigWait = 0, 0
		return
	}
	p.show, p.cosig = true, p.cosig || j.named
	switch {
	case o.away:
		p.cosigRetry = never
	case o.unwanted:
		p.cosigRetry = up + unwanted
	default:
		p.cosigWait = backoff(p.cosigWait)
		p.cosigRetry = up + p.jitter(p.cosigWait)
	}
}

// owes wishes for proofs that a sealed session lacks, unless they are on their way. Whatever a session
// lacks although it was got, this asks for it no more often than each owesEvery.
func (p *plan) owes(token, cosig bool) {
	p.lacks.token = p.lacks.token || token && p.tokens && !p.flying.token
	p.lacks.cosig = p.lacks.cosig || cosig && p.witnesses && !p.flying.named
}

func backoff(last time.Duration) time.Duration { return min(max(2*last, backoffMin), backoffMax) }
