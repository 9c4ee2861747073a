package record

import "time"

// DiskStatus is one disk as last seen.
type DiskStatus struct {
	Disk        string
	ID          string // of disk.json, "" until it was read
	OK          bool
	Cause       string        // as in DiskEvent, "" while OK
	Free, Total int64         // bytes, -1 unknown
	Queued      int64         // bytes waiting
	Lag         time.Duration // for how long the oldest thing has been waiting
	Synced      int64         // batches made durable since start
	LastSync    time.Duration // how long the last one took
}

// Sealed is what became of a session.
type Sealed struct {
	Session  string
	Reason   string        // as given to Close, or "disk-full"
	Disks    []string      // folders on which it is sealed
	Failed   []DiskEvent   // disks that failed during the session
	Manifest string        // SHA-256 of manifest.json, hex
	Took     time.Duration // from Close to the ledger's sealed line
	Media    time.Duration // media time at the end
	Err      error         // nil: sealed on each of Disks. Else it is left to recovery
}

// Status is a running session as last seen.
type Status struct {
	Session  string
	State    string // one of the State constants
	Media    time.Duration
	Channels []ChannelStatus
	Disks    []string      // folders it is being written to
	Size     int64         // lines signed
	Durable  int64         // lines signed that are durable on a disk
	Unsynced time.Duration // media beyond them
}

// ChannelStatus is one channel of a session.
type ChannelStatus struct {
	Ch        string
	Segment   int64 // 0: nothing recorded yet
	Fragments int64
	Bytes     int64
	To        time.Duration // media time at the end of the last fragment
	Gaps      int64
	GapTotal  time.Duration // declared so far
	Dropped   int64         // samples not recorded: before a keyframe, in a pause, of an unknown format
}
