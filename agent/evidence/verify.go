package evidence

import (
	"io/fs"
	"time"
)

// DefaultRequire is the grade a session must have unless the caller says otherwise.
const DefaultRequire = 1

// Limits of step V1. What is beyond them is not checkable.
const (
	MaxFiles    = 100_000   // in one place
	MaxJSON     = 64 << 20  // bytes of manifest.json
	MaxLog      = 512 << 20 // bytes of a log file (about two days of four channels)
	MaxMoov     = 1 << 20   // bytes of ftyp and moov
	MaxFragment = 64 << 20  // bytes of one fragment
	MaxReserve  = 16 << 20  // bytes of the space for the index
	MaxDER      = 64 << 10  // bytes of a certificate or signature file
)

// Place is a folder to verify: a session folder, a disk (sessions/ and ledger/), a folder of session
// folders, a ledger, a folder of ledgers or a state folder. For a session folder the last element of
// Path is its name, which must be the session's id.
type Place struct {
	Path string // as shown in the result
	FS   fs.FS
}

// VerifyOptions says what to trust and what to ask for. The zero value trusts nobody and requires
// nothing; commands start from [DefaultRequire].
type VerifyOptions struct {
	Path     string         // of the file system given to Verify
	Trust    *Trust         // nil: nobody vouches for a signer, the grade is 0
	Require  int            // grade below which the exit code is 3
	Window   time.Duration  // largest width for grades 2 and 3; 0: DefaultWindow
	Progress func(Progress) // called now and then from Verify's goroutine, must not block; nil: none
}

// Progress tells how far a verification is.
type Progress struct {
	Session string
	File    string
	Done    int64 // bytes of media read, over all sessions
	Total   int64 // bytes of media known so far
}

// Verify checks what is in one place. It only reads, never beyond its limits, holds one fragment and
// one log in memory at a time, and answers for any content whatsoever: what it cannot read is not
// checkable, never proven. It blocks for as long as reading and hashing all media takes.
func Verify(fsys fs.FS, o VerifyOptions) Result {
	return VerifyPlaces([]Place{{Path: o.Path, FS: fsys}}, o)
}
