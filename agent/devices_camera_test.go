package main

import (
	"log/slog"
	"testing"

	"minglu/agent/config"
)

// TestCamerasOfTheBoard: what the configuration names becomes a source, and prints no password.
func TestCamerasOfTheBoard(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for _, c := range []config.Camera{
		{V4L2: &config.V4L2{Device: "/dev/v4l/by-id/x", Format: "H264", Controls: []string{"brightness=1"}}},
		{Pipeline: &config.CameraPipeline{Command: config.Command{"ffmpeg", "{overlay}"}}},
	} {
		if s, err := source(config.Channel{ID: "face", Name: "face", Camera: &c}, nil, nil, quiet); err != nil || s == nil {
			t.Errorf("source(%+v) = %v, %v", c, s, err)
		}
	}
}
