package config

import (
	"reflect"
	"strings"
	"testing"
)

const soundRoom = "device: {name: r, room: r}\nstorage: {disks: [a]}\n"

// TestSoundCards: a device alone means the same as the device with what is usual.
func TestSoundCards(t *testing.T) {
	c, err := Parse("agent.yaml", []byte(soundRoom+`channels:
  - {id: a, microphone: {alsa: "hw:0,0"}}
  - {id: b, microphone: {alsa: {device: "usb:1-1.4", channels: [2, 1], rate: 16000, gain: 70, control: Mic Capture Volume}}}
  - {id: c, microphone: {alsa: /dev/snd/by-path/platform-xhci-usb-0:1:1.0}}
speaker: {alsa: "hw:CARD=Headphones,DEV=0"}
`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Capture{
		{Device: "hw:0,0", Channels: []int{1}, Rate: SoundHz}, {Device: "usb:1-1.4", Channels: []int{2, 1}, Rate: 16000, Gain: 70, Control: "Mic Capture Volume"},
		{Device: "/dev/snd/by-path/platform-xhci-usb-0:1:1.0", Channels: []int{1}, Rate: SoundHz},
	} {
		if got := *c.Channels[i].Microphone.ALSA; !reflect.DeepEqual(got, want) {
			t.Errorf("channel %d: %+v, want %+v", i, got, want)
		}
	}
	if got := *c.Speaker.ALSA; got != (Playback{Device: "hw:CARD=Headphones,DEV=0"}) {
		t.Errorf("speaker: %+v", got)
	}
}

// TestSoundCardsRefused: each mistake is told at its key, in both languages.
func TestSoundCardsRefused(t *testing.T) {
	mic := func(alsa string) string {
		return soundRoom + "channels: [{id: a, microphone: {alsa: " + alsa + "}}]\n"
	}
	for file, key := range map[string]string{
		mic("default"): "channels[0].microphone.alsa.device", mic(`""`): "channels[0].microphone.alsa.device", mic("{gain: 5}"): "channels[0].microphone.alsa.device",
		mic("{device: 'hw:0,0', gain: 101}"): "channels[0].microphone.alsa.gain", mic("{device: 'hw:0,0', rate: 44}"): "channels[0].microphone.alsa.rate",
		mic("{device: 'hw:0,0', channels: [0]}"): "channels[0].microphone.alsa.channels", mic("{device: 'hw:0,0', channels: [1, 2, 3]}"): "channels[0].microphone.alsa.channels",
		mic("{device: 'hw:0,0', channels: [2, 2]}"): "channels[0].microphone.alsa.channels", mic("{device: 'hw:0,0', seat: 1}"): "channels[0].microphone.alsa.seat", mic("[a]"): "channels[0].microphone.alsa",
		soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0', rtsp: 'rtsp://a/b'}}]\n":                                           "channels[0].microphone",
		soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0'}}, {id: b, microphone: {alsa: {device: 'hw:0,0', rate: 16000}}}]\n": "channels[1].microphone.alsa.rate",
		soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0'}}]\nspeaker: {alsa: pulse}\n":                                       "speaker.alsa.device",
		soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0'}}]\nspeaker: {alsa: {device: 'hw:0,0', volume: 200}}\n":             "speaker.alsa.volume",
		soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0'}}]\nspeaker: {announcement: x.wav}\n":                               "speaker",
		soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0'}}]\nspeaker: {alsa: 'hw:0,0', sim: {}}\n":                           "speaker",
	} {
		_, err := Parse("agent.yaml", []byte(file))
		if err == nil || !strings.Contains(err.Error(), ": "+key+": ") || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s\n%v; want one problem at %s", file, err, key)
		}
	}
}
