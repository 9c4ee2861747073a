package rtsp

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtp"

	"minglu/drivers"
)

// film is a stream of pictures as an encoder made it, 25 a second of 90 000 ticks.
type film struct {
	codec         drivers.Codec
	vps, sps, pps []byte
	units         []unit // in decoding order
}

// unit is one access unit without delimiters and parameter sets.
type unit struct {
	pts  int64
	key  bool
	nals [][]byte
}

const frame = 3600 // ticks

// films are made once; their subjects are not our test card.
var films = struct {
	sync.Mutex
	made map[string]func() (*film, error)
}{made: map[string]func() (*film, error){}}

// shoot has ffmpeg make a film of a subject (a lavfi source) with an encoder's arguments.
func shoot(t testing.TB, subject, length, codec string) *film {
	t.Helper()
	key := subject + length + codec
	films.Lock()
	f, ok := films.made[key]
	if !ok {
		f = sync.OnceValues(func() (*film, error) { return encode(subject, length, codec) })
		films.made[key] = f
	}
	films.Unlock()
	made, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func encode(subject, length, codec string) (*film, error) {
	dir, err := os.MkdirTemp("", "film")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "x.mp4")
	args := []string{"-v", "error", "-f", "lavfi", "-i", subject, "-t", length, "-pix_fmt", "yuv420p", "-video_track_timescale", "90000"}
	args = append(append(args, strings.Fields(codec)...), file)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ffmpeg %v: %w: %s", args, err, out)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-show_streams", "-show_data", "-show_packets", "-of", "json", file).Output()
	if err != nil {
		return nil, fmt.Errorf("ffprobe: %w", err)
	}
	var probe struct {
		Streams []struct {
			Codec string `json:"codec_name"`
			Extra string `json:"extradata"`
		}
		Packets []struct {
			PTS              int64
			Pos, Size, Flags string
		}
	}
	if err := json.Unmarshal(out, &probe); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f := &film{codec: drivers.H264}
	if probe.Streams[0].Codec == "hevc" {
		f.codec = drivers.H265
	}
	f.config(undump(probe.Streams[0].Extra))
	first := probe.Packets[0].PTS
	for _, p := range probe.Packets {
		pos, _ := strconv.Atoi(p.Pos)
		size, _ := strconv.Atoi(p.Size)
		u := unit{pts: p.PTS - first, key: strings.Contains(p.Flags, "K")}
		for b := raw[pos : pos+size]; len(b) > 4; {
			n := int(binary.BigEndian.Uint32(b))
			if nal := b[4 : 4+n]; !f.opener(nal) {
				u.nals = append(u.nals, nal)
			}
			b = b[4+n:]
		}
		f.units = append(f.units, u)
	}
	return f, nil
}

// undump reads ffprobe's hex dump.
func undump(dump string) []byte {
	var out []byte
	for line := range strings.Lines(dump) {
		if _, rest, ok := strings.Cut(line, ": "); ok {
			digits, _, _ := strings.Cut(rest, "  ")
			b, _ := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(digits), " ", ""))
			out = append(out, b...)
		}
	}
	return out
}

// config reads avcC or hvcC (ISO 14496-15 5.3.3.1, 8.3.3.1).
func (f *film) config(b []byte) {
	if f.codec == drivers.H264 {
		n := int(binary.BigEndian.Uint16(b[6:]))
		f.sps, b = b[8:8+n], b[8+n+1:]
		f.pps = b[2 : 2+binary.BigEndian.Uint16(b)]
		return
	}
	arrays := int(b[22])
	b = b[23:]
	for range arrays {
		kind, n := b[0]&0x3F, int(binary.BigEndian.Uint16(b[1:]))
		b = b[3:]
		for range n {
			size := int(binary.BigEndian.Uint16(b))
			switch nal := b[2 : 2+size]; int(kind) {
			case hevcVPS:
				f.vps = nal
			case hevcSPS:
				f.sps = nal
			case hevcPPS:
				f.pps = nal
			}
			b = b[2+size:]
		}
	}
}

func (f *film) opener(nal []byte) bool {
	if f.codec == drivers.H265 {
		k := int(nal[0] >> 1 & 0x3F)
		return k >= hevcVPS && k <= hevcAUD
	}
	k := int(nal[0] & 0x1F)
	return k >= avcSPS && k <= avcAUD
}

// sets are the parameter sets in their order.
func (f *film) sets() [][]byte {
	if f.codec == drivers.H265 {
		return [][]byte{f.vps, f.sps, f.pps}
	}
	return [][]byte{f.sps, f.pps}
}

// ahead is by how many frames a picture is shown after its turn in decoding order at most: a camera
// cannot send it before.
func (f *film) ahead() int64 {
	most := int64(0)
	for i, u := range f.units {
		most = max(most, u.pts/frame-int64(i))
	}
	return most
}

