// Wiring draws docs/wiring-*.svg and prints the tables of docs/wiring.md, from the facts of package boards: a pin
// that a board does not have, or a line on the wrong pin, does not get into a drawing.
//
//	go run ./tools/wiring          draws anew; the test of this package compares
package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"

	"minglu/boards"
)

func main() {
	for _, r := range reference {
		svg, err := draw(r)
		if err == nil {
			err = os.WriteFile(filepath.Join("docs", r.File+".svg"), svg, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "wiring:", err)
			os.Exit(1)
		}
		text, err := table(r)
		if err != nil {
			fmt.Fprintln(os.Stderr, "wiring:", err)
			os.Exit(1)
		}
		fmt.Printf("%s\n%s\n", r.File, text)
	}
}

// Measures of the drawing, in pixels.
const (
	width   = 1180
	rowY    = 30 // distance of two rows of pins
	top     = 120
	pinR    = 9
	oddX    = 560 // columns of the header
	evenX   = 620
	partW   = 270
	leftX   = 20
	rightX  = width - 20 - partW
	laneGap = 14
)

func pinXY(n int) (x, y int) {
	x = oddX
	if n%2 == 0 {
		x = evenX
	}
	return x, top + (n-1)/2*rowY
}

// check compares a room with its board.
func check(r room) (*boards.Board, error) {
	b := boards.Find(r.Board)
	if b == nil {
		return nil, fmt.Errorf("no board %q", r.Board)
	}
	used := map[int]string{}
	for _, p := range r.Parts {
		for _, w := range p.Wires {
			pin := b.Pin(w.Pin)
			if pin == nil {
				return nil, fmt.Errorf("%s: no pin %d", r.Board, w.Pin)
			}
			supply := map[string]string{power: "3V3", power5: "5V", ground: "GND"}[w.Kind]
			if supply != "" && pin.Name != supply || supply == "" && pin.Chip == "" {
				return nil, fmt.Errorf("%s: %s %s is on pin %d, which is %s", r.Board, p.En, w.Terminal, w.Pin, pin.Name)
			}
			if other := used[w.Pin]; other != "" {
				return nil, fmt.Errorf("%s: pin %d has %s and %s", r.Board, w.Pin, other, p.En)
			}
			used[w.Pin] = p.En
			if w.Kind == bus && !onBus(b, strings.ToLower(w.Terminal), w.Pin) {
				return nil, fmt.Errorf("%s: %s of no bus is on pin %d", r.Board, w.Terminal, w.Pin)
			}
		}
	}
	return b, nil
}

func onBus(b *boards.Board, signal string, pin int) bool {
	for _, x := range b.Buses {
		if x.Pins[signal] == pin {
			return true
		}
	}
	return false
}

// table is the wiring as markdown.
func table(r room) (string, error) {
	b, err := check(r)
	if err != nil {
		return "", err
	}
	var s strings.Builder
	s.WriteString("| part | terminal | pin | name | chip | line |\n|---|---|---|---|---|---|\n")
	for _, p := range r.Parts {
		for _, w := range p.Wires {
			pin := b.Pin(w.Pin)
			chip, line := "", ""
			if c := b.Chip(pin.Chip); c != nil {
				chip, line = c.Label, fmt.Sprint(pin.Line)
			}
			fmt.Fprintf(&s, "| %s · %s | %s | %d | %s | %s | %s |\n", p.Zh, p.En, w.Terminal, w.Pin, pin.Name, chip, line)
		}
	}
	return s.String(), nil
}

