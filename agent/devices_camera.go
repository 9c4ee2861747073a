package main

import (
	"log/slog"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/drivers"
	"minglu/drivers/pipeline"
	"minglu/drivers/v4l2"
)

func kernelCamera(c *config.V4L2, log *slog.Logger) (drivers.Source, error) {
	o := v4l2.Options{Device: c.Device, Width: c.Width, Height: c.Height, FPS: c.FPS, Encoder: c.Encoder, Control: map[string]int64{}, Uptime: clock.Uptime, Log: log}
	if f := c.Format; len(f) == 4 {
		o.Format = v4l2.FourCC(f[0]) | v4l2.FourCC(f[1])<<8 | v4l2.FourCC(f[2])<<16 | v4l2.FourCC(f[3])<<24
	}
	for _, s := range c.Controls {
		if name, v, ok := config.Control(s); ok {
			o.Control[name] = v
		}
	}
	return v4l2.New(o)
}

// pipelineCamera draws date, time and the channel's name where its command has a place for it.
func pipelineCamera(c config.Channel, log *slog.Logger) (drivers.Source, error) {
	overlay := func() string { return time.Now().Format("2006-01-02 15:04:05 -07:00") + " " + c.Name }
	return pipeline.NewSource(pipeline.SourceOptions{Command: c.Camera.Pipeline.Command.Reveal(), Template: c.Camera.Pipeline.Name, Name: c.ID, Overlay: overlay, Uptime: clock.Uptime, Log: log})
}
