package rtsp_test

import (
	"context"
	"fmt"
	"time"

	"minglu/drivers"
	"minglu/drivers/rtsp"
)

// record receives from a camera for as long as ctx lives.
func record(ctx context.Context, out drivers.Sink, uptime func() time.Duration) error {
	camera, err := rtsp.New(rtsp.Options{URL: "rtsp://viewer:secret@192.0.2.10/stream1", Uptime: uptime})
	if err != nil {
		return err
	}
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		err := camera.Run(ctx, out)
		fmt.Println(camera, err) // shows no password, and says what to do
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return context.Cause(ctx)
}

func Example() { _ = record }
