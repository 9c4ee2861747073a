package setup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pin is a line on the board's header that nothing uses.
type Pin struct {
	Number     int
	Name       string
	Chip, Line string
}

// Part is something else that was found and can be used: a sensor, a scanner.
type Part struct {
	Name string // for people
	Key  string // of the configuration; one of each
	YAML string // a line of agent.yaml
}

// askParts goes through sensors and scanners: use it?
func (i *Interview) askParts() *Question {
	for ; i.n < len(i.Found.Parts); i.n++ {
		p := i.Found.Parts[i.n]
		if slices.ContainsFunc(i.A.Parts, func(o Part) bool { return o.Key == p.Key }) {
			continue
		}
		return &Question{Key: "part." + strconv.Itoa(i.n), Ask: Text{"使用 " + p.Name + "（" + p.Key + "）？", "use " + p.Name + " (" + p.Key + ")?"}, Choices: []string{"y 使用 use", "n 不用 leave"}, Default: "y"}
	}
	return nil
}

func (i *Interview) setPart(s string) error {
	use, err := yes(s)
	if err != nil {
		return err
	}
	if use {
		i.A.Parts = append(i.A.Parts, i.Found.Parts[i.n])
	}
	i.n++
	return nil
}

// wired are the inputs that are asked for, with what a bare contact between pin and ground needs.
var wired = []struct {
	key  string
	ask  Text
	yaml string
}{
	{"button", Text{"按钮（常开，另一端接地）接在排针几号脚（没有就留空）", "header pin of the button (normally open, to ground; empty: none)"}, "active_low: true, bias: pull-up"},
	{"door", Text{"门磁（门关时闭合，另一端接地）接在几号脚（没有就留空）", "header pin of the door contact (closed while the door is, to ground; empty: none)"}, "bias: pull-up, debounce: 50ms"},
	{"presence", Text{"人体感应器接在几号脚（没有就留空）", "header pin of the presence sensor (empty: none)"}, "bias: pull-down"},
}

func (i *Interview) askInput() *Question {
	if i.n >= len(wired) || len(i.Found.Pins) == 0 {
		return nil
	}
	return &Question{Key: "pin." + wired[i.n].key, Ask: wired[i.n].ask, Empty: true}
}

func (i *Interview) setInput(s string) error {
	if s != "" {
		p, err := i.pin(s)
		if err != nil {
			return err
		}
		i.used = append(i.used, p.Number)
		i.A.Inputs = append(i.A.Inputs, fmt.Sprintf("%s: {gpio: {chip: %s, line: %s, %s}}", wired[i.n].key, quote(p.Chip), quote(p.Line), wired[i.n].yaml))
	}
	i.n++
	return nil
}

// pin finds a free pin of the header.
func (i *Interview) pin(s string) (Pin, error) {
	n, err := strconv.Atoi(s)
	at := slices.IndexFunc(i.Found.Pins, func(p Pin) bool { return p.Number == n })
	switch {
	case err != nil || at < 0:
		return Pin{}, wrong("这个脚不是可用的输入输出脚；可用："+i.pins(), "this is no pin that can be used; there are "+i.pins())
	case slices.Contains(i.used, n):
		return Pin{}, wrong("这个脚已经用了", "this pin is used already")
	}
	return i.Found.Pins[at], nil
}

func (i *Interview) pins() string {
	var s []string
	for _, p := range i.Found.Pins {
		s = append(s, strconv.Itoa(p.Number))
	}
	return strings.Join(s, " ")
}

func (i *Interview) askLamp() *Question {
	if len(i.Found.Pins) == 0 || i.n > 1 {
		return nil
	}
	if i.n == 1 {
		return &Question{Key: "lamp.low", Ask: Text{"指示灯经低电平有效的继电器？", "is the lamp behind relays that are active low?"}, Choices: []string{"y 是 yes", "n 否 no"}, Default: "y"}
	}
	return &Question{Key: "lamp", Ask: Text{"指示灯接在几号脚：一个脚为单色，三个脚为 红 黄 绿（没有就留空）", "header pin of the lamp: one pin for a single lamp, three for red amber green (empty: none)"}, Empty: true}
}

func (i *Interview) setLamp(s string) error {
	if i.n == 1 {
		low, err := yes(s)
		if err != nil {
			return err
		}
		if low {
			i.A.Lamp += ", active_low: true"
		}
		i.next()
		return nil
	}
	f := strings.Fields(s)
	if len(f) == 0 {
		i.next()
		return nil
	}
	colours := map[int][]string{1: {"line"}, 3: {"red", "amber", "green"}}[len(f)]
	if colours == nil {
		return wrong("请写一个或三个脚号", "give one pin or three")
	}
	var lines []string
	var taken []int
	chip := ""
	for n, t := range f {
		p, err := i.pin(t)
		if err != nil {
			return err
		}
		if slices.Contains(taken, p.Number) || chip != "" && chip != p.Chip {
			return wrong("三个脚须不同，且属于同一芯片", "the pins must differ, and be of one chip")
		}
		chip, taken = p.Chip, append(taken, p.Number)
		lines = append(lines, colours[n]+": "+quote(p.Line))
	}
	i.used = append(i.used, taken...)
	i.A.Lamp = "chip: " + quote(chip) + ", " + strings.Join(lines, ", ")
	i.n = 1
	return nil
}
