package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Defaults of keys that the file leaves out.
const (
	DefaultListen       = "127.0.0.1:8080"
	DefaultSegment      = 5 * time.Minute
	DefaultFragment     = 500 * time.Millisecond
	MinCycle            = 500 * time.Millisecond
	MaxCycle            = 2 * time.Second
	DefaultPreroll      = 10 * time.Second
	DefaultPostroll     = 3 * time.Second
	DefaultPresenceHold = 5 * time.Second
	DefaultPauseLimit   = 10 * time.Minute
	DefaultEmptyAsk     = 10 * time.Minute
	DefaultEmptyStop    = 5 * time.Minute
	DefaultNoticeWithin = 120 * time.Second
	DefaultLimit        = 8 * time.Hour
	DefaultLimitWarn    = 30 * time.Minute
	DefaultResumeWithin = 10 * time.Minute
)

// span is a duration key with its default and its range. A key left out has the default.
type span struct {
	key           string
	v             *Duration
	def, min, max time.Duration
}

func (c *Config) spans() []span {
	s, r := &c.Storage, &c.Room
	list := []span{
		{"keep.local", &c.Keep.Local, 30 * 24 * time.Hour, 0, 8760 * time.Hour},
		{"storage.segment", &s.Segment, DefaultSegment, 10 * time.Second, 15 * time.Minute},
		{"storage.fragment", &s.Fragment, DefaultFragment, 100 * time.Millisecond, 500 * time.Millisecond},
		{"storage.preroll", &s.Preroll, DefaultPreroll, 0, time.Minute},
		{"storage.postroll", &s.Postroll, DefaultPostroll, 0, time.Minute},
		{"room.presence_hold", &r.PresenceHold, DefaultPresenceHold, 0, 10 * time.Minute},
		{"room.pause_limit", &r.PauseLimit, DefaultPauseLimit, time.Second, 24 * time.Hour},
		{"room.empty_ask", &r.EmptyAsk, DefaultEmptyAsk, 0, 24 * time.Hour},
		{"room.empty_stop", &r.EmptyStop, DefaultEmptyStop, time.Second, 24 * time.Hour},
		{"room.notice_within", &r.NoticeWithin, DefaultNoticeWithin, time.Second, time.Hour},
		{"room.limit", &r.Limit, DefaultLimit, 0, 72 * time.Hour},
		{"room.limit_warn", &r.LimitWarn, DefaultLimitWarn, 0, 24 * time.Hour},
		{"room.resume_within", &r.ResumeWithin, DefaultResumeWithin, 0, 24 * time.Hour},
		{"watchdog.timeout", &c.Watchdog.Timeout, DefaultWatchdog, 10 * time.Second, 10 * time.Minute},
	}
	if c.Archive != nil {
		list = append(list, span{"archive.late", &c.Archive.Late, 20 * time.Hour, time.Hour, 72 * time.Hour})
	}
	return list
}

// fill sets the defaults and makes paths absolute.
func (c *Config) fill(d *decoder, dir string) {
	for _, s := range c.spans() {
		if d.at[s.key] == nil {
			*s.v = Duration(s.def)
		}
	}
	orText(&c.State, "state")
	orText(&c.Board, "auto")
	orText(&c.Device.Kind, "interview")
	orText(&c.Web.Listen, DefaultListen)
	orText(&c.Web.Auth, "login")
	orText(&c.Watchdog.Device, WatchdogAuto)
	orText(&c.Storage.Cycle, CycleAuto)
	for i := range c.Channels {
		ch := &c.Channels[i]
		orText(&ch.Name, ch.ID)
		if ch.Camera != nil && ch.Camera.Sim != nil {
			sim := ch.Camera.Sim
			orInt(&sim.Width, 1280)
			orInt(&sim.Height, 720)
			orInt(&sim.FPS, 25)
		}
	}
	if d.at["room.start"] == nil {
		for _, in := range c.inputs() {
			c.Room.Start = append(c.Room.Start, in.name)
		}
	}
	c.fillWiring(d)
	c.fillSound()
	c.fillOverlay(d, dir)
	c.fillSerial(d)
	c.fillKeeping(d, dir)
	abs(&c.State, dir)
	for i := range c.Storage.Disks {
		abs(&c.Storage.Disks[i], dir)
	}
	if c.Web.TLS != nil {
		abs(&c.Web.TLS.Cert, dir)
		abs(&c.Web.TLS.Key, dir)
	}
	if c.Speaker != nil {
		abs(&c.Speaker.Announcement, dir)
	}
	if c.MQTT != nil {
		abs(&c.MQTT.CA, dir)
	}
}

