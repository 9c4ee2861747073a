package doctor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"minglu/agent/report"
	"minglu/drivers"
)

// Device says whether a device of the room answered: err is what its driver said, words what it does when it
// works. A driver's [drivers.Problem] says itself what to do.
func Device(check, on string, words report.Text, err error) []Finding {
	if err == nil {
		return []Finding{good(check, on, words.Zh, words.En)}
	}
	var p *drivers.Problem
	if errors.As(err, &p) {
		zh, do := cut(p.Zh, "；")
		en, does := cut(p.En, ": ")
		return []Finding{bad(check, on, text(zh, en), text(do, does))}
	}
	return []Finding{bad(check, on, text("设备没有应答："+err.Error(), "It does not answer: "+err.Error()),
		text("请检查接线和 agent.yaml；minglu-agent devices 列出本机的设备", "Check its wiring and agent.yaml; minglu-agent devices lists what is here"))}
}

// cut parts what is wrong from what to do about it.
func cut(s, at string) (is, do string) {
	is, do, ok := strings.Cut(s, at)
	if !ok {
		return s, s
	}
	return is, do
}

// Busy says that a device works for the running agent and was not disturbed.
func Busy(check, on string) []Finding {
	return []Finding{good(check, on, "正由运行中的录制程序使用，未打扰", "In use by the running agent; left alone")}
}

// BoardSeen is what is known of the board.
type BoardSeen struct {
	Configured string // as in agent.yaml
	Name       string // in force
	Title      report.Text
	Recognised string   // what its device tree says, whatever was configured
	Model      string   // of the device tree, "" none
	Generic    bool     // nothing is known of it
	Crypto     []string // of the processor
	Differs    int      // facts of the board that the device tree does not bear out
}

// Board compares what is configured with what is there.
func Board(b BoardSeen) (all []Finding) {
	switch {
	case b.Configured != "auto" && !b.Generic && b.Recognised != b.Name:
		all = append(all, bad("board", b.Name, text("配置的板型是 "+b.Name+"，而设备树是 "+quoted(b.Model), "agent.yaml says board "+b.Name+", the device tree says "+quoted(b.Model)),
			text("请将 board 改为 auto 或 "+b.Recognised, "Write board: auto, or "+b.Recognised)))
	case b.Generic:
		all = append(all, note("board", b.Name, text("未识别的板型："+quoted(b.Model), "A board that is not known: "+quoted(b.Model)),
			text("可以使用；GPIO 线和总线请按 minglu-agent devices 所列填写，看门狗须在配置中写明", "It can be used: take lines and buses from minglu-agent devices; a watchdog must be named in agent.yaml")))
	default:
		all = append(all, good("board", b.Name, b.Title.Zh+"（"+b.Name+"）", b.Title.En+" ("+b.Name+")"))
	}
	if !b.Generic && b.Model != "" && b.Differs > 0 && b.Recognised == b.Name {
		all = append(all, note("board.tree", b.Name, text(fmt.Sprintf("有 %d 项板载资料与当前内核的设备树不同", b.Differs), fmt.Sprintf("%d facts about this board differ from this kernel's device tree", b.Differs)),
			text("一般无碍：请以 minglu-agent devices 看到的为准", "Seldom matters: go by what minglu-agent devices shows")))
	}
	if len(b.Crypto) == 0 && b.Model != "" {
		all = append(all, note("board.crypto", b.Name, text("处理器没有 AES、SHA 指令：加密观看和散列占用更多处理器时间", "The processor has no instructions for AES and SHA: watching live and hashing take more of it"),
			text("请减少同时观看的人数", "Let fewer people watch at a time")))
	}
	return all
}

func quoted(model string) string {
	if model == "" {
		return "（无设备树 no device tree）"
	}
	return model
}

// Sensors is what the board says of its own state.
type Sensors struct {
	Undervolt *bool    // the supply is, or was since the start, too low; nil: unknown
	Celsius   *float64 // of the processor; nil: unknown
}

// HotCelsius is from where a Raspberry Pi slows down (raspberrypi.com, "Frequency management and thermal control").
const HotCelsius = 80

