package drivers

import "time"

// ShownBy says who puts something into a picture where people can read it.
type ShownBy string

// Who may. Unknown is the zero value: a picture that nobody here draws on is not read.
const (
	ShownUnknown ShownBy = ""
	ShownByNone  ShownBy = "none"   // it is certainly not there
	ShownByBoard ShownBy = "board"  // drawn here; a time is that of this board's clock
	ShownByCam   ShownBy = "camera" // drawn by the camera; a time is that of its clock
)

// Shown says what can be read in the pictures of a stream, and whose clock tells the time there.
type Shown struct {
	Time, Place, Climate, Case ShownBy
	// Stated is empty when all this is known by construction; else it names the person who looked and the
	// day, as "王某 2026-11-25".
	Stated string
}

// Overlay is text that a driver draws into the pictures which this board codes itself. Safe for concurrent use.
type Overlay interface {
	// Shown says what stands in every picture, from the first to the last.
	Shown() Shown
	// Lines is the text of the picture taken at uptime at, from the top. It does not block; a driver asks once a picture.
	Lines(at time.Duration) []string
}