func orText(s *string, def string) {
	if *s == "" {
		*s = def
	}
}

func orInt(n *int, def int) {
	if *n == 0 {
		*n = def
	}
}

func abs(path *string, dir string) {
	if *path != "" && !filepath.IsAbs(*path) {
		*path = filepath.Join(dir, *path)
	}
	if *path != "" {
		*path = filepath.Clean(*path)
	}
}

var (
	deviceName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	channelID  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	boardName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	uscc       = regexp.MustCompile(`^[0-9A-HJ-NPQRTUWXY]{18}$`) // GB 32100-2015 4.2: no I, O, S, V, Z
)

func (c *Config) check(d *decoder) {
	for _, s := range c.spans() {
		if v := s.v.Std(); v < s.min || v > s.max {
			d.bad(s.key, fmt.Sprintf("%v 超出范围；请取 %v 到 %v 之间", v, s.min, s.max), fmt.Sprintf("%v is out of range: choose %v to %v", v, s.min, s.max))
		}
	}
	if !deviceName.MatchString(c.Device.Name) {
		d.bad("device.name", fmt.Sprintf("设备名 %q 无效；请用 1 到 64 个小写字母、数字或连字符，例如 room-3", c.Device.Name),
			fmt.Sprintf("device name %q: use 1 to 64 lower-case letters, digits and hyphens, such as room-3", c.Device.Name))
	}
	if c.Device.Room == "" {
		d.bad("device.room", "缺少房间名称；请填写，例如 询问室三", "the room's name is missing: give it, such as 询问室三")
	}
	d.oneOf("device.kind", c.Device.Kind, "interview", "interrogation", "hearing", "other")
	if c.Body.USCC != "" && !uscc.MatchString(c.Body.USCC) {
		d.bad("body.uscc", fmt.Sprintf("统一社会信用代码 %q 无效；应为 18 位数字和大写字母", c.Body.USCC), fmt.Sprintf("unified social credit code %q: it has 18 digits and capital letters", c.Body.USCC))
	}
	if !boardName.MatchString(c.Board) {
		d.bad("board", fmt.Sprintf("板型 %q 无效；一般请写 auto", c.Board), fmt.Sprintf("board %q: write auto in general", c.Board))
	}
	c.checkChannels(d)
	c.checkOverlay(d)
	c.checkStorage(d)
	c.checkRoom(d)
	c.checkWeb(d)
	c.checkWatchdog(d)
	if c.MQTT != nil {
		d.address("mqtt.url", c.MQTT.URL, "mqtts", "mqtt")
	}
	if l := c.Live.Listen; l != "" {
		if _, _, err := net.SplitHostPort(l); err != nil {
			d.bad("live.listen", fmt.Sprintf("%q 无效；应为 主机:端口，例如 0.0.0.0:8189", l), fmt.Sprintf("%q: write host:port, such as 0.0.0.0:8189", l))
		}
	}
	if c.Timestamp != nil {
		for i, u := range c.Timestamp.URLs {
			d.address("timestamp.urls["+itoa(i)+"]", u, "http", "https")
		}
	}
	c.checkOutside(d)
	c.checkKeeping(d)
}

