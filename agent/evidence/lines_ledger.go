package evidence

// Lines of the device ledger, evidence-format.md section 2. They carry opaque ids and digests only.

// Generation is line 0 of a ledger.
type Generation struct {
	Common
	Prev        *LedgerRef `json:"prev"`         // last state of the generation before, null if there was none
	WitnessSize int64      `json:"witness_size"` // size a witness holds of the generation before, -1 unknown
	Cause       string     `json:"cause"`        // why a new generation: "first", "missing", "damaged", "shorter than published", "shorter than witnessed", "other board", "other key"
	Disks       []string   `json:"disks"`        // ids of the disks present
}

// Boot tells one start of the agent.
type Boot struct {
	Common
	Boot  string `json:"boot"`  // kernel boot id
	NV    int64  `json:"nv"`    // TPM NV counter; 0 without a TPM; may skip, never falls
	Board string `json:"board"` // serial of the board, "" if it tells none
}

// LedgerClock (type "clock" in the ledger) tells a step of the wall clock or a change of its source.
type LedgerClock struct {
	Common
	Epoch int64  `json:"epoch"`
	Step  int64  `json:"step"` // µs the wall clock jumped
	Src   string `json:"src"`
}

// Key announces another signing key, signed by the old one.
type Key struct {
	Common
	SPKI string `json:"spki"` // base64 DER SubjectPublicKeyInfo
	Cert string `json:"cert"` // SHA-256 of the certificate file
	Use  string `json:"use"`  // "sign", "sm2"
}

// Config tells the digest of the configuration in force, secrets removed.
type Config struct {
	Common
	SHA256 string `json:"sha256"`
}

// Disks tells which disks are written from here on.
type Disks struct {
	Common
	Writing []string `json:"writing"`
}

// Head commits to a state of a session log: size and root of one of its sign lines.
type Head struct {
	Common
	Session string `json:"session"`
	Log     string `json:"log"` // file name, "log.jsonl" or "recovery-N.jsonl"
	Size    int64  `json:"size"`
	Root    string `json:"root"`
}

// Sealed commits to the manifest of a session.
type Sealed struct {
	Common
	Session  string `json:"session"`
	Manifest string `json:"manifest"` // SHA-256 of manifest.json
	P7S      string `json:"p7s"`      // SHA-256 of manifest.json.p7s
}

// Token names an RFC 3161 token over a checkpoint of this ledger.
type Token struct {
	Common
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Asked  int64  `json:"asked,omitempty"` // µs since 1970 by the device's clock when it was asked for; T is when it was there
}

// Cosig names a witness's cosignature over a checkpoint of this ledger.
type Cosig struct {
	Common
	Size    int64  `json:"size"`
	Witness string `json:"witness"`
	SHA256  string `json:"sha256"`
}

// AmendRef (type "amend" in the ledger) commits to amendment n of a session.
type AmendRef struct {
	Common
	Session string `json:"session"`
	N       int64  `json:"n"`
	SHA256  string `json:"sha256"`
}

// AccessRef (type "access" in the ledger) tells that a session was looked at; Ref is random and
// points to the register that says by whom.
type AccessRef struct {
	Common
	Session string `json:"session"`
	Ref     string `json:"ref"`
}

// Archived tells that the archive proved receipt of a session.
type Archived struct {
	Common
	Session string `json:"session"`
	SHA256  string `json:"sha256"` // of the receipt
}

// Destroy (type "destroying" before, "destroyed" after) tells the lawful end of a session.
type Destroy struct {
	Common
	Session   string `json:"session"`
	Appraisal string `json:"appraisal"` // SHA-256 of the signed appraisal
}

// NotRecordedRef (type "notrecorded") commits to a record of what was lawfully not recorded, by its digest.
type NotRecordedRef struct {
	Common
	ID     string `json:"id"`     // of the record, random: it tells nothing
	SHA256 string `json:"sha256"` // of the record
}

// LostTail (type "lost") tells that a person gave up what an absent disk held of a session beyond Size.
type LostTail struct {
	Common
	Session string `json:"session"`
	Size    int64  `json:"size"`
	Disk    string `json:"disk"`
	Cause   string `json:"cause"`
}

// Adopt tells that the disks of another device were taken over.
type Adopt struct {
	Common
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	Disk   string `json:"disk"`
}

// Lines of the session log that come from outside proofs and amendments.

// Anchor tells a running session that the ledger state (Size, Root) got an outside time.
type Anchor struct {
	Common
	Size  int64  `json:"size"`
	Root  string `json:"root"`
	Token string `json:"token"` // SHA-256 of the token, "" if it was a cosignature
	Cosig string `json:"cosig"` // SHA-256 of the cosignature line, "" if it was a token
}

// Lines of a recovery file, evidence-format.md section 2.

// Recovery is line 0 of a recovery file.
type Recovery struct {
	Common
	Of      string   `json:"of"`   // origin of the log it continues
	Size    int64    `json:"size"` // the deciding signature of that log
	Root    string   `json:"root"`
	Boot    string   `json:"boot"`    // kernel boot id of the recovering start
	Present []string `json:"present"` // ids of the disks read
	Absent  []string `json:"absent"`  // ids of the disks that should have been there
	Cause   string   `json:"cause"`   // "power lost", "agent stopped unexpectedly"
	Src     string   `json:"src"`     // source of the clock of this start (ours: the manifest's closed.src)
}

// Recovered (type "recovered") is a fragment found whole behind the deciding signature.
// Its St counts lines of the recovery file, -1 before its first gap or segment line.
type Recovered = Fragment

// Aside tells what was moved to aside/.
type Aside struct {
	Common
	File   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Why    string `json:"why"` // "torn", "beyond"
}

// TypeOf returns the type of a line struct, or of a pointer to one, that has only one; else "".
// Pause, Event and Destroy have several. A [Fragment] is a "fragment"; a recovered one must say so.
func TypeOf(v any) string {
	switch v.(type) {
	case Open, *Open:
		return "open"
	case Details, *Details:
		return "details"
	case SegmentOpen, *SegmentOpen:
		return "segment.open"
	case Fragment, *Fragment:
		return "fragment"
	case SegmentClose, *SegmentClose:
		return "segment.close"
	case Gap, *Gap:
		return "gap"
	case Clock, *Clock, LedgerClock, *LedgerClock:
		return "clock"
	case Mark, *Mark:
		return "mark"
	case Close, *Close:
		return "close"
	case Seal, *Seal:
		return "seal"
	case Anchor, *Anchor:
		return "anchor"
	case Recovery, *Recovery:
		return "recovery"
	case Aside, *Aside:
		return "aside"
	}
	return ledgerTypeOf(v)
}

func ledgerTypeOf(v any) string {
	switch v.(type) {
	case Generation, *Generation:
		return "generation"
	case Boot, *Boot:
		return "boot"
	case Key, *Key:
		return "key"
	case Config, *Config:
		return "config"
	case Disks, *Disks:
		return "disks"
	case Head, *Head:
		return "head"
	case Sealed, *Sealed:
		return "sealed"
	case Token, *Token:
		return "token"
	case Cosig, *Cosig:
		return "cosig"
	case AmendRef, *AmendRef:
		return "amend"
	case AccessRef, *AccessRef:
		return "access"
	case Archived, *Archived:
		return "archived"
	case NotRecordedRef, *NotRecordedRef:
		return "notrecorded"
	case LostTail, *LostTail:
		return "lost"
	case Adopt, *Adopt:
		return "adopt"
	}
	return ""
}
