package overlay_test

import (
	"fmt"
	"time"

	"minglu/drivers"
	"minglu/drivers/overlay"
)

// sign says the same at any time.
type sign []string

func (s sign) Shown() drivers.Shown         { return drivers.Shown{Place: drivers.ShownByBoard} }
func (s sign) Lines(time.Duration) []string { return s }

// A grey picture of 320 × 180, its planes one behind the other, gets a line of text.
func ExamplePainter_Draw() {
	const w, h = 320, 180
	memory := make([]byte, w*h*3/2)
	picture := &overlay.Picture{Width: w, Height: h,
		Y: overlay.Plane{Pix: memory, Stride: w, Step: 1, SubX: 1, SubY: 1},
		U: overlay.Plane{Pix: memory[w*h:], Stride: w / 2, Step: 1, SubX: 2, SubY: 2},
		V: overlay.Plane{Pix: memory[w*h*5/4:], Stride: w / 2, Step: 1, SubX: 2, SubY: 2},
	}
	p := overlay.NewPainter(sign{"ROOM 3"}, overlay.Builtin())
	fmt.Println(p.Draw(picture, 0), memory[0])
	// Output: <nil> 16
}
