package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Defaults and ranges of what hangs on the board's own lines and buses.
const (
	DefaultDebounce = 20 * time.Millisecond
	DefaultSealAt   = 3 * time.Minute
)

// Inputs are the room's buttons and sensors; nil ones are not there.
type Inputs struct {
	Button   *Input `yaml:"button"`
	Door     *Input `yaml:"door"`
	Presence *Input `yaml:"presence"`
}

// Input is one of them: exactly one of its fields.
type Input struct {
	GPIO *InputGPIO `yaml:"gpio"`
	Sim  *SimDevice `yaml:"sim"` // board sim only
}

// InputGPIO is a line that a contact or a sensor moves.
type InputGPIO struct {
	Chip      string   `yaml:"chip"`       // label of the GPIO chip, or its device such as /dev/gpiochip0; default: the one that has the line
	Line      string   `yaml:"line"`       // required; name, or number with chip
	ActiveLow bool     `yaml:"active_low"` // low means pressed, open, somebody there; default false
	Bias      string   `yaml:"bias"`       // "as-is" (default), "pull-up", "pull-down", "none"
	Debounce  Duration `yaml:"debounce"`   // a level counts once it has held this long, 0s to 1s; default 20ms
}

// Lamp is the light that tells people whether they are recorded: exactly one of its fields.
type Lamp struct {
	GPIO *LampGPIO  `yaml:"gpio"`
	Sim  *SimDevice `yaml:"sim"` // board sim only
}

// LampGPIO is one light (line), a colour lamp (red, green, blue) or a tower (red, amber, green).
type LampGPIO struct {
	Chip      string `yaml:"chip"` // as of an input
	Line      string `yaml:"line"`
	Red       string `yaml:"red"`
	Amber     string `yaml:"amber"`
	Green     string `yaml:"green"`
	Blue      string `yaml:"blue"`
	ActiveLow bool   `yaml:"active_low"` // low means lit, as on most relay boards; default false
}

// Thermometer measures the room's air: exactly one of its fields.
type Thermometer struct {
	I2C    *I2C       `yaml:"i2c"`    // sht3x (default), sht4x at 0x44; tmp117 at 0x48, without humidity
	Modbus *Modbus    `yaml:"modbus"` // a sensor on RS-485
	Sim    *SimDevice `yaml:"sim"`    // board sim only
}

// I2C is one chip on a bus.
type I2C struct {
	Bus     string `yaml:"bus"`     // required; /dev/i2c-1, or the adapter's name in /sys/bus/i2c/devices/i2c-*/name
	Chip    string `yaml:"chip"`    // which one; the default stands at where it is used
	Address string `yaml:"address"` // 7 bits, such as 0x44; default the chip's own
}

// Addr is the address as a number; a checked configuration has one.
func (c *I2C) Addr() uint16 {
	n, _ := strconv.ParseUint(c.Address, 0, 7)
	return uint16(n)
}

// Power measures the room's battery: exactly one of i2c and sim.
type Power struct {
	I2C       *I2C       `yaml:"i2c"`        // ina226 (default), ina219 at 0x40, its shunt in the battery's lead
	ShuntMOhm int        `yaml:"shunt_mohm"` // required with i2c; resistance of the shunt, 1 to 1000 mΩ
	Reversed  bool       `yaml:"reversed"`   // the current counts positive into the battery; default false: out of it
	Battery   Battery    `yaml:"battery"`
	SealAt    Duration   `yaml:"seal_at"` // with this much left a running session is ended and sealed, 30s to 1h; default 3m
	Sim       *SimDevice `yaml:"sim"`     // board sim only
}

// Battery says what the power comes from when the mains are gone.
type Battery struct {
	FullMV      int `yaml:"full_mv"`      // required with i2c; voltage of the rested full battery, mV
	EmptyMV     int `yaml:"empty_mv"`     // required with i2c; voltage at which the board goes down, mV
	CapacityMAH int `yaml:"capacity_mah"` // required with i2c; mAh
}

// RTC is a clock with a battery of its own: exactly one of its fields.
type RTC struct {
	I2C    *I2C       `yaml:"i2c"`    // ds3231 at 0x68, where the kernel has no driver for it: this program sets it
	Device string     `yaml:"device"` // the kernel's, such as /dev/rtc0: looked at, and set by the kernel
	Sim    *SimDevice `yaml:"sim"`    // board sim only
}

// Buzzer beeps: exactly one of its fields.
type Buzzer struct {
	GPIO *BuzzerGPIO `yaml:"gpio"`
	Sim  *SimDevice  `yaml:"sim"` // board sim only
}

// BuzzerGPIO is a line that an active buzzer, which makes its own tone, hangs on.
type BuzzerGPIO struct {
	Chip      string `yaml:"chip"`       // as of an input
	Line      string `yaml:"line"`       // required
	ActiveLow bool   `yaml:"active_low"` // low means sound; default false
}