func (c *Config) checkOutside(d *decoder) {
	if t := c.Timestamp; t != nil {
		if t.Via != "" {
			d.oneOf("timestamp.via", t.Via, "office", "direct")
		}
		switch {
		case t.Via == "office" && c.MQTT == nil:
			d.bad("timestamp.via", "via: office 需要 mqtt；请填写 mqtt，或改为 direct", "via: office needs mqtt: name the office, or write direct")
		case t.Via == "office" && len(t.URLs) > 0:
			d.bad("timestamp.urls", "via: office 时由机关选择时间戳服务；请删去 urls 或 via", "with via: office the office chooses the services: take out urls or via")
		case t.Via != "office" && len(t.URLs) == 0:
			d.bad("timestamp", "请填写 urls，或写 via: office", "name urls, or write via: office")
		}
	}
	if w := c.Witness; w != nil {
		for i, u := range w.URLs {
			d.address("witness.urls["+itoa(i)+"]", u, "https", "http")
		}
	}
	if n := c.NTP; n != nil {
		if _, _, err := net.SplitHostPort(n.Listen); err != nil {
			d.bad("ntp.listen", fmt.Sprintf("%q 无效；应为 主机:端口，例如 192.168.9.1:123", n.Listen), fmt.Sprintf("%q: write host:port, such as 192.168.9.1:123", n.Listen))
		}
	}
}

func (d *decoder) oneOf(key, v string, allowed ...string) {
	if !slices.Contains(allowed, v) {
		all := strings.Join(allowed, ", ")
		d.bad(key, fmt.Sprintf("%q 无效；可选：%s", v, all), fmt.Sprintf("%q is not known: choose one of %s", v, all))
	}
}

// address checks a URL without ever showing it: it may hold a password.
func (d *decoder) address(key string, s Secret, schemes ...string) {
	u, err := url.Parse(s.Reveal())
	if err != nil || u.Host == "" || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		d.bad(key, fmt.Sprintf("地址无效；应形如 %s://主机/路径（密码中的特殊字符请用 %%XX 转义）", schemes[0]),
			fmt.Sprintf("not a valid address: it should read %s://host/path (escape special characters of a password as %%XX)", schemes[0]))
	}
}

// simulated refuses a simulated device in a real room.
func (c *Config) simulated(d *decoder, key string, there bool) {
	if there && !c.Sim() {
		d.bad(key, "模拟设备只能用于 board: sim；请换成真实设备或设置 board: sim", "a simulated device needs board: sim: name a real one, or set board: sim")
	}
}

func (c *Config) checkChannels(d *decoder) {
	if len(c.Channels) == 0 {
		d.bad("channels", "没有通道；请至少配置一个摄像机或麦克风", "there is no channel: configure at least one camera or microphone")
	}
	first := map[string]int{}
	for i, ch := range c.Channels {
		key := "channels[" + itoa(i) + "]"
		if !channelID.MatchString(ch.ID) {
			d.bad(key+".id", fmt.Sprintf("通道编号 %q 无效；请以小写字母开头，后接至多 31 个小写字母、数字或下划线", ch.ID),
				fmt.Sprintf("channel id %q: use a lower-case letter, then up to 31 lower-case letters, digits and underscores", ch.ID))
		} else if j, dup := first[ch.ID]; dup {
			d.bad(key+".id", fmt.Sprintf("通道编号 %q 重复（第 %d 个通道已用）；请改名", ch.ID, j+1), fmt.Sprintf("channel id %q is taken by channel %d: choose another", ch.ID, j+1))
		} else {
			first[ch.ID] = i
		}
		if (ch.Camera == nil) == (ch.Microphone == nil) {
			d.bad(key, "每个通道应恰有一个 camera 或 microphone", "a channel has exactly one of camera and microphone")
		}
		if ch.Camera != nil {
			c.checkCamera(d, key+".camera", ch.Camera)
		}
		if ch.Microphone != nil {
			c.checkMicrophone(d, key+".microphone", i, ch.Microphone)
		}
	}
}

