package inventory

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// videos lists cameras and encoders. A camera has several nodes; the one with pictures is the first.
func (l *look) videos() {
	asked := map[string]VideoInfo{}
	if l.Videos != nil {
		for _, v := range l.Videos() {
			asked[v.Node] = v
		}
	}
	for _, n := range l.names("/sys/class/video4linux") {
		if !strings.HasPrefix(n, "video") {
			continue
		}
		sys := path.Join("/sys/class/video4linux", n)
		node := "/dev/" + n
		i := Item{Kind: Camera, Name: l.text(sys + "/name"), Node: node, Path: l.stable(node, "/dev/v4l/by-path", "/dev/v4l/by-id")}
		v, ok := asked[node]
		switch {
		case l.Videos != nil && !ok: // it can do neither, or may not be opened
			continue
		case ok && v.Encoder, !ok && codec(i.Name):
			if i.Kind = Encoder; !ok && strings.Contains(strings.ToLower(i.Name), "dec") { // a decoder
				continue
			}
		case !ok && l.text(sys+"/index") > "0": // metadata of the same camera
			continue
		}
		if i.Path == "" {
			i.Path = node
			i.Note = note("没有稳定路径：换插口或重启后编号可能改变", "No stable path: its number may change with a restart or another socket")
		}
		if len(v.Formats) > 0 {
			i.Name += " (" + strings.Join(v.Formats, ", ") + ")"
		}
		if i.Kind == Camera {
			i.Config = "channels:\n  - {id: room, camera: {v4l2: {device: " + quote(i.Path) + "}}}\n"
			if ok && !slices.Contains(v.Formats, "H264") && !slices.Contains(v.Formats, "HEVC") {
				i.Note = note("摄像机自己不编码 H.264/H.265，由本机编码", "It does not code H.264 or H.265 itself: the board must")
			}
		}
		l.add(i)
	}
}

// network lists cameras that answered in the network. Their streams' addresses need a password.
func (l *look) network() {
	if l.Network == nil {
		return
	}
	found, err := l.Network()
	l.problem("network", err)
	for _, f := range found {
		name := f.Name
		if !strings.Contains(name, f.Model) {
			name = strings.TrimSpace(name + " " + f.Model)
		}
		l.add(Item{Kind: NetCamera, Name: name, Path: f.Service,
			Note: note("用 minglu-agent cameras --user 用户名 取得码流地址和时钟", "minglu-agent cameras --user NAME shows its streams and its clock")})
	}
}

// codec tells the names of the kernel's codec drivers from cameras.
func codec(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"codec", "vpu", "-enc", "-dec", "rkvdec", "hantro", "encoder", "decoder", "-isp"}, func(s string) bool { return strings.Contains(name, s) })
}

// card is " 1 [Device         ]: USB-Audio - USB PnP Sound Device" of /proc/asound/cards.
var card = regexp.MustCompile(`^ *(\d+) \[([^ \]]+) *\]: [^ ]* - (.*)$`)

// pcm is "01-00: USB Audio : USB Audio : playback 1 : capture 1" of /proc/asound/pcm.
var pcm = regexp.MustCompile(`^(\d+)-(\d+): ([^:]*) :`)

// socket finds the USB socket in the path of a card: …/1-1/1-1.4/1-1.4:1.0/sound/card3.
var socket = regexp.MustCompile(`/(\d+-[\d.]+):[\d.]+/sound/card\d+$`)

// sound lists what records and what plays. A card on USB is named by its socket, because two of one make get
// their ids in the order they are found; another by its id, which stays when the numbers change.
func (l *look) sound() {
	ids, names := map[int]string{}, map[int]string{}
	for line := range strings.Lines(l.text("/proc/asound/cards") + "\n") {
		if m := card.FindStringSubmatch(strings.TrimRight(" "+strings.TrimLeft(line, " "), "\n")); m != nil {
			n, _ := strconv.Atoi(m[1])
			ids[n], names[n] = m[2], m[3]
		}
	}
	for line := range strings.Lines(l.text("/proc/asound/pcm") + "\n") {
		m := pcm.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		c, _ := strconv.Atoi(m[1])
		dev, _ := strconv.Atoi(m[2])
		id, ok := ids[c]
		if !ok {
			continue
		}
		name := "hw:CARD=" + id + ",DEV=" + strconv.Itoa(dev)
		i := Item{Name: names[c] + " · " + strings.TrimSpace(m[3]), Path: name, Node: fmt.Sprintf("hw:%d,%d", c, dev)}
		if m := socket.FindStringSubmatch(l.target(fmt.Sprintf("/sys/class/sound/card%d", c))); m != nil {
			name = fmt.Sprintf("usb:%s,%d", m[1], dev)
			i.Path = name
			i.Note = note("按 USB 插口命名：请勿换插口", "Named by its USB socket: leave it in that one")
		}
		if strings.Contains(line, ": capture") {
			i.Kind, i.Config = Microphone, "channels:\n  - {id: voice, microphone: {alsa: "+quote(name)+"}}\n"
			l.add(i)
		}
		if strings.Contains(line, ": playback") {
			i.Kind, i.Config = Speaker, "speaker: {alsa: "+quote(name)+"}\n"
			l.add(i)
		}
	}
}

// quote writes a string as YAML takes it.
func quote(s string) string { return strconv.Quote(s) }