// chips are those a key takes: the default first, each with its usual address and the last one of its range.
type chips []struct {
	name        string
	first, last uint16
}

var (
	thermometerChips = chips{{"sht3x", 0x44, 0x45}, {"sht4x", 0x44, 0x46}, {"tmp117", 0x48, 0x4B}}
	powerChips       = chips{{"ina226", 0x40, 0x4F}, {"ina219", 0x40, 0x4F}}
	rtcChips         = chips{{"ds3231", 0x68, 0x68}}
)

// wired is one configured chip.
type wired struct {
	key string
	i2c *I2C
	of  chips
}

// wired are the configured chips.
func (c *Config) wired() (list []wired) {
	if c.Thermometer != nil && c.Thermometer.I2C != nil {
		list = append(list, wired{"thermometer.i2c", c.Thermometer.I2C, thermometerChips})
	}
	if c.Power != nil && c.Power.I2C != nil {
		list = append(list, wired{"power.i2c", c.Power.I2C, powerChips})
	}
	if c.RTC != nil && c.RTC.I2C != nil {
		list = append(list, wired{"rtc.i2c", c.RTC.I2C, rtcChips})
	}
	return list
}

// inputs are the configured inputs in the order of the file's keys.
func (c *Config) inputs() (list []namedInput) {
	for _, in := range []namedInput{{"button", c.Inputs.Button}, {"door", c.Inputs.Door}, {"presence", c.Inputs.Presence}} {
		if in.in != nil {
			list = append(list, in)
		}
	}
	return list
}

type namedInput struct {
	name string
	in   *Input
}

// fillWiring sets the defaults of what hangs on lines and buses.
func (c *Config) fillWiring(d *decoder) {
	for _, in := range c.inputs() {
		if g := in.in.GPIO; g != nil {
			orText(&g.Bias, "as-is")
			if d.at["inputs."+in.name+".gpio.debounce"] == nil {
				g.Debounce = Duration(DefaultDebounce)
			}
		}
	}
	for _, w := range c.wired() {
		orText(&w.i2c.Chip, w.of[0].name)
		for _, k := range w.of {
			if k.name == w.i2c.Chip {
				orText(&w.i2c.Address, fmt.Sprintf("0x%02x", k.first))
			}
		}
	}
	if p := c.Power; p != nil && d.at["power.seal_at"] == nil {
		p.SealAt = Duration(DefaultSealAt)
	}
}

// checkWiring checks what hangs on lines and buses.
func (c *Config) checkWiring(d *decoder) {
	for _, in := range c.inputs() {
		key := "inputs." + in.name
		c.needsOne(d, key, "gpio", in.in.GPIO != nil, in.in.Sim != nil)
		if g := in.in.GPIO; g != nil {
			d.line(key+".gpio", "line", g.Chip, g.Line)
			d.oneOf(key+".gpio.bias", g.Bias, "as-is", "pull-up", "pull-down", "none")
			d.inRange(key+".gpio.debounce", g.Debounce, 0, time.Second)
		}
	}
	if c.Lamp != nil {
		c.needsOne(d, "lamp", "gpio", c.Lamp.GPIO != nil, c.Lamp.Sim != nil)
		if g := c.Lamp.GPIO; g != nil {
			d.lamp(g)
		}
	}
	if c.Thermometer != nil {
		c.checkThermometer(d)
	}
	if r := c.RTC; r != nil {
		c.needsOne(d, "rtc", "i2c", r.I2C != nil || r.Device != "", r.Sim != nil)
		if r.I2C != nil && r.Device != "" {
			d.bad("rtc", "请只填写 i2c 与 device 之一：内核已有驱动的写 device", "name only one of i2c and device: device if the kernel has a driver for it")
		}
		if r.Device != "" && !strings.HasPrefix(r.Device, "/dev/rtc") {
			d.bad("rtc.device", "请填写内核的时钟，例如 /dev/rtc0", "name the kernel's clock, such as /dev/rtc0")
		}
	}
	if b := c.Buzzer; b != nil {
		c.needsOne(d, "buzzer", "gpio", b.GPIO != nil, b.Sim != nil)
		if b.GPIO != nil {
			d.line("buzzer.gpio", "line", b.GPIO.Chip, b.GPIO.Line)
		}
	}
	for _, w := range c.wired() {
		d.i2c(w.key, w.i2c, w.of)
	}
	if c.Power != nil {
		c.checkPower(d)
	}
}

