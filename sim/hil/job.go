package hil

// Ports are the guest's virtio-serial ports: what its programs say on stdout and on stderr, and one
// [Result] a line as each ends.
const (
	PortOut     = "hil.out"
	PortErr     = "hil.err"
	PortResults = "hil.results"
)

// Share is the folder in the guest where the files of [Options] are.
const Share = "/share"

// Job is what a guest does: PID 1 reads it from job.json in the share.
type Job struct {
	Mounts  []Mount
	Network bool   // 10.0.2.15, the host is 10.0.2.2
	Work    string // a folder of the host that the guest sees at the same path; "" for none
	Run     []Program

	// Root, if there is one, is a whole system of its own: after the mounts, PID 1 moves into it and becomes
	// its Init. Run must be empty then; the guest is off when that system says so. Work is in it too.
	Root *Root
}

// Root is an ext4 file system with an operating system.
type Root struct {
	Device string
	Init   []string // program and arguments
}

// Mount is a disk of the guest, an ext4 file system.
type Mount struct{ Device, Dir string }

// Program is one program to run to its end.
type Program struct {
	Name string // in the result
	File string // in the share; copied to memory first
	Args []string
	Env  []string
	Dir  string // "" for /tmp
	// Seconds after which it is killed, 0 for never.
	Seconds int
	// Keep puts what it says into the result too, its last [KeepBytes].
	Keep bool
}

// Result is how a program ended.
type Result struct {
	Name    string
	Status  int // 128 + signal where one killed it; 126 where it did not start
	Seconds float64
	Error   string `json:",omitempty"`
	Output  string `json:",omitempty"` // see Program.Keep
}

// KeepBytes is how much of what a program says is kept.
const KeepBytes = 256 << 10