func (c *Config) checkCamera(d *decoder, key string, cam *Camera) {
	rtsp := d.at[key+".rtsp"] != nil
	n := 0
	for _, there := range []bool{rtsp, cam.V4L2 != nil, cam.Pipeline != nil, cam.Sim != nil} {
		if there {
			n++
		}
	}
	if n != 1 {
		d.bad(key, "请恰好填写 rtsp、v4l2、pipeline 或 sim 之一", "name exactly one of rtsp, v4l2, pipeline and sim")
	}
	if cam.V4L2 != nil {
		d.v4l2(key+".v4l2", cam.V4L2)
	}
	if cam.Pipeline != nil {
		d.pipeline(key+".pipeline", cam.Pipeline)
	}
	if cam.Shown != nil {
		d.shown(key+".shown", cam.Shown)
	}
	if rtsp {
		d.address(key+".rtsp", cam.RTSP, "rtsp", "rtsps")
	}
	c.simulated(d, key+".sim", cam.Sim != nil)
	if s := cam.Sim; s != nil {
		for _, r := range []struct {
			name         string
			v, low, high int
		}{{"width", s.Width, 1152, 1920}, {"height", s.Height, 448, 1088}, {"fps", s.FPS, 5, 60}} {
			if r.v < r.low || r.v > r.high || r.name != "fps" && r.v%2 != 0 {
				d.bad(key+".sim."+r.name, fmt.Sprintf("%d 超出范围；请取 %d 到 %d（宽高须为偶数）", r.v, r.low, r.high), fmt.Sprintf("%d is out of range: choose %d to %d (width and height even)", r.v, r.low, r.high))
			}
		}
	}
}

func (c *Config) checkMicrophone(d *decoder, key string, i int, m *Microphone) {
	n := 0
	if d.at[key+".rtsp"] != nil {
		n++
		d.address(key+".rtsp", m.RTSP, "rtsp", "rtsps")
	}
	if m.ALSA != nil {
		n++
		c.checkCapture(d, key+".alsa", i, m.ALSA)
	}
	if m.Sim != nil {
		n++
	}
	if n != 1 {
		d.bad(key, "请恰好填写 alsa、rtsp 或 sim 之一", "name exactly one of alsa, rtsp and sim")
	}
	c.simulated(d, key+".sim", m.Sim != nil)
}

// inside reports whether path is dir or lies in it.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (d *decoder) stateInDisk(state, disk string) {
	for _, p := range d.problems {
		if p.Key == "state" {
			return
		}
	}
	d.bad("state", fmt.Sprintf("状态目录 %q 位于磁盘目录 %q 之内；请放到别处", state, disk), fmt.Sprintf("the state folder %q lies inside the disk's folder %q: put it elsewhere", state, disk))
}

func (c *Config) checkStorage(d *decoder) {
	disks := c.Storage.Disks
	if len(disks) < 1 || len(disks) > 2 {
		d.bad("storage.disks", fmt.Sprintf("配置了 %d 块磁盘；请填写一或两个目录", len(disks)), fmt.Sprintf("%d disks: name one or two folders", len(disks)))
	}
	if v := c.Storage.Cycle; v != CycleAuto {
		if cycle, err := time.ParseDuration(v); err != nil || cycle < MinCycle || cycle > MaxCycle {
			d.bad("storage.cycle", fmt.Sprintf("%q 无效；请写 auto，或 %v 到 %v 之间的时长", v, MinCycle, MaxCycle), fmt.Sprintf("%q: write auto, or a duration from %v to %v", v, MinCycle, MaxCycle))
		}
	}
	for i, disk := range disks {
		key := "storage.disks[" + itoa(i) + "]"
		if disk == "" {
			d.bad(key, "目录为空；请填写磁盘目录", "an empty folder name: name the disk's folder")
			continue
		}
		for _, other := range disks[:i] {
			switch {
			case other == disk:
				d.bad(key, fmt.Sprintf("磁盘 %q 写了两次；请删去一个", disk), fmt.Sprintf("the same disk %q twice: remove one", disk))
			case other != "" && (inside(disk, other) || inside(other, disk)):
				d.bad(key, fmt.Sprintf("磁盘目录 %q 与 %q 互相包含；请分开", disk, other), fmt.Sprintf("the disks' folders %q and %q lie in one another: keep them apart", disk, other))
			}
		}
		if inside(c.State, disk) {
			d.stateInDisk(c.State, disk)
		}
	}
}

