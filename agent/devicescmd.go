package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"minglu/agent/inventory"
	"minglu/boards"
	"minglu/drivers/gpioline"
	"minglu/drivers/onvif"
	"minglu/drivers/v4l2"
)

// devicesCommand is "minglu-agent devices".
type devicesCommand struct {
	JSON   bool   `help:"print what was found as JSON"`
	Board  string `default:"auto" placeholder:"NAME" help:"take it for this board"`
	Local  bool   `help:"do not ask the network for cameras (3 s)"`
	Record string `placeholder:"FILE" help:"write down what was looked at in /sys, /proc and /dev, to add a board (docs/add-driver.md)"`
}

func (c *devicesCommand) run(stdout, stderr io.Writer) int {
	if c.Board != boardAuto && boards.Find(c.Board) == nil {
		fmt.Fprintf(stderr, "minglu-agent: 没有板型 %q · no such board; there are %s\n", c.Board, strings.Join(boardNames(), ", "))
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := inventory.Options{Root: os.DirFS("/"), Arch: runtime.GOARCH, Board: c.Board, Probes: probes(ctx)}
	var m *inventory.Machine
	if c.Local {
		o.Network = nil
	}
	if c.Record != "" {
		var tree []byte
		m, tree = inventory.Record(o)
		if err := os.WriteFile(c.Record, tree, 0o644); err != nil {
			fmt.Fprintln(stderr, "minglu-agent:", err)
			return exitFailed
		}
	} else {
		m = inventory.Look(o)
	}
	if c.JSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(m); err != nil {
			return exitFailed
		}
		return exitGood
	}
	if _, err := io.WriteString(stdout, listed(m)); err != nil {
		return exitFailed
	}
	return exitGood
}

func boardNames() (names []string) {
	for _, b := range boards.All() {
		names = append(names, b.Name)
	}
	return names
}

// probes ask the devices what only they know.
func probes(ctx context.Context) inventory.Probes {
	return inventory.Probes{
		Videos: func() (list []inventory.VideoInfo) {
			for _, v := range v4l2.List() {
				i := inventory.VideoInfo{Node: v.Node, Card: v.Card, Encoder: v.Encoder}
				for _, f := range v.Formats {
					i.Formats = append(i.Formats, f.String())
				}
				list = append(list, i)
			}
			return list
		},
		Network: func() (list []inventory.NetInfo, err error) {
			found, err := onvif.Discover(ctx, onvif.Discovery{})
			for _, f := range found {
				list = append(list, inventory.NetInfo{Name: f.Name, Model: f.Model, Host: f.Host, Service: f.Service})
			}
			return list, err
		},
		Sensors: func(bus string) ([]inventory.SensorInfo, error) { return sensorsOn(ctx, bus) },
		Lines: func() (list []inventory.LineInfo, err error) {
			lines, err := gpioline.List()
			for _, l := range lines {
				list = append(list, inventory.LineInfo(l))
			}
			return list, err
		},
	}
}

// kindWords are the headings.
var kindWords = map[inventory.Kind]string{
	inventory.Camera: "摄像机 · Cameras", inventory.NetCamera: "网络摄像机 · Network cameras", inventory.Encoder: "视频编码器 · Video encoders", inventory.Microphone: "麦克风 · Microphones", inventory.Speaker: "扬声器 · Speakers",
	inventory.Line: "GPIO 线 · GPIO lines", inventory.Bus: "I²C 总线 · I²C buses", inventory.Sensor: "传感器 · Sensors", inventory.Serial: "串口 · Serial ports",
	inventory.Scanner: "扫码器 · Scanners", inventory.Disk: "磁盘 · Disks", inventory.RTC: "硬件时钟 · Hardware clocks", inventory.Watchdog: "看门狗 · Watchdogs", inventory.TPM: "TPM",
}

const (
	unverifiedMark = "〔未经设备树证实 unverified〕"
	shownDiffers   = 8
)

// listed writes a machine for people. Lines that begin with # tell; the others are lines of agent.yaml to copy.
func listed(m *inventory.Machine) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# 以 # 开头的行是说明，其余可复制到 agent.yaml · lines with # tell, the others can be copied to agent.yaml")
	p("# 板型 board: %s · %s (%s)", m.Title.Zh, m.Title.En, m.Board)
	if m.Seen.Model == "" {
		p("#   没有设备树 · no device tree")
	} else {
		p("#   设备树 device tree: %s [%s]", m.Seen.Model, strings.Join(m.Seen.Compatible, " "))
	}
	crypto := "无 none"
	if len(m.Crypto) > 0 {
		crypto = strings.Join(m.Crypto, " ")
	}
	p("#   加密指令 crypto instructions: %s", crypto)
	for _, n := range m.Notes {
		p("#   %s\n#   %s", n.Zh, n.En)
	}
	p("board: %s", m.Board)
	for _, k := range inventory.Kinds() {
		items := m.Of(k)
		if len(items) == 0 {
			continue
		}
		p("\n# %s", kindWords[k])
		for _, i := range items {
			listItem(p, i)
		}
	}
	listDoubts(p, m)
	return b.String()
}

func listItem(p func(string, ...any), i inventory.Item) {
	line := i.Name
	if i.Pin > 0 {
		line = fmt.Sprintf("脚 pin %2d  %s", i.Pin, line)
	}
	if i.Path != "" && i.Config == "" || i.Kind == inventory.Line || i.Kind == inventory.Disk {
		line += "  " + i.Path
	}
	if i.Node != "" && i.Node != i.Path && i.Kind != inventory.Line {
		line += "  (= " + i.Node + ")"
	}
	if i.Unverified {
		line += "  " + unverifiedMark
	}
	p("# - %s", line)
	if i.Note != nil {
		p("#   %s · %s", i.Note.Zh, i.Note.En)
	}
	if i.Config != "" && i.Kind != inventory.Line { // 26 free lines: the path says enough
		p("%s", strings.TrimRight(i.Config, "\n"))
	}
}

// listDoubts says what of the board's file was not seen, and could not be looked at.
func listDoubts(p func(string, ...any), m *inventory.Machine) {
	if example := lineExample(m); example != "" {
		p("\n# 一条 GPIO 线这样写 · a GPIO line is written so:\n# %s", strings.TrimSpace(example))
	}
	if len(m.Unverified) > 0 {
		p("\n# 关于这块板，下列各项没有设备树可证实 · of this board, no device tree shows")
		for _, s := range m.Unverified {
			p("# - %s %s", s, unverifiedMark)
		}
	}
	if n := len(m.Differs); n > 0 && m.Seen.Model != "" {
		p("\n# 与当前内核的设备树不一致：%d 项（节点名因内核而异，或设备树叠加层改变了它）\n# differs from this kernel's device tree (node names vary with kernels, overlays change them)", n)
		for _, s := range m.Differs[:min(n, shownDiffers)] {
			p("# - %s", s)
		}
		if n > shownDiffers {
			p("# … 其余见 the rest: --json")
		}
	}
	for _, s := range m.Problems {
		p("# 未能查看 could not be looked at: %s", s)
	}
}

func lineExample(m *inventory.Machine) string {
	for _, i := range m.Of(inventory.Line) {
		if i.Config != "" {
			return i.Config
		}
	}
	return ""
}
