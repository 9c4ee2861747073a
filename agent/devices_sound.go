package main

import (
	"fmt"
	"log/slog"
	"os"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/drivers"
	"minglu/drivers/alsa"
	"minglu/drivers/sim"
)

// cards are the sound cards in use, by device: channels at one card share it.
type cards map[string]*alsa.Card

// microphone returns the microphone of a channel; nothing is opened yet.
func (c cards) microphone(m *config.Capture, log *slog.Logger) (drivers.Source, error) {
	card := c[m.Device]
	if card == nil {
		var err error
		if card, err = alsa.NewCard(alsa.CardOptions{Name: m.Device, RateHz: m.Rate, Uptime: clock.Uptime, Log: log}); err != nil {
			return nil, err
		}
		c[m.Device] = card
	}
	return card.Microphone(alsa.Seat{Channels: m.Channels, Gain: m.Gain, Control: m.Control})
}

// openSpeaker makes the speaker and reads what it announces.
func (d *devices) openSpeaker(s *config.Speaker, room *sim.Room, log *slog.Logger) (err error) {
	if s == nil {
		return nil
	}
	switch {
	case s.Sim != nil:
		d.speaker = room.Speaker()
	case s.ALSA != nil:
		if d.speaker, err = alsa.NewSpeaker(alsa.SpeakerOptions{Name: s.ALSA.Device, Volume: s.ALSA.Volume, Control: s.ALSA.Control, Log: log}); err != nil {
			return fmt.Errorf("speaker: %w", err)
		}
	}
	d.notice = sim.Chime()
	if s.Announcement != "" {
		if d.notice, err = os.ReadFile(s.Announcement); err != nil {
			return fmt.Errorf("speaker: announcement: %w", err)
		}
	}
	return nil
}
