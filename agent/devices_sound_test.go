package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"minglu/agent/config"
	"minglu/drivers/alsa"
)

// TestSoundWiring: seats at one sound card share it, and the speaker plays what the file names.
func TestSoundWiring(t *testing.T) {
	notice := filepath.Join(t.TempDir(), "notice.wav")
	if err := os.WriteFile(notice, []byte("RIFF"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("agent.yaml", []byte(`device: {name: r, room: r}
storage: {disks: [a]}
channels:
  - {id: officer, microphone: {alsa: {device: "usb:1-1.4", channels: [1], gain: 60}}}
  - {id: party, microphone: {alsa: {device: "usb:1-1.4", channels: [2]}}}
  - {id: desk, microphone: {alsa: "hw:CARD=Desk"}}
speaker: {alsa: "hw:CARD=Desk", announcement: `+notice+`}
`))
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := openDevices(cfg, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var mics []*alsa.Microphone
	for _, c := range d.channels {
		m, ok := c.Source.(*alsa.Microphone)
		if !ok {
			t.Fatalf("channel %s is a %T", c.ID, c.Source)
		}
		mics = append(mics, m)
	}
	if mics[0].Card() != mics[1].Card() || mics[0].Card() == mics[2].Card() {
		t.Error("the two seats do not share their card, or the desk shares it")
	}
	if _, ok := d.speaker.(*alsa.Speaker); !ok || !bytes.Equal(d.notice, []byte("RIFF")) {
		t.Errorf("speaker %T, notice %q", d.speaker, d.notice)
	}
}
