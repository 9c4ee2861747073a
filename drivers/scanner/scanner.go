// Package scanner reads bar codes and QR codes from a scanner on a serial line or on USB as a keyboard.
//
// [Serial] is a scanner in the mode "USB COM port" (CDC ACM), "RS-232" or "TTL": the better one, for it tells where a
// code ends and passes any text. [Keyboard] is one that types what it reads (HID usages, evdev): it is grabbed, so that
// nothing of it reaches the board's console or a page, and only what an American keyboard has comes through. Most
// scanners are switched from one to the other by a code in their manual.
//
// Guarantees: a code is at most [MaxText] bytes of printable UTF-8, without what the scanner puts before and after it;
// anything else is dropped as a whole, and logged without its text. A Run opens the device and
// closes it; an unplugged one ends it within a second with a [drivers.Problem] in words, and the next Run finds it
// again by its path. Use the paths of /dev/serial/by-id and /dev/input/by-id: numbers change when things are plugged.
//
// Faults: not-found, gone (unplugged), busy, permission.
package scanner

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// MaxText is the longest code, in bytes.
const MaxText = 256

// restAfter is how long a code may stop in its middle: what comes later is another one.
const restAfter = time.Second

// code puts together the bytes of one code.
type code struct {
	prefix string
	log    *slog.Logger
	text   []byte
	long   bool          // the code under way is longer than MaxText
	last   time.Duration // uptime of its last byte
}

// add takes one byte. What has been waiting too long for its end is dropped.
func (c *code) add(b byte, up time.Duration) {
	if up-c.last > restAfter && (len(c.text) > 0 || c.long) {
		c.drop("it stopped in the middle")
	}
	c.last = up
	if len(c.text) == MaxText+len(c.prefix) {
		c.long = true
		return
	}
	c.text = append(c.text, b)
}

// end returns the code, and whether it is one.
func (c *code) end() (string, bool) {
	text := string(c.text)
	rest, ours := strings.CutPrefix(text, c.prefix)
	rest = strings.TrimSpace(rest)
	switch {
	case text == "" && !c.long: // CR before LF
		return "", false
	case c.long, len(rest) > MaxText:
		c.drop("it is too long")
	case !ours:
		c.drop("it lacks the prefix")
	case rest == "":
		c.drop("it is empty")
	case !utf8.ValidString(rest):
		c.drop("it is not UTF-8: set the scanner to UTF-8")
	case strings.ContainsFunc(rest, func(r rune) bool { return !unicode.IsPrint(r) }):
		c.drop("it holds what cannot be printed")
	default:
		c.text = c.text[:0]
		return rest, true
	}
	return "", false
}

func (c *code) drop(why string) {
	c.log.Warn("scanned code dropped: "+why, "bytes", len(c.text))
	c.text, c.long = c.text[:0], false
}

// problem puts into words what stopped a scanner.
func problem(path string, err error) error {
	p := &drivers.Problem{Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO):
		p.Code = "not-found"
		p.Zh = fmt.Sprintf("没有找到扫码枪 %q：请检查连线；用 minglu-agent devices 查看现有设备的名称", path)
		p.En = fmt.Sprintf("the scanner %q is not there: check its cable; minglu-agent devices lists the names of what is there", path)
	case errors.Is(err, unix.EBUSY):
		p.Code = "busy"
		p.Zh = fmt.Sprintf("扫码枪 %q 被其他程序占用：请关闭该程序", path)
		p.En = fmt.Sprintf("the scanner %q is in use by another program: end that", path)
	case errors.Is(err, fs.ErrPermission):
		p.Code = "permission"
		p.Zh = fmt.Sprintf("没有权限打开扫码枪 %q：请把运行本程序的用户加入 dialout 和 input 组并重新启动", path)
		p.En = fmt.Sprintf("the scanner %q may not be opened: put the user this program runs as into the groups dialout and input, and restart", path)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EIO), errors.Is(err, errGone):
		p.Code = "gone"
		p.Zh = fmt.Sprintf("扫码枪 %q 已断开：请插回，插回后自动恢复", path)
		p.En = fmt.Sprintf("the scanner %q was unplugged: plug it in again, it is taken up by itself", path)
	default:
		return fmt.Errorf("scanner: %s: %w", path, err)
	}
	return p
}

var errGone = errors.New("the line is closed at the other end")
