package rtsp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/headers"
	"github.com/bluenviron/gortsplib/v5/pkg/ntp"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"minglu/drivers"
)

// choice is one track that will be received.
type choice struct {
	media  *description.Media
	format format.Format
	track  receiver
}

// play asks for the description, chooses tracks and starts them. After nil the camera sends.
func (se *session) play(client *gortsplib.Client) error {
	desc, res, err := client.Describe(se.src.url)
	if err != nil {
		return err
	}
	choices, err := se.choose(desc)
	if err != nil {
		return err
	}
	se.desc.SDP = []byte(se.src.secrets.clean(string(res.Body)))
	se.desc.Identity = se.identity(desc, res)
	for _, c := range choices {
		res, err := client.Setup(desc.BaseURL, c.media, 0, 0)
		if err != nil {
			return err
		}
		var transport headers.Transport
		if t := c.track.base(); transport.Unmarshal(res.Header["Transport"]) == nil {
			t.announced, t.setUp = transport.SSRC, se.src.uptime()
			se.direct(transport.InterleavedIDs, c)
		}
		client.OnPacketRTP(c.media, c.format, se.onRTP(c.track))
		client.OnPacketRTCP(c.media, se.onRTCP(c.track.base()))
	}
	if se.video == nil || se.video.format != nil {
		se.open()
	}
	_, err = client.Play(nil)
	return err
}

// identity is what the camera says of itself: its server software and the title of the stream.
func (se *session) identity(desc *description.Session, res *base.Response) string {
	var parts []string
	for _, p := range append(slices.Clone(res.Header["Server"]), desc.Title) {
		if p = se.src.secrets.printable(p, 100); p != "" && !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "; ")
}

// choose takes the first usable video and the first usable sound. Whatever else is offered is
// skipped with a line in the log.
func (se *session) choose(desc *description.Session) ([]choice, error) {
	var video, sound *choice
	var offers []string
	hasVideo := false
	for _, m := range desc.Medias {
		if m.IsBackChannel {
			continue
		}
		hasVideo = hasVideo || m.Type == description.MediaTypeVideo
		for _, f := range m.Formats {
			offers = append(offers, f.RTPMap())
			c := &choice{media: m, format: f}
			switch m.Type {
			case description.MediaTypeVideo:
				if v := se.newVideo(f); v != nil && video == nil {
					c.track, video = v, c
					se.video = v
					continue
				}
			case description.MediaTypeAudio:
				if a := se.newSound(f); a != nil && sound == nil {
					c.track, sound = a, c
					continue
				}
			}
			se.src.log.Warn("rtsp: track skipped", "media", string(m.Type), "codec", se.src.secrets.printable(f.RTPMap(), 60))
		}
	}
	if video == nil && (hasVideo || sound == nil) {
		return nil, se.src.noCodec(offers)
	}
	var choices []choice
	for _, c := range []*choice{video, sound} { // the lead track first
		if c == nil {
			continue
		}
		c.track.base().index = len(choices)
		se.tracks = append(se.tracks, c.track)
		se.desc.Formats = append(se.desc.Formats, c.track.base().first)
		choices = append(choices, *c)
	}
	return choices, nil
}

// onRTP checks each packet of a track and passes it on. It runs on the connection's reader.
func (se *session) onRTP(r receiver) func(*rtp.Packet) {
	t := r.base()
	return func(p *rtp.Packet) {
		if se.dead {
			return
		}
		now := se.src.uptime()
		lost, ok, err := t.accept(p, now)
		if err != nil {
			se.broken(se.src.newStream(err.Error()))
			return
		}
		if !ok {
			return
		}
		se.lastMedia.Store(int64(now))
		if lost > 0 {
			se.src.log.Warn("rtsp: packets lost", "track", t.index, "packets", lost)
			se.lost(t.index, lost, fmt.Sprintf("%d RTP packets missing", lost))
		}
		r.packet(packet{payload: p.Payload, ts: p.Timestamp, marker: p.Marker, lost: lost > 0, arrival: now})
		t.flushReport()
	}
}

// onRTCP passes sender reports on.
func (se *session) onRTCP(t *track) func(rtcp.Packet) {
	return func(p rtcp.Packet) {
		sr, ok := p.(*rtcp.SenderReport)
		if !ok || se.dead || sr.NTPTime == 0 {
			return
		}
		t.report = &report{ssrc: sr.SSRC, rtp: sr.RTPTime, sr: drivers.SenderReport{
			NTP: ntp.Decode(sr.NTPTime).UTC(), Arrival: se.src.uptime(),
		}}
		t.flushReport()
	}
}