func (c *Config) checkPower(d *decoder) {
	p := c.Power
	c.needsOne(d, "power", "i2c", p.I2C != nil, p.Sim != nil)
	d.inRange("power.seal_at", p.SealAt, 30*time.Second, time.Hour)
	if p.I2C == nil {
		return
	}
	for _, r := range []struct {
		key          string
		v, low, high int
		zh, en       string
	}{
		{"power.shunt_mohm", p.ShuntMOhm, 1, 1000, "分流电阻，毫欧", "resistance of the shunt in milliohms"},
		{"power.battery.full_mv", p.Battery.FullMV, 1000, 60000, "充满后静置的电压，毫伏", "voltage of the rested full battery in millivolts"},
		{"power.battery.empty_mv", p.Battery.EmptyMV, 1000, 60000, "主机将断电时的电压，毫伏", "voltage at which the board goes down in millivolts"},
		{"power.battery.capacity_mah", p.Battery.CapacityMAH, 50, 1000000, "电池容量，毫安时", "capacity of the battery in milliampere hours"},
	} {
		if r.v < r.low || r.v > r.high {
			d.bad(r.key, fmt.Sprintf("请填写%s，%d 到 %d", r.zh, r.low, r.high), fmt.Sprintf("give the %s, %d to %d", r.en, r.low, r.high))
		}
	}
	if p.Battery.FullMV > 0 && p.Battery.EmptyMV >= p.Battery.FullMV {
		d.bad("power.battery.empty_mv", "应低于 full_mv", "should be below full_mv")
	}
}

func (d *decoder) inRange(key string, v Duration, low, high time.Duration) {
	if t := v.Std(); t < low || t > high {
		d.bad(key, fmt.Sprintf("%v 超出范围；请取 %v 到 %v 之间", t, low, high), fmt.Sprintf("%v is out of range: choose %v to %v", t, low, high))
	}
}

// line checks how a GPIO line is named.
func (d *decoder) line(key, field, chip, line string) {
	_, err := strconv.ParseUint(line, 10, 32)
	switch {
	case line == "":
		d.bad(key+"."+field, "请填写线的名称（gpioinfo 所列），例如 GPIO17", "name the line as gpioinfo shows it, such as GPIO17")
	case err == nil && chip == "":
		d.bad(key+"."+field, "以编号指明线时还须填写 chip；建议改用线的名称", "a line given by its number needs chip too; its name is better")
	case len(line) > 31 || len(chip) > 63:
		d.bad(key+"."+field, "名称过长；请照 gpioinfo 所列填写", "too long: write it as gpioinfo shows it")
	}
}

// lamp checks that the lines make one of the lamps there are.
func (d *decoder) lamp(g *LampGPIO) {
	named := map[string]string{}
	for _, n := range []struct{ field, line string }{{"line", g.Line}, {"red", g.Red}, {"amber", g.Amber}, {"green", g.Green}, {"blue", g.Blue}} {
		if n.line == "" {
			continue
		}
		for _, other := range named {
			if other == n.line {
				d.bad("lamp.gpio."+n.field, fmt.Sprintf("线 %q 已用于另一盏灯；请改正", n.line), fmt.Sprintf("line %q is another light's already: correct it", n.line))
			}
		}
		named[n.field] = n.line
		d.line("lamp.gpio", n.field, g.Chip, n.line)
	}
	if g.Kind() == "" {
		d.bad("lamp.gpio", "请填写 line（单灯），或 red、green、blue（彩灯），或 red、amber、green（三色塔灯）",
			"name line (one light), or red, green and blue (a colour lamp), or red, amber and green (a tower)")
	}
}

// Kind is "single", "rgb" or "tower"; "" is no lamp there is.
func (g *LampGPIO) Kind() string {
	has := [5]bool{g.Line != "", g.Red != "", g.Amber != "", g.Green != "", g.Blue != ""}
	switch has {
	case [5]bool{true, false, false, false, false}:
		return "single"
	case [5]bool{false, true, false, true, true}:
		return "rgb"
	case [5]bool{false, true, true, true, false}:
		return "tower"
	}
	return ""
}

// i2c checks a chip on a bus.
func (d *decoder) i2c(key string, i *I2C, of chips) {
	if i.Bus == "" {
		d.bad(key+".bus", "请填写总线，例如 /dev/i2c-1", "name the bus, such as /dev/i2c-1")
	}
	names := []string{}
	for _, k := range of {
		names = append(names, k.name)
		if k.name != i.Chip {
			continue
		}
		n, err := strconv.ParseUint(i.Address, 0, 7)
		if err != nil || uint16(n) < k.first || uint16(n) > k.last {
			d.bad(key+".address", fmt.Sprintf("地址 %q 无效；%s 的地址为 0x%02x 到 0x%02x", i.Address, k.name, k.first, k.last),
				fmt.Sprintf("address %q: a %s answers at 0x%02x to 0x%02x", i.Address, k.name, k.first, k.last))
		}
	}
	d.oneOf(key+".chip", i.Chip, names...)
}