func (c *Config) checkRoom(d *decoder) {
	in := map[string]*Input{"button": c.Inputs.Button, "door": c.Inputs.Door, "presence": c.Inputs.Presence}
	for i, s := range c.Room.Start {
		key := "room.start[" + itoa(i) + "]"
		if input, known := in[s]; !known {
			d.oneOf(key, s, "button", "door", "presence")
		} else if input == nil {
			d.bad(key, fmt.Sprintf("未配置 inputs.%s；请配置或从 start 中删去", s), fmt.Sprintf("there is no inputs.%s: configure it or remove it from start", s))
		}
	}
	if c.Speaker != nil {
		c.checkSpeaker(d)
	}
	c.checkScanner(d)
	c.checkWiring(d)
	if c.Room.Limit > 0 && c.Room.LimitWarn >= c.Room.Limit {
		d.bad("room.limit_warn", "提醒时间应短于 limit", "should be shorter than room.limit")
	}
}

// needsOne asks for either the real device, under the key named real ("" if there is none yet), or the simulated one.
func (c *Config) needsOne(d *decoder, key, real string, isReal, isSim bool) {
	switch {
	case isReal && isSim:
		d.bad(key, fmt.Sprintf("请只填写 %s 与 sim 之一", real), fmt.Sprintf("name only one of %s and sim", real))
	case isReal:
	case isSim:
		c.simulated(d, key+".sim", true)
	case real == "":
		d.bad(key, "没有指明设备；请写 {sim: {}}，没有该设备则删去此键", "names no device: write {sim: {}}, or remove the key if there is none")
	default:
		d.bad(key, fmt.Sprintf("没有指明设备；请写 %s，没有该设备则删去此键", real), fmt.Sprintf("names no device: write %s, or remove the key if there is none", real))
	}
}

func (c *Config) checkWeb(d *decoder) {
	w := &c.Web
	d.oneOf("web.auth", w.Auth, "login", "none")
	d.oneOf("access.approval", cmp.Or(c.Access.Approval, "roles"), "roles", "others", "all")
	host, port, err := net.SplitHostPort(w.Listen)
	if err != nil || port == "" {
		d.bad("web.listen", fmt.Sprintf("监听地址 %q 无效；应形如 127.0.0.1:8080", w.Listen), fmt.Sprintf("listen address %q: it should read 127.0.0.1:8080", w.Listen))
	} else if p, err := net.LookupPort("tcp", port); err != nil || strings.Trim(port, "0123456789") != "" || p > 65535 {
		d.bad("web.listen", fmt.Sprintf("端口 %q 无效；请取 0 到 65535", port), fmt.Sprintf("port %q: choose 0 to 65535", port))
	}
	loopback := isLoopback(host)
	if err == nil && !loopback && w.TLS == nil {
		d.bad("web.listen", "对外监听必须配置 web.tls（cert 与 key）；或改为 127.0.0.1", "listening beyond loopback needs web.tls with cert and key: add it, or listen on 127.0.0.1")
	}
	if w.Auth == "none" && !c.Sim() {
		d.bad("web.auth", "auth: none 只允许用于 board: sim；请改为 login", "auth: none is allowed with board: sim only: write login")
	} else if w.Auth == "none" && !loopback {
		d.bad("web.auth", "auth: none 只允许在本机回环地址上；请改为 login 或监听 127.0.0.1", "auth: none is allowed on loopback only: write login, or listen on 127.0.0.1")
	}
	if w.TLS != nil && (w.TLS.Cert == "" || w.TLS.Key == "") {
		d.bad("web.tls", "请同时填写 cert 与 key", "give both cert and key")
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
