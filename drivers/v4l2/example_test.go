package v4l2_test

import (
	"context"
	"fmt"
	"time"

	"minglu/drivers"
	"minglu/drivers/v4l2"
)

// printer is a sink that says what comes.
type printer struct{}

func (printer) Open(d drivers.Description)        { fmt.Println("camera", d.Identity) }
func (printer) Sample(s drivers.Sample)           { fmt.Println(s.PTS, len(s.Data), s.Keyframe) }
func (printer) SenderReport(drivers.SenderReport) {}
func (printer) Lost(_, n int, cause string)       { fmt.Println("lost", n, cause) }

// A camera with H.264, for a second.
func ExampleSource_Run() {
	began := time.Now()
	camera, err := v4l2.New(v4l2.Options{
		Device: "/dev/v4l/by-id/usb-maker_model_serial-video-index0",
		Width:  1920, Height: 1080, FPS: 25,
		Control: map[string]int64{"brightness": 128},
		Uptime:  func() time.Duration { return time.Since(began) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(camera.Run(ctx, printer{}))
}