// Supply says whether power and temperature of the board are right.
func Supply(s Sensors) (all []Finding) {
	if s.Undervolt != nil {
		if *s.Undervolt {
			all = append(all, bad("board.power", "", text("供电电压过低", "The supply voltage is too low"), text("请更换电源适配器和电源线", "Change the power supply and its cable")))
		} else {
			all = append(all, good("board.power", "", "供电电压正常", "The supply voltage is right"))
		}
	}
	if c := s.Celsius; c != nil {
		zh, en := fmt.Sprintf("处理器 %.0f °C", *c), fmt.Sprintf("The processor is at %.0f °C", *c)
		if *c >= HotCelsius {
			all = append(all, note("board.heat", "", text(zh+"，会降频", en+" and slows down"), text("请清理散热孔，检查风扇", "Clear the air vents and check the fan")))
		} else {
			all = append(all, good("board.heat", "", zh, en))
		}
	}
	return all
}

// Dog is what is known of the hardware watchdog without opening it: that would start it.
type Dog struct {
	Device   string // in force, "" none
	Named    bool   // agent.yaml names it
	Known    bool   // the board should have one
	Identity string
	State    string // "active", "inactive", "" unknown
	Timeout  time.Duration
	Software bool  // made by the kernel, without hardware
	Access   error // nil: it may be opened
	Exists   bool
}

// Watchdog says whether a board that hangs is reset. running: the agent does.
func Watchdog(d Dog, running bool) []Finding {
	const check = "watchdog"
	off := text("请在 BIOS/设备树中打开看门狗，或在 agent.yaml 写 watchdog: {device: none}", "Switch it on in the device tree, or write watchdog: {device: none} in agent.yaml")
	switch {
	case d.Device == "" && d.Known:
		return []Finding{bad(check, "", text("这块板应有硬件看门狗，但内核没有提供", "This board has a hardware watchdog, but the kernel offers none"), off)}
	case d.Device == "":
		return []Finding{note(check, "", text("没有使用硬件看门狗：主机死机时不会自动复位", "No hardware watchdog is used: a board that hangs is not reset"),
			text("如有，请在 agent.yaml 写明 watchdog: {device: /dev/watchdogN}", "If there is one, write watchdog: {device: /dev/watchdogN} in agent.yaml"))}
	case !d.Exists:
		return []Finding{bad(check, d.Device, text("看门狗 "+d.Device+" 不存在", "There is no watchdog "+d.Device), text("请用 minglu-agent devices 查看并更正 watchdog.device", "See minglu-agent devices, and correct watchdog.device"))}
	case d.Access != nil:
		return []Finding{bad(check, d.Device, text("无权打开看门狗 "+d.Device+"："+d.Access.Error(), "The watchdog "+d.Device+" may not be opened: "+d.Access.Error()),
			text("请安装软件包的 udev 规则，或以服务的用户运行本命令", "Install the package's udev rules, or run this command as the service's user"))}
	case running && d.State == "inactive":
		return []Finding{bad(check, d.Device, text("录制程序在运行，但看门狗没有启动", "The agent runs, but the watchdog does not"), text("请查看录制程序日志中 watchdog 一行", "See the line about the watchdog in the agent's log"))}
	case !running && d.State == "active":
		return []Finding{bad(check, d.Device, text("看门狗在计时而录制程序没有运行：主机可能即将复位", "The watchdog runs and the agent does not: the board may be reset soon"),
			text("请立即启动录制程序，或找出占用看门狗的程序（systemd 的 RuntimeWatchdogSec）", "Start the agent now, or find out who else uses it (systemd's RuntimeWatchdogSec)"))}
	case d.Software:
		return []Finding{note(check, d.Device, text("看门狗由内核软件实现：内核死机时不起作用", "The watchdog is made by the kernel: of no use when the kernel hangs"), text("有硬件看门狗时请改用它", "Use a hardware watchdog where there is one"))}
	}
	zh, en := "看门狗 "+d.Device+"（"+d.Identity+"）可用", "The watchdog "+d.Device+" ("+d.Identity+") can be used"
	if running && d.State == "active" {
		zh, en = fmt.Sprintf("看门狗 %s（%s）在工作，%v 内无录制进展则复位", d.Device, d.Identity, d.Timeout), fmt.Sprintf("The watchdog %s (%s) is at work: the board is reset after %v without progress", d.Device, d.Identity, d.Timeout)
	}
	return []Finding{good(check, d.Device, zh, en)}
}
