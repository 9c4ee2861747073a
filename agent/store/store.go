// Package store is the catalogue of sessions: what a room page lists without opening a folder.
//
// The catalogue is a SQLite file (WAL, synchronous=FULL) in the state folder. It holds nothing that
// session folders, receipts and the ledger do not hold, but for the result of the last verification: when it is missing
// or corrupted, Open sets the file aside and says that Rebuild is due. A row is durable when Put
// returns. The catalogue proves nothing: package evidence does.
package store

import (
	"errors"
	"log/slog"
	"time"

	"minglu/agent/evidence"
)

// State is where a session stands.
type State string

// The states of a session.
const (
	Recording State = "recording"
	Sealing   State = "sealing"
	Sealed    State = "sealed"
	Recovered State = "recovered" // sealed after a cut
	Damaged   State = "damaged"   // its folder cannot be read to the end; only a person can help
)

// ErrNotFound means that the catalogue has no such session: answer 404.
var ErrNotFound = errors.New("store: no such session")

// Channel is one camera with its sound, or one microphone.
type Channel struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"` // "camera", "microphone"
	Codec    []string `json:"codec"`
	Segments int64    `json:"segments"`
}

// Verified is the result of the last verification.
type Verified struct {
	Exit  int       `json:"exit"` // 0, 1, 2, 3 as the verify command
	Grade int       `json:"grade"`
	At    time.Time `json:"at"` // zero: never verified
}

// Session is one row.
type Session struct {
	ID        string             `json:"id"`
	Device    evidence.Device    `json:"device"` // that recorded it; zero in rows of earlier versions
	Body      evidence.Body      `json:"body"`
	Case      string             `json:"case"`
	Matter    string             `json:"matter"`
	Flags     []string           `json:"flags"`
	Officers  []evidence.Officer `json:"officers"`
	Trigger   string             `json:"trigger"`
	Reason    string             `json:"reason"` // why it was closed
	Opened    time.Time          `json:"opened"`
	Closed    time.Time          `json:"closed"`   // zero while open
	Duration  time.Duration      `json:"duration"` // media time from the start to the end, breaks included
	State     State              `json:"state"`
	Note      string             `json:"note"` // for damaged: what is wrong with the folder
	Channels  []Channel          `json:"channels"`
	Breaks    int64              `json:"breaks"`
	Gaps      int64              `json:"gaps"`
	Marks     int64              `json:"marks"`
	Bytes     int64              `json:"bytes"`     // media on one disk
	Disks     []string           `json:"disks"`     // ids of the disks that hold a copy
	Continues string             `json:"continues"` // session id, "" if none

	// What manifest and amendments say, beside case, matter, flags and officers above (evidence.FactsOf).
	MatterID      string                `json:"matter_id,omitempty"`
	MatterVersion string                `json:"matter_version,omitempty"`
	Booking       string                `json:"booking,omitempty"`
	Attachments   []evidence.Attachment `json:"attachments,omitempty"`
	Refused       []evidence.Refusal    `json:"refused,omitempty"`
	Amended       int64                 `json:"amended,omitempty"` // amendments

	Verified Verified `json:"verified"`
	Kept     Kept     `json:"kept"`
}

// Filter narrows List. The zero Filter takes everything.
type Filter struct {
	Body   string // USCC
	Before string // only ids below this one: the next page of a list
	Case   string // exact
	State  State
	From   time.Time // opened at or after
	Until  time.Time // opened before
	Here   bool      // only those that are not gone ([Kept])
	Text   string    // found in case, matter or an officer's name
}

// Disk is one disk present: its id and the folder that holds sessions/.
type Disk struct {
	ID  string
	Dir string
}

// Progress tells how far Rebuild is.
type Progress struct{ N, Of int }

// Options says where the catalogue is.
type Options struct {
	Path string       // e.g. state/catalogue.db
	Log  *slog.Logger // nil: silent
}
