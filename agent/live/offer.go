package live

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/webrtc/v4"

	"minglu/drivers"
)

// offered is one payload type of an offer.
type offered struct {
	media string // "video", "audio"
	pt    uint8
	name  string // upper case
	fmtp  string
}

// offers lists the codecs of an offer in its order (RFC 8866 6.6, 6.15).
func offers(sdp string) ([]offered, error) {
	p, err := (&webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: sdp}).Unmarshal()
	if err != nil {
		return nil, fmt.Errorf("the offer is no session description: %w", err)
	}
	if len(p.MediaDescriptions) == 0 {
		return nil, errors.New("the offer asks for nothing")
	}
	var out []offered
	for _, m := range p.MediaDescriptions {
		first := len(out)
		for _, f := range m.MediaName.Formats {
			if pt, err := strconv.ParseUint(f, 10, 7); err == nil {
				out = append(out, offered{media: m.MediaName.Media, pt: uint8(pt)})
			}
		}
		for _, a := range m.Attributes {
			pt, value, ok := strings.Cut(a.Value, " ")
			if !ok {
				continue
			}
			for i := first; i < len(out); i++ {
				if strconv.Itoa(int(out[i].pt)) != pt {
					continue
				}
				switch a.Key {
				case "rtpmap":
					name, _, _ := strings.Cut(value, "/")
					out[i].name = strings.ToUpper(name)
				case "fmtp":
					out[i].fmtp = value
				}
			}
		}
	}
	return out, nil
}

func (o *offered) parameter(name string) string {
	for p := range strings.SplitSeq(o.fmtp, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(p), "="); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// choice is what is agreed with one viewer.
type choice struct {
	video, audio *webrtc.RTPCodecParameters
	exact        bool // the offered profile is that of the stream
}

// choose takes from an offer what can carry the given formats; what cannot stays nil.
func choose(all []offered, k kind, sound *drivers.Format) (c choice) {
	best := 0
	for i := range all {
		o := &all[i]
		switch {
		case o.media == "video" && k.video != nil:
			n := carries(o, k.video)
			if n <= best {
				continue
			}
			best, c.exact = n, n == exactProfile
			c.video = &webrtc.RTPCodecParameters{PayloadType: webrtc.PayloadType(o.pt), RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: "video/" + o.name, ClockRate: 90000, SDPFmtpLine: o.fmtp,
				RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}}}
		case o.media == "audio" && o.name == "OPUS" && sound != nil && c.audio == nil:
			c.audio = &webrtc.RTPCodecParameters{PayloadType: webrtc.PayloadType(o.pt), RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: o.fmtp}}
		}
	}
	return c
}

const exactProfile = 100

// carries rates how well a payload type carries a stream, 0: not at all. Browsers decode every H.264
// profile they know whatever was agreed, so another profile than the stream's is better than none; a
// larger one is tried first.
func carries(o *offered, f *drivers.Format) int {
	switch {
	case f.Codec == drivers.H265 && o.name == "H265":
		return exactProfile
	case f.Codec != drivers.H264 || o.name != "H264" || o.parameter("packetization-mode") != "1":
		return 0
	}
	id := o.parameter("profile-level-id")
	if id == "" {
		id = "420010" // RFC 6184 8.1
	}
	v, err := strconv.ParseUint(id, 16, 24)
	if err != nil || len(id) != 6 {
		return 0
	}
	profile, constraints := byte(v>>16), byte(v>>8)
	if len(f.SPS) > 3 && f.SPS[1] == profile && f.SPS[2]&0x40 == constraints&0x40 {
		return exactProfile
	}
	rank := map[byte]int{66: 1, 77: 10, 100: 20}[profile] // Baseline, Main, High
	if profile == 66 && constraints&0x40 != 0 {           // constrained
		rank++
	}
	return rank
}
