package health

import (
	"time"

	"minglu/drivers"
)

// Facts are what main knows and the samples do not tell. Pointers that are nil mean unknown.
type Facts struct {
	Recording bool   // a session records now
	Paused    bool   // a session is paused: nothing is looked at
	Closed    bool   // outside the opening hours
	Class     string // class of the body, "" unknown

	Channels []ChannelFact
	Disks    []DiskFact
	Session  *SessionFact // nil: no session
	Clock    ClockFact
	Climate  *ClimateFact // nil: no thermometer, or it has not answered yet
	Power    *PowerFact   // nil: no battery with a meter, or it has not answered yet
	Uplink   UplinkFact
	Stamps   StampFact
	Archive  ArchiveFact

	LastPrecheck   *bool          // the check before use of the newest session was made; nil: no session yet
	LongestRun     *time.Duration // longest stretch ever recorded without a gap, the running one included
	ResumeAfter    *time.Duration // power back to recording again, the last time that happened
	LastVerified   *time.Duration // age of the newest verification of a stored session
	CertDaysLeft   *float64       // of the device certificate
	Unexplained    *int           // looks at content of the last 30 days that state no purpose; nil: unknown
	APIDeletes     bool           // the pages or the API let users delete or alter recordings
	HasThermometer bool
	HasBattery     bool
}

// ChannelFact is one channel as capture sees it.
type ChannelFact struct {
	ID             string
	Connected      bool
	ConnectedSince time.Duration // uptime, while Connected; 0: long ago
	SampleAge      time.Duration // since the last sample of the lead track arrived, -1 if none ever did
	Problem        string        // code of drivers.Problem while not Connected, "" none
	Level          Level         // of a raw microphone
	SourceHz       int           // PCM rate of a raw microphone before it was encoded, 0 unknown
	Shown          drivers.Shown // what can be read in the pictures, as the source of the last connection says
}

// Level is how loud a raw microphone is, as capture.Level.
type Level struct {
	Known   bool
	RMS     float64       // dBFS
	Clipped float64       // share of PCM frames at full scale, 0 to 1
	Quiet   time.Duration // how long RMS has been under -60 dBFS
}

// DiskFact is one disk as record sees it.
type DiskFact struct {
	Name string // as in [Disk]
	OK   bool   // can be written
	Free int64  // bytes that may still be written, the floor taken off; -1 unknown
}

// SessionFact is the session under way.
type SessionFact struct {
	Began           time.Duration            // uptime of the trigger
	GapTotal        map[string]time.Duration // declared gaps per channel; nil: unknown
	Unsigned        time.Duration            // media beyond the last signature that is durable
	Disks           []string                 // names of those it is written to; nil: unknown. A disk that came back is not among them
	NoticeAfter     *time.Duration           // trigger to notice; nil: not given yet
	TriggerToRecord *time.Duration           // trigger to the first durable signature; nil: not yet
	LampLag         *time.Duration           // how long the lamp took to follow, or has failed to; nil: no lamp
}

// ClockFact is what is known of the wall clock beside its reading.
type ClockFact struct{ Polled bool } // a source was asked at least once

// ClimateFact is one reading of the room's air.
type ClimateFact struct {
	At       time.Duration // uptime
	Celsius  float64
	Humidity *float64 // %RH; nil: this sensor does not tell
}

// PowerFact is one reading of what the room runs on.
type PowerFact struct {
	At     time.Duration // uptime
	Mains  bool
	Volts  float64        // of the battery
	Charge float64        // of the battery, 0 to 1
	Left   *time.Duration // until the battery is empty; nil with mains
	Low    bool           // the voltage is one at which the board goes down
}

// UplinkFact is how reports reach the office.
type UplinkFact struct {
	Configured bool
	LastAck    time.Duration // uptime at which the office last acknowledged, or was found to need nothing; 0 never
}

// ArchiveFact is how sessions are handed over and kept.
type ArchiveFact struct {
	Configured bool
	OldestFor  *time.Duration // how long the oldest session waits; 0 none does; nil unknown
	Early      *int           // sessions gone before they might; nil unknown
}

// StampFact is how sessions get time-stamp tokens.
type StampFact struct {
	Configured  bool
	UnstampedIn *time.Duration // age of the oldest sealed session without a token; 0 none; nil unknown
}
