package evidence

import (
	"crypto/sha256"
	"encoding/hex"
)

// Manifest ends a session and never changes, evidence-format.md section 3. Times at, from, to are µs
// of media time; t is µs since 1970 UTC. All slices are written as [] when empty.
type Manifest struct {
	Type      string            `json:"type"` // "manifest"
	V         int64             `json:"v"`    // 1
	Session   string            `json:"session"`
	Origin    string            `json:"origin"`
	Device    Device            `json:"device"`
	Body      Body              `json:"body"`
	Case      string            `json:"case"`
	Matter    string            `json:"matter"`
	Flags     []string          `json:"flags"`
	Officers  []Officer         `json:"officers"`
	Trigger   string            `json:"trigger"`
	Reason    string            `json:"reason"`
	Continues string            `json:"continues"`
	Opened    Moment            `json:"opened"`
	Closed    Moment            `json:"closed"`
	Channels  []ManifestChannel `json:"channels"`
	Breaks    []Break           `json:"breaks"`
	Gaps      []GapSpan         `json:"gaps"`
	Marks     []MarkPoint       `json:"marks"`
	Clock     []ClockPoint      `json:"clock"`
	Logs      []LogDigest       `json:"logs"`
	Ledger    LedgerRef         `json:"ledger"` // newest ledger state the logs name: the last anchor line, else open
	Tokens    []TokenDigest     `json:"tokens"`
	Certs     []FileDigest      `json:"certs"` // device.pem first, then chain.pem if there is one
	Aside     []AsideFile       `json:"aside"`
	Disks     DiskSets          `json:"disks"`

	// From `details` lines that have them.
	MatterID      string `json:"matter_id,omitempty"`
	MatterVersion string `json:"matter_version,omitempty"`
	Booking       string `json:"booking,omitempty"`
}

// Moment is a reading of the wall clock.
type Moment struct {
	T   int64  `json:"t"`
	TE  int64  `json:"te"`
	Src string `json:"src"`
}

// ManifestChannel is one channel with its files.
type ManifestChannel struct {
	ID       string            `json:"id"`
	Kind     string            `json:"kind"`  // "camera" if its first track is video, else "microphone"
	Codec    []string          `json:"codec"` // RFC 6381, distinct, in order of appearance
	Identity string            `json:"identity"`
	Segments []ManifestSegment `json:"segments"`
}

// ManifestSegment is one file. Size 0 and empty digests mean that nobody could close it.
type ManifestSegment struct {
	N         int64  `json:"n"`
	File      string `json:"file"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	SM3       string `json:"sm3"`
	Init      string `json:"init"`
	InitLen   int64  `json:"init_len"`
	Reserve   int64  `json:"reserve"`
	Fragments int64  `json:"fragments"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// Break is a declared pause.
type Break struct {
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Reason string `json:"reason"`
	Who    string `json:"who"`
}

// GapSpan is a declared loss.
type GapSpan struct {
	Ch    string `json:"ch"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
	Cause string `json:"cause"`
}

// MarkPoint is a mark.
type MarkPoint struct {
	At   int64  `json:"at"`
	Text string `json:"text"`
	Kind string `json:"kind,omitempty"` // as in the line
}

// ClockPoint ties media time to wall time.
type ClockPoint struct {
	Epoch int64  `json:"epoch"`
	At    int64  `json:"at"`
	T     int64  `json:"t"`
	TE    int64  `json:"te"`
	Src   string `json:"src"`
}

// LogDigest names a log file whole: Size counts all its lines, the last sign line included.
type LogDigest struct {
	File   string `json:"file"`
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// TokenDigest names a token over the ledger at Size.
type TokenDigest struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// FileDigest names a file.
type FileDigest struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// AsideFile names a file of aside/.
type AsideFile struct {
	File   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Why    string `json:"why"`
}

// DiskSets tells which disks the manifest was made from.
type DiskSets struct {
	Present []string `json:"present"`
	Absent  []string `json:"absent"`
}

// Marshal returns manifest.json: RFC 8785 bytes without a line feed.
func (m *Manifest) Marshal() ([]byte, error) { return MarshalCanonical(m) }

// ParseManifest reads manifest.json strictly: canonical bytes, every field present, no other field.
func ParseManifest(b []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := UnmarshalCanonical(b, m, true); err != nil {
		return nil, err
	}
	return m, nil
}

// DigestFile returns the name and SHA-256 of a file.
func DigestFile(file string, b []byte) FileDigest {
	sum := sha256.Sum256(b)
	return FileDigest{File: file, SHA256: hex.EncodeToString(sum[:])}
}
