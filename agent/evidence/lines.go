package evidence

// Line types of evidence-format.md section 2. Each struct is marshalled by [MarshalLine] into its
// canonical form; field names are the format's. Times t, te, up, at, from, to are microseconds.

// Common holds the fields each line but "sign" has. Salt is absent in fragment lines.
type Common struct {
	Type string `json:"type"`
	Seq  int64  `json:"seq"`            // line number in the log, from 0
	T    int64  `json:"t"`              // µs since 1970 UTC by the device's clock
	TE   int64  `json:"te"`             // error bound of T in µs, -1 unknown
	Up   int64  `json:"up"`             // µs since boot
	Salt string `json:"salt,omitempty"` // 32 hex digits, random; none in fragment lines
}

// LedgerRef points to a state of the device ledger.
type LedgerRef struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
}

// Body is the law-enforcement body a session belongs to.
type Body struct {
	Name   string `json:"name"`
	USCC   string `json:"uscc"`
	System string `json:"system"`
}

// Officer is one officer with the number of the enforcement credential.
type Officer struct {
	Name       string `json:"name"`
	Credential string `json:"credential"`
}

// Device says which device opened a session.
type Device struct {
	ID    string `json:"id"` // D of evidence-format.md section 1
	Name  string `json:"name"`
	Room  string `json:"room"`
	Board string `json:"board"`
	SW    string `json:"sw"`
	TPM   bool   `json:"tpm"`
}

// Open is line 0 of a session log.
type Open struct {
	Common
	V         int       `json:"v"` // 1
	Session   string    `json:"session"`
	Origin    string    `json:"origin"`
	Boot      string    `json:"boot"` // kernel boot id
	Device    Device    `json:"device"`
	Body      Body      `json:"body"`
	Trigger   string    `json:"trigger"`
	SW        string    `json:"sw"`
	Config    string    `json:"config"` // SHA-256 of the configuration, secrets removed
	Cert      string    `json:"cert"`   // SHA-256 of device.pem
	Ledger    LedgerRef `json:"ledger"`
	Token     string    `json:"token"`     // SHA-256 of the newest outside token, "" if none
	Continues string    `json:"continues"` // session id, "" if none
	Disks     []string  `json:"disks"`
	CycleMS   int64     `json:"cycle_ms"`
	AheadMS   int64     `json:"ahead_ms"`
	Src       string    `json:"src"` // source of the clock: "chrony", "kernel", "unverified"

	Channels []string `json:"channels,omitempty"` // ids of those that should deliver: one that never does is a gap

	// SKey and SKeySig name a key made for this session alone and certified by the device's; see
	// [Signer.CertifySessionKey]. Absent where the device's own key signs the log.
	SKey    string `json:"skey,omitempty"`
	SKeySig string `json:"skey_sig,omitempty"`
}

// Details says or completes whose session it is; the last one holds. (Ours; the format keeps unknown types.)
type Details struct {
	Common
	Case     string    `json:"case"`
	Matter   string    `json:"matter"`
	Officers []Officer `json:"officers"`
	Flags    []string  `json:"flags"` // "drill", "minor", "secret"

	// MatterID and MatterVersion say where in the office's list Matter stands, Booking which booking was taken.
	MatterID      string `json:"matter_id,omitempty"`
	MatterVersion string `json:"matter_version,omitempty"`
	Booking       string `json:"booking,omitempty"`
}

// SegmentOpen begins one file of one channel.
type SegmentOpen struct {
	Common
	Ch        string   `json:"ch"`
	Seg       int64    `json:"seg"` // from 1
	File      string   `json:"file"`
	Init      string   `json:"init"` // SHA-256 of the first InitLen bytes
	InitLen   int64    `json:"init_len"`
	Reserve   int64    `json:"reserve"`   // bytes of the free box after the init
	Base      int64    `json:"base"`      // lead track ticks at media time 0; this writer always uses 0
	Timescale int64    `json:"timescale"` // of the lead track
	Codec     []string `json:"codec"`     // RFC 6381, one per track, lead first
	Camera    string   `json:"camera"`    // identity the device tells
	SDP       string   `json:"sdp"`       // SHA-256 of the session description, "" if none
	// Shown says what can be read in the pictures, and who put it there: keys time, place, climate, case with "board",
	// "camera" or "none"; "stated" names who looked, and when, if it is not known by construction.
	Shown map[string]string `json:"shown,omitempty"`
}

// Fragment is one moof+mdat of a segment file.
type Fragment struct {
	Common
	Ch      string  `json:"ch"`
	Seg     int64   `json:"seg"`
	N       int64   `json:"n"` // per channel from 0, over segments
	Off     int64   `json:"off"`
	Len     int64   `json:"len"`
	Head    string  `json:"head"` // SHA-256 of the moof box
	Body    string  `json:"body"` // SHA-256 of the mdat box
	From    int64   `json:"from"`
	To      int64   `json:"to"`
	Samples []int64 `json:"samples"` // per track of the init, in its order
	St      int64   `json:"st"`      // seq of the last pause, resume, gap, clock, segment.open or segment.close line before this one
}

// SegmentClose ends a file. SHA256 is of the whole file with its index in place; Index is the
// SHA-256 of the reserve's bytes once they hold the index.
type SegmentClose struct {
	Common
	Ch     string `json:"ch"`
	Seg    int64  `json:"seg"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	SM3    string `json:"sm3"`
	Index  string `json:"index"`
}

// Gap is a declared loss.
type Gap struct {
	Common
	Ch    string `json:"ch"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
	Cause string `json:"cause"`
}

// Pause (type "pause" or "resume") frames a declared break of all channels. At is media time.
type Pause struct {
	Common
	At     int64  `json:"at"`
	Reason string `json:"reason"`
	Who    string `json:"who"`
}

// Clock ties media time to wall time from At on; a new epoch begins with a step.
type Clock struct {
	Common
	Epoch int64  `json:"epoch"`
	At    int64  `json:"at"`   // media time
	Step  int64  `json:"step"` // µs the wall clock jumped, 0 at the first
	Src   string `json:"src"`
}

// Mark is a moment worth finding again.
type Mark struct {
	Common
	At   int64  `json:"at"`
	Text string `json:"text"`
	Who  string `json:"who"`
	Kind string `json:"kind,omitempty"` // "agenda" a step of the hearing, "button" the room's button; none: free
}

// Event covers the types notice, precheck, climate, lamp, fault, cleared, prompt, access.
type Event struct {
	Common
	At   int64             `json:"at"`
	Code string            `json:"code"` // fault code, lamp state, …; "" if the type says all
	Ch   string            `json:"ch"`   // channel or disk concerned, "" for the room
	Text string            `json:"text"`
	Data map[string]string `json:"data,omitempty"` // keys [a-z][a-z0-9_]{0,31}
}

// Close ends the media of a session.
type Close struct {
	Common
	At        int64            `json:"at"`
	Reason    string           `json:"reason"`
	Fragments map[string]int64 `json:"fragments"` // per channel; so a channel id obeys the key rule [a-z][a-z0-9_]{0,31}
}

// Seal is the last line before the last sign line.
type Seal struct {
	Common
}

// Sign is the line that signs all before it.
type Sign struct {
	Type string `json:"type"` // "sign"
	Root string `json:"root"`
	Sig  string `json:"sig"`
	Size int64  `json:"size"`
}
