package config

import (
	"fmt"
	"regexp"
	"slices"
)

// Speaker plays announcements into the room: exactly one of alsa and sim.
type Speaker struct {
	ALSA         *Playback  `yaml:"alsa"`         // sound card; its device alone, or keys
	Sim          *SimDevice `yaml:"sim"`          // board sim only
	Announcement string     `yaml:"announcement"` // WAV file, PCM 16 bit, 8 to 48 kHz, played at the start; default: a chime
}

// Capture is a microphone at a sound card. The device alone may be written for it.
type Capture struct {
	Device   string `yaml:"device"`   // required; hw:CARD=id,DEV=0, usb:1-1.4 (what is in that socket), or a link of /dev/snd/by-path or by-id
	Channels []int  `yaml:"channels"` // one (mono) or two (stereo) of the card's channels, from 1 to 32; default the first
	Rate     int    `yaml:"rate"`     // Hz to ask the card for, 8000 to 192000; default 48000; channels of one card name the same
	Gain     int    `yaml:"gain"`     // percent of the range of the card's mixer, 1 to 100; default 0: left as it is
	Control  string `yaml:"control"`  // the mixer's control for gain, as amixer names it; default each "… Capture Volume"
}

// Playback is a speaker at a sound card. The device alone may be written for it.
type Playback struct {
	Device  string `yaml:"device"`  // required; as of a microphone
	Volume  int    `yaml:"volume"`  // percent of the range of the card's mixer, 1 to 100; default 0: left as it is
	Control string `yaml:"control"` // the mixer's control for volume; default each "… Playback Volume"
}

// SoundHz is the rate a card is asked for if the file does not say.
const SoundHz = 48000

// soundDevice is what a name of a sound device looks like; drivers/alsa says more when it opens it.
var soundDevice = regexp.MustCompile(`^((plug)?hw:|sysdefault:CARD=)[A-Za-z0-9_=]+(,(DEV=)?[0-9]{1,3})?$|^usb:[0-9]+-[0-9.]+(,[0-9]{1,3})?$|^/dev/snd/by-(path|id)/[^/]+$`)

// fillSound sets the defaults of microphones at sound cards.
func (c *Config) fillSound() {
	for i := range c.Channels {
		if m := c.Channels[i].Microphone; m != nil && m.ALSA != nil {
			orInt(&m.ALSA.Rate, SoundHz)
			if len(m.ALSA.Channels) == 0 {
				m.ALSA.Channels = []int{1}
			}
		}
	}
}

func (d *decoder) soundDevice(key, device string) {
	if !soundDevice.MatchString(device) {
		d.bad(key+".device", fmt.Sprintf(`声音设备 %q 无效；请写 hw:CARD=…,DEV=0 或 usb:1-1.4，minglu-agent devices 可列出`, device),
			fmt.Sprintf("sound device %q: write hw:CARD=…,DEV=0 or usb:1-1.4; minglu-agent devices lists them", device))
	}
}

func (d *decoder) percent(key string, v int) {
	if v < 0 || v > 100 {
		d.bad(key, fmt.Sprintf("%d 超出范围；请取 1 到 100，或删去此键以保持声卡现有的值", v), fmt.Sprintf("%d is out of range: choose 1 to 100, or remove the key to leave the card as it is", v))
	}
}

// checkCapture checks a microphone at a sound card, of channel i.
func (c *Config) checkCapture(d *decoder, key string, i int, m *Capture) {
	d.soundDevice(key, m.Device)
	d.percent(key+".gain", m.Gain)
	if m.Rate < 8000 || m.Rate > 192000 {
		d.bad(key+".rate", fmt.Sprintf("%d 超出范围；请取 8000 到 192000（赫兹）", m.Rate), fmt.Sprintf("%d is out of range: choose 8000 to 192000 (Hz)", m.Rate))
	}
	if n := len(m.Channels); n > 2 || slices.Min(m.Channels) < 1 || slices.Max(m.Channels) > 32 || n == 2 && m.Channels[0] == m.Channels[1] {
		d.bad(key+".channels", "请填写声卡的一个（单声道）或两个不同的（立体声）声道号，从 1 到 32，例如 [2]", "name one (mono) or two different (stereo) channels of the card, 1 to 32, such as [2]")
	}
	for _, other := range c.Channels[:i] {
		if o := other.Microphone; o != nil && o.ALSA != nil && o.ALSA.Device == m.Device && o.ALSA.Rate != m.Rate {
			d.bad(key+".rate", fmt.Sprintf("与通道 %q 同一声卡，采样率须相同", other.ID), fmt.Sprintf("the same card as channel %q: it needs the same rate", other.ID))
		}
	}
}

func (c *Config) checkSpeaker(d *decoder) {
	s := c.Speaker
	c.needsOne(d, "speaker", "alsa", s.ALSA != nil, s.Sim != nil)
	if s.ALSA != nil {
		d.soundDevice("speaker.alsa", s.ALSA.Device)
		d.percent("speaker.alsa.volume", s.ALSA.Volume)
	}
}