// sdp describes the film, with its parameter sets if known, and sound of the given lines.
func (f *film) sdp(known bool, sound string) string {
	name, fmtp := "H264", "packetization-mode=1"
	if f.codec == drivers.H265 {
		name, fmtp = "H265", "sprop-max-don-diff=0"
	}
	if b64 := base64.StdEncoding.EncodeToString; known && f.codec == drivers.H265 {
		fmtp += ";sprop-vps=" + b64(f.vps) + ";sprop-sps=" + b64(f.sps) + ";sprop-pps=" + b64(f.pps)
	} else if known {
		fmtp += sprop(f.sps, f.pps)
	}
	return "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=Crafted\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 " + name + "/90000\r\na=fmtp:96 " + fmtp + "\r\na=control:trackID=0\r\n" + sound
}

// sample is what a recording has to have of a unit.
func (u unit) sample() []byte {
	var b []byte
	for _, n := range u.nals {
		b = binary.BigEndian.AppendUint32(b, uint32(len(n)))
		b = append(b, n...)
	}
	return b
}

// payloads cuts NAL units into RTP payloads of at most 1200 bytes (RFC 6184 5.8, RFC 7798 4.4.3).
func (f *film) payloads(nals [][]byte) [][]byte {
	const most = 1200
	var out [][]byte
	for _, n := range nals {
		if len(n) <= most {
			out = append(out, n)
			continue
		}
		head := []byte{n[0]&0xE0 | avcFuA, n[0] & 0x1F}
		body := n[1:]
		if f.codec == drivers.H265 {
			head, body = []byte{n[0]&0x81 | hevcFU<<1, n[1], n[0] >> 1 & 0x3F}, n[2:]
		}
		kind := head[len(head)-1]
		for first := true; len(body) > 0; first = false {
			k := min(most, len(body))
			flags := kind
			if first {
				flags |= 0x80
			}
			if k == len(body) {
				flags |= 0x40
			}
			head[len(head)-1] = flags
			out = append(out, append(bytes.Clone(head), body[:k]...))
			body = body[k:]
		}
	}
	return out
}

// aggregate puts NAL units into one STAP-A or AP.
func (f *film) aggregate(nals ...[]byte) []byte {
	out := []byte{avcStapA}
	if f.codec == drivers.H265 {
		out = []byte{hevcAP << 1, 1}
	}
	for _, n := range nals {
		out = binary.BigEndian.AppendUint16(out, uint16(len(n)))
		out = append(out, n...)
	}
	return out
}

// shot is one thing a crafted camera sends: the packets of an access unit.
type shot struct {
	at       time.Duration // after PLAY
	ts       uint32
	taken    time.Duration // after PLAY: when the camera saw it
	payloads [][]byte
	noMarker bool
	skip     int    // so many of its last packets are lost; -1: all
	foreign  uint32 // SSRC instead of ours, and a sequence of its own
	sample   []byte // what must be recorded of it, nil: nothing
	pts      int64  // of the film, for the order of showing
	key      bool
}

// shots are a film as a good camera sends it: parameter sets before each keyframe.
func (f *film) shots(ts uint32) []shot {
	var out []shot
	ahead := f.ahead()
	for i, u := range f.units {
		nals := u.nals
		if u.key {
			nals = append(append([][]byte(nil), f.sets()...), nals...)
		}
		out = append(out, shot{
			at: time.Duration(int64(i)+ahead+1) * 40 * time.Millisecond, ts: ts + uint32(u.pts),
			taken: time.Duration(u.pts/frame+1) * 40 * time.Millisecond, payloads: f.payloads(nals), sample: u.sample(), pts: u.pts, key: u.key,
		})
	}
	return out
}

// send plays shots to a client until it is gone.
func (c *camConn) send(shots []shot, hook func(i int)) {
	began := time.Now()
	strange := uint16(7000)
	for i, s := range shots {
		select {
		case <-c.done:
			return
		case <-time.After(time.Until(began.Add(s.at))):
		}
		if hook != nil {
			hook(i)
		}
		lost := s.skip
		if lost < 0 {
			lost = len(s.payloads)
		}
		for j, p := range s.payloads {
			marker := j == len(s.payloads)-1 && !s.noMarker
			switch {
			case s.foreign != 0:
				b, _ := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: strange, Timestamp: s.ts, SSRC: s.foreign, Marker: marker}, Payload: p}).Marshal()
				strange++
				c.frame(0, b)
			case j >= len(s.payloads)-lost:
				c.seq[0]++
			default:
				c.rtp(0, s.ts, marker, p...)
			}
		}
	}
}

// pocType reads pic_order_cnt_type (H.264 7.3.2.1.1).
func pocType(sps []byte) int {
	var s h264.SPS
	if err := s.Unmarshal(sps); err != nil {
		return -1
	}
	return int(s.PicOrderCntType)
}
