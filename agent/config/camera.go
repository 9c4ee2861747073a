package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Camera is where pictures come from: exactly one of its fields.
type Camera struct {
	RTSP     Secret          `yaml:"rtsp"` // rtsp:// or rtsps:// address
	V4L2     *V4L2           `yaml:"v4l2"`
	Pipeline *CameraPipeline `yaml:"pipeline"`
	Sim      *SimCamera      `yaml:"sim"`   // board sim only
	Shown    *Shown          `yaml:"shown"` // what a person saw in its pictures; nil: nobody looked
}

// Shown is what stands in the pictures of a camera, as a person saw it: what this board draws itself needs no statement.
type Shown struct {
	Time    string `yaml:"time"`    // whose clock is seen: "camera", "board" (drawn by this board's program), "none"; default unknown
	Place   string `yaml:"place"`   // who writes the room's name there; as time
	Climate string `yaml:"climate"` // who writes temperature and humidity there; as time
	Case    string `yaml:"case"`    // who writes the case there; as time
	By      string `yaml:"by"`      // required; who looked
	On      string `yaml:"on"`      // required; the day, YYYY-MM-DD
}

// Overlay is the text that is drawn into pictures which this board codes: raw cameras of the kernel, and pipelines
// with a place for it.
type Overlay struct {
	Text []string `yaml:"text"` // of time, place, climate, case; default all; []: nothing is drawn
	Font string   `yaml:"font"` // TrueType or OpenType file; default "auto": the first of Debian's that is there
}

// FontAuto is the font that is found.
const FontAuto = "auto"

var overlayTexts = []string{"time", "place", "climate", "case"}

// V4L2 is a camera of the kernel: USB, CSI. One without H.264 or H.265 needs an encoder of the board.
type V4L2 struct {
	Device   string   `yaml:"device"`   // required; /dev/v4l/by-id/… or /dev/v4l/by-path/…
	Format   string   `yaml:"format"`   // four letters such as H264, HEVC, NV12, YUYV; default: the best
	Width    int      `yaml:"width"`    // pixels, with height; default: as the camera is set
	Height   int      `yaml:"height"`   // pixels, with width
	FPS      int      `yaml:"fps"`      // pictures per second, up to 120; default: as the camera is set
	Encoder  string   `yaml:"encoder"`  // device of the encoder, or "none"; default: the board's first
	Controls []string `yaml:"controls"` // "name=number", names as v4l2-ctl lists them
}

// Control parts "name=number"; a checked configuration has both.
func Control(s string) (name string, v int64, ok bool) {
	name, text, ok := strings.Cut(s, "=")
	v, err := strconv.ParseInt(text, 0, 64)
	return name, v, ok && err == nil && name != ""
}

// CameraPipeline is a camera behind a process of ffmpeg or GStreamer that writes MPEG-TS.
type CameraPipeline struct {
	Name    string  `yaml:"name"`    // of the template it was made from (docs/cameras.md); stands in the record; [a-z0-9-], up to 64
	Command Command `yaml:"command"` // program and arguments, no shell; {overlay} is the file of the text to draw
}

func (c *Config) fillOverlay(d *decoder, dir string) {
	if d.at["overlay.text"] == nil {
		c.Overlay.Text = slices.Clone(overlayTexts)
	}
	if orText(&c.Overlay.Font, FontAuto); c.Overlay.Font != FontAuto {
		abs(&c.Overlay.Font, dir)
	}
}

func (c *Config) checkOverlay(d *decoder) {
	for i, s := range c.Overlay.Text {
		if !slices.Contains(overlayTexts, s) {
			d.oneOf("overlay.text["+itoa(i)+"]", s, overlayTexts...)
		}
	}
}

func (d *decoder) shown(key string, s *Shown) {
	for name, v := range map[string]string{"time": s.Time, "place": s.Place, "climate": s.Climate, "case": s.Case} {
		if v != "" && !slices.Contains([]string{"camera", "board", "none"}, v) {
			d.oneOf(key+"."+name, v, "camera", "board", "none")
		}
	}
	if s.By == "" || len(s.By) > 64 {
		d.bad(key+".by", "须写明查看画面的人，至多 64 字节", "name the person who looked, in up to 64 bytes")
	}
	if _, err := time.Parse(time.DateOnly, s.On); err != nil {
		d.bad(key+".on", fmt.Sprintf("日期 %q 无效；请写成 2026-11-25", s.On), fmt.Sprintf("day %q: write it as 2026-11-25", s.On))
	}
}

var numberedNode = regexp.MustCompile(`^/dev/video[0-9]+$`)

func (d *decoder) pipeline(key string, p *CameraPipeline) {
	if len(p.Command) == 0 || p.Command[0] == "" {
		d.bad(key+".command", "没有程序；请填写程序及其参数的列表", "names no program: list the program and its arguments")
	}
	if p.Name != "" && !boardName.MatchString(p.Name) {
		d.bad(key+".name", fmt.Sprintf("模板名称 %q 无效；请用小写字母、数字和连字符，至多 64 个", p.Name), fmt.Sprintf("template name %q: use up to 64 lower-case letters, digits and hyphens", p.Name))
	}
}

func (d *decoder) v4l2(key string, v *V4L2) {
	if numberedNode.MatchString(v.Device) || !strings.HasPrefix(v.Device, "/dev/") {
		d.bad(key+".device", fmt.Sprintf("设备 %q 无效或编号会变；请写 /dev/v4l/by-id/… 或 by-path/…，minglu-agent devices 列出它们", v.Device),
			fmt.Sprintf("device %q has no stable path: write /dev/v4l/by-id/… or by-path/…; minglu-agent devices lists them", v.Device))
	}
	if v.Format != "" && (len(v.Format) != 4 || !slices.Contains([]string{"H264", "HEVC", "NV12", "YU12", "YUYV"}, v.Format)) {
		d.oneOf(key+".format", v.Format, "H264", "HEVC", "NV12", "YU12", "YUYV")
	}
	if (v.Width == 0) != (v.Height == 0) || v.Width < 0 || v.Height < 0 || v.Width > 8192 || v.Height > 8192 {
		d.bad(key, "width 与 height 须同时填写，且不超过 8192", "give width and height together, at most 8192")
	}
	if v.FPS < 0 || v.FPS > 120 {
		d.bad(key+".fps", "超出范围；请取 1 到 120", "out of range: choose 1 to 120")
	}
	for i, c := range v.Controls {
		if _, _, ok := Control(c); !ok {
			d.bad(key+".controls["+itoa(i)+"]", fmt.Sprintf("%q 无效；应形如 brightness=128", c), fmt.Sprintf("%q: write it as brightness=128", c))
		}
	}
}