// draw is the wiring as a picture.
func draw(r room) ([]byte, error) {
	b, err := check(r)
	if err != nil {
		return nil, err
	}
	var s strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	text := func(x, y int, anchor, style, words string) {
		p(`<text x="%d" y="%d" text-anchor="%s" %s>%s</text>`, x, y, anchor, style, html.EscapeString(words))
	}
	bottom := top + 19*rowY
	height := bottom + 165
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="'Noto Sans CJK SC','Noto Sans SC','Microsoft YaHei',sans-serif" font-size="13">`, width, height)
	p(`<rect width="%d" height="%d" fill="#ffffff"/>`, width, height)
	text(leftX, 38, "start", `font-size="22" font-weight="bold"`, "参考房间接线 · reference room — "+b.Title.Zh+" · "+b.Title.En)
	text(leftX, 62, "start", `fill="#4b5563"`, "断电接线；引脚只耐 3.3 V · wire it with the power off; the pins bear 3.3 V only")
	legend(text, p)
	p(`<rect x="%d" y="%d" width="%d" height="%d" rx="10" fill="#f0fdf4" stroke="#15803d" stroke-width="2"/>`, oddX-66, top-26, evenX-oddX+132, 19*rowY+52)
	boxes := place(r)
	for i, x := range r.Parts { // wires below pins and boxes
		for k, w := range x.Wires {
			p(`<path d="%s" fill="none" stroke="%s" stroke-width="2.5" stroke-linejoin="round"/>`, boxes[i].path(k, w), w.Kind)
		}
	}
	for n := 1; n <= 40; n++ {
		x, y := pinXY(n)
		pin := b.Pin(n)
		fill := map[string]string{"3V3": power, "5V": power5, "GND": ground}[pin.Name]
		if fill == "" {
			fill = "#ffffff"
		}
		ink := "#111827"
		if fill != "#ffffff" {
			ink = "#ffffff"
		}
		p(`<circle cx="%d" cy="%d" r="%d" fill="%s" stroke="#111827"/>`, x, y, pinR+2, fill)
		text(x, y+4, "middle", `font-size="10" fill="`+ink+`"`, fmt.Sprint(n))
	}
	labels(r, b, text)
	for i, x := range r.Parts {
		boxes[i].draw(x, text, p)
	}
	drawUSB(bottom+70, text, p)
	p(`</svg>`)
	return []byte(s.String()), nil
}

// labels name the pins that are wired, between header and wires.
func labels(r room, b *boards.Board, text func(int, int, string, string, string)) {
	for _, part := range r.Parts {
		for _, w := range part.Wires {
			x, y := pinXY(w.Pin)
			style := `font-size="10" fill="#14532d" paint-order="stroke" stroke="#f0fdf4" stroke-width="4"`
			if w.Pin%2 == 1 {
				text(x-14, y-4, "end", style, b.Pin(w.Pin).Name)
			} else {
				text(x+14, y-4, "start", style, b.Pin(w.Pin).Name)
			}
		}
	}
}

func legend(text func(int, int, string, string, string), p func(string, ...any)) {
	x := leftX
	for _, k := range [][2]string{{power5, "5 V"}, {power, "3.3 V"}, {ground, "GND"}, {signal, "信号 signal"}, {bus, "I²C"}} {
		p(`<line x1="%d" y1="80" x2="%d" y2="80" stroke="%s" stroke-width="4"/>`, x, x+28, k[0])
		text(x+34, 85, "start", `font-size="12"`, k[1])
		x += 120
	}
}

// box is where a part is drawn.
type box struct {
	x, y, h, side int
	lane          int // x of the first of its vertical lanes
}

// place puts the parts of each side one below the other.
func place(r room) []box {
	boxes := make([]box, len(r.Parts))
	y := map[int]int{left: top - 20, right: top - 20}
	lanes := map[int]int{}
	for i, p := range r.Parts {
		b := box{x: leftX, y: y[p.Side], h: 52 + 24*len(p.Wires), side: p.Side}
		b.lane = leftX + partW + 20 + lanes[left]*laneGap
		if p.Side == right {
			b.x, b.lane = rightX, rightX-20-lanes[right]*laneGap
		}
		lanes[p.Side] += len(p.Wires)
		y[p.Side] += b.h + 34
		boxes[i] = b
	}
	return boxes
}

func (b box) terminal(k int) (x, y int) {
	x = b.x
	if b.side == left {
		x += partW
	}
	return x, b.y + 60 + 24*k
}

// path leads from a terminal by its own lane to the pin; a pin in the other column is reached below its row.
func (b box) path(k int, w wire) string {
	x0, y0 := b.terminal(k)
	x1, y1 := pinXY(w.Pin)
	lane := b.lane - b.side*laneGap*k
	far := b.side == left && w.Pin%2 == 0 || b.side == right && w.Pin%2 == 1
	if far {
		return fmt.Sprintf("M%d %d H%d V%d H%d V%d", x0, y0, lane, y1+rowY/2, x1, y1)
	}
	return fmt.Sprintf("M%d %d H%d V%d H%d", x0, y0, lane, y1, x1)
}

func (b box) draw(x part, text func(int, int, string, string, string), p func(string, ...any)) {
	p(`<rect x="%d" y="%d" width="%d" height="%d" rx="8" fill="#f8fafc" stroke="#475569" stroke-width="1.5"/>`, b.x, b.y, partW, b.h)
	text(b.x+12, b.y+22, "start", `font-weight="bold"`, x.Zh)
	text(b.x+12, b.y+40, "start", `font-size="12" fill="#475569"`, x.En)
	for k, w := range x.Wires {
		tx, ty := b.terminal(k)
		p(`<circle cx="%d" cy="%d" r="4" fill="%s"/>`, tx, ty, w.Kind)
		words := fmt.Sprintf("%s → %d", w.Terminal, w.Pin)
		if b.side == left {
			text(tx-10, ty+4, "end", `font-size="12"`, words)
		} else {
			text(tx+10, ty+4, "start", `font-size="12"`, words)
		}
	}
}

// drawUSB is the row of what is plugged in.
func drawUSB(y int, text func(int, int, string, string, string), p func(string, ...any)) {
	text(leftX, y, "start", `font-weight="bold"`, "USB 与网络 · USB and network")
	w := (width - 2*leftX - (len(usb)-1)*10) / len(usb)
	for i, u := range usb {
		x := leftX + i*(w+10)
		p(`<rect x="%d" y="%d" width="%d" height="62" rx="8" fill="#eff6ff" stroke="#1d4ed8"/>`, x, y+14, w)
		text(x+w/2, y+40, "middle", `font-size="12"`, u[0])
		text(x+w/2, y+60, "middle", `font-size="11" fill="#475569"`, u[1])
	}
}
