// Package recovery brings the sessions that a cut left open to their end.
//
// What it guarantees (evidence-format.md section 4, R4 to R11): every byte that a durable sign line
// covers stays where it is; whole fragments right after it are named in a recovery file of their own,
// up to the bound the writer kept; whatever else lies behind is moved to aside/ with its digest, never
// deleted; a copy that is damaged inside its signed part is neither read as the truth nor touched; each
// step may be cut again and repeated, with the same end.
//
// What it does not do: it never extends log.jsonl with new lines, never judges (that is package
// evidence), never waits for an absent disk, and never touches a session that Options.Skip names.
//
// The order of a repair, on each disk: aside files, cut the tails, complete the media from the other
// disk, complete the log, recovery-N.jsonl, index of each segment, ledger head, manifest.json,
// manifest.json.p7s, ledger sealed; after a late tail amendment-N.json, its signature, ledger amend.
//
// Which copy is the truth: the log with the most signed lines, and of recovery files of one number the
// one whose head the ledger has. A session that the ledger says was sealed elsewhere is left alone until
// that disk is here, so that no two seals of one session come to be; once a person has entered in the ledger
// that it is lost, what is here gets an end and a seal of its own.
package recovery

import (
	"crypto"
	"crypto/x509"
	"log/slog"
	"time"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Disk is one disk that is present, with the folder that holds sessions/, tmp/ and ledger/.
type Disk struct {
	ID  string // as in ledger/disk.json and in the "open" line
	Dir string
}

// Ledger is the device ledger as far as recovery needs it; *ledger.Ledger is one. Head and Sealed return
// once the line is durable in the master. Calls may come while a session records.
type Ledger interface {
	Origin() string
	// BytesFrom gives the durable lines from an offset on: Run looks there for what it need not enter again.
	BytesFrom(off int64) ([]byte, error)
	// Head enters size and root of a sign line of the named file ("log.jsonl", "recovery-1.jsonl").
	Head(session, log string, size int64, root evidence.Hash) error
	// Sealed enters the SHA-256 of manifest.json and of manifest.json.p7s, in hex.
	Sealed(session, manifestSHA256, p7sSHA256 string) error
	// Amend enters the SHA-256 of amendment-N.json, in hex.
	Amend(session string, n int64, sha256 string) error
}

// Log is a recovery file being written in memory; *ledger.SessionLog is one.
type Log interface {
	Append(v any) (seq int64, line []byte, err error)
	Sign() (size int64, root evidence.Hash, err error)
	Take() []byte
}

// Options tells Run what to repair and with which identity.
type Options struct {
	Disks  []Disk
	Ledger Ledger
	NewLog func(origin string) Log // an empty log that signs with Key under this origin

	Device string        // D: sessions of another device are reported and left alone
	Key    crypto.Signer // the device key, P-256
	// Extras gives the signatures beside the CMS one where a session has an sm2.pem. nil: it has none to give.
	Extras func(manifest []byte) (map[string][]byte, error)
	Certs  []*x509.Certificate // device certificate first; only used where a folder lost its device.pem

	Now    func() clock.Reading
	BootID string // of the running kernel; another one in "open" means that the power was lost

	// Cut is asked why a session of this boot was cut, and at which uptime it ended, by a caller that was
	// there: it lost its disks and the agent ran on. nil, or an empty cause: the boot id tells.
	Cut func(session string) (cause string, up time.Duration)

	Skip     func(session string) bool // sessions in use by the recorder; nil: none
	Progress func(Progress)            // called from Run's goroutine, must not block; nil: none
	Log      *slog.Logger              // nil: silent
	Layer    durable.Layer             // nil: the real one
}

// Progress tells how far Run is.
type Progress struct {
	Session string
	N, Of   int // 1-based
}

// Outcome says what became of one session.
type Outcome string

// The outcomes. Only Recovered, Finished and LateTail end with a sealed session.
const (
	Recovered Outcome = "recovered" // repaired, recovery-N.jsonl written, sealed
	Finished  Outcome = "finished"  // the log had its end; only the seal was completed
	Unsigned  Outcome = "unsigned"  // cut before its first signature: nothing in it is proven; the folder was moved to tmp/
	Damaged   Outcome = "damaged"   // no copy could be used; nothing was touched
	Foreign   Outcome = "foreign"   // of another device or key; nothing was touched
	LateTail  Outcome = "late-tail" // a returned disk held more signed lines than the session was sealed with: they are in it now, with an amendment
	Waiting   Outcome = "waiting"   // it was sealed on a disk that is not here; nothing was touched
	Failed    Outcome = "failed"    // an error stopped the repair; the next Run goes on with it
)

// Item is what Run did for one session.
type Item struct {
	Session   string
	Outcome   Outcome
	Cause     string           // "power lost", "agent stopped unexpectedly", or as Options.Cut says
	Recovered map[string]int64 // fragments beyond the last signature, per channel
	LostBytes int64            // bytes moved to aside/
	GapFrom   int64            // µs of media time: earliest end of a channel
	GapTo     int64            // µs of media time: this boot
	Notes     []string         // damaged or foreign copies, absent disks, anything a person should know
	Err       error            // for Failed and Damaged
}

// Report is the result of Run, in the order of the session ids.
type Report struct {
	Items []Item
	Took  time.Duration
}

// Open is one unfinished session as [Pending] saw it.
type Open struct {
	Session string
	Boot    string        // boot id in its "open" line
	Paused  bool          // it was paused at the cut
	Ended   bool          // its log has a "close", or a copy is sealed: it was not being recorded
	Last    time.Time     // wall time of its last line by the device's clock; zero if unreadable
	LastUp  time.Duration // uptime of that line, to be compared only within Boot
	Info    []byte        // the "open" line, without LF; nil if unreadable
	Details []byte        // the last "details" line, without LF; nil if none
}
