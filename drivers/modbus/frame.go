package modbus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// What can be wrong with an answer. The first two are worth another try.
var (
	ErrNoAnswer = errors.New("no answer")
	ErrDamaged  = errors.New("damaged answer")
	ErrReading  = errors.New("no reading of a room")
)

// Exception is an answer that says why there is no other one (V1.1b3 section 7).
type Exception byte

func (e Exception) Error() string {
	if what, ok := map[Exception]string{1: "it has not this function", 2: "it has not this register", 3: "it has not so many registers", 4: "it has failed", 6: "it is busy"}[e]; ok {
		return fmt.Sprintf("exception %d: %s", byte(e), what)
	}
	return fmt.Sprintf("exception %d", byte(e))
}

// parse looks at what has come so far; done means that nothing more is needed. Adapters with an echo give the request
// back first.
func (s *Sensor) parse(request, answer []byte) (v int16, done bool, err error) {
	answer = bytes.TrimPrefix(answer, request)
	if len(answer) >= 1 && answer[0] != request[0] || len(answer) >= 2 && answer[1]&0x7F != request[1] {
		return 0, false, nil // noise, or another's answer: wait it out
	}
	switch {
	case len(answer) >= 5 && answer[1] == request[1]|0x80 && whole(answer[:5]):
		return 0, true, Exception(answer[2])
	case len(answer) >= 7 && answer[1] == request[1] && answer[2] == 2 && whole(answer[:7]):
		return int16(binary.BigEndian.Uint16(answer[3:])), true, nil
	case len(answer) > 256: // the longest frame (V1.02 section 2.5.1)
		return 0, true, fmt.Errorf("%w: it does not end", ErrDamaged)
	}
	return 0, false, nil
}

func whole(frame []byte) bool {
	n := len(frame) - 2
	return crc(frame[:n]) == binary.LittleEndian.Uint16(frame[n:])
}

// crc is CRC-16 of V1.02 section 6.2.2: polynomial 0xA001 reflected, from 0xFFFF.
func crc(b []byte) uint16 {
	c := uint16(0xFFFF)
	for _, x := range b {
		c ^= uint16(x)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
	}
	return c
}

// problem puts into words what is wrong.
func problem(path string, err error) error {
	p := &drivers.Problem{Err: err}
	code := serial.PortErrorCode(-1)
	if e := (*serial.PortError)(nil); errors.As(err, &e) {
		code = e.Code()
	}
	var refused Exception
	switch {
	case code == serial.PortNotFound, errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO):
		p.Code = "not-found"
		p.Zh = fmt.Sprintf("没有找到温湿度计的串口 %q：请检查转换器是否插好；用 minglu-agent devices 查看名称", path)
		p.En = fmt.Sprintf("the climate sensor's line %q is not there: check its adapter; minglu-agent devices lists the names", path)
	case code == serial.PortBusy, errors.Is(err, unix.EBUSY):
		p.Code = "busy"
		p.Zh = fmt.Sprintf("串口 %q 被其他程序占用：请关闭该程序", path)
		p.En = fmt.Sprintf("the line %q is in use by another program: end that", path)
	case code == serial.PermissionDenied, errors.Is(err, fs.ErrPermission):
		p.Code = "permission"
		p.Zh = fmt.Sprintf("没有权限打开串口 %q：请把运行本程序的用户加入 dialout 组并重新启动", path)
		p.En = fmt.Sprintf("the line %q may not be opened: put the user this program runs as into group dialout, and restart", path)
	case code == serial.PortClosed, errors.Is(err, unix.EIO), errors.Is(err, unix.ENODEV):
		p.Code = "gone"
		p.Zh = fmt.Sprintf("温湿度计的串口 %q 已断开：请插回转换器", path)
		p.En = fmt.Sprintf("the climate sensor's line %q was unplugged: plug the adapter in again", path)
	case errors.Is(err, ErrNoAnswer), errors.Is(err, ErrDamaged):
		p.Code = "no-answer"
		p.Zh = fmt.Sprintf("%q 上的温湿度计没有正确应答：请检查供电、A/B 两线是否接反、地址（slave）、波特率和校验", path)
		p.En = fmt.Sprintf("the climate sensor on %q does not answer properly: check its power, wires A and B (swapped?), slave, baud and parity", path)
	case errors.Is(err, ErrReading), errors.As(err, &refused):
		p.Code = "protocol"
		p.Zh = fmt.Sprintf("%q 上的温湿度计应答了，但不是室内的温湿度：请按其说明书核对寄存器、表（table）和 scale；核对无误则更换传感器", path)
		p.En = fmt.Sprintf("the climate sensor on %q answers, but not with a room's climate: check registers, table and scale in its manual; if they are right, replace it", path)
	default:
		return fmt.Errorf("modbus: %s: %w", path, err)
	}
	return p
}
