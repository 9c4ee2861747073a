package main

import (
	"log/slog"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/drivers"
	"minglu/drivers/pipeline"
	"minglu/drivers/v4l2"
)

// kernelCamera draws the channel's text into pictures that the camera delivers raw.
func kernelCamera(ch config.Channel, text *captions, log *slog.Logger) (drivers.Source, error) {
	c := ch.Camera.V4L2
	o := v4l2.Options{Device: c.Device, Width: c.Width, Height: c.Height, FPS: c.FPS, Encoder: c.Encoder, Control: map[string]int64{}, Overlay: text.of(ch.Name), Font: text.font, Uptime: clock.Uptime, Log: log}
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

// pipelineCamera draws the channel's text where its command has a place for it.
func pipelineCamera(c config.Channel, text *captions, log *slog.Logger) (drivers.Source, error) {
	p := c.Camera.Pipeline
	return pipeline.NewSource(pipeline.SourceOptions{Command: p.Command.Reveal(), Template: p.Name, Name: c.ID, Overlay: text.ofCommand(c.Name), Uptime: clock.Uptime, Log: log})
}
