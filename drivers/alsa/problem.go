package alsa

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// kind is what a device is to people.
type kind struct{ zh, en string }

var (
	microphone = kind{"话筒", "the microphone"}
	speaker    = kind{"扬声器", "the speaker"}
)

var (
	errSilent = errors.New("no frame for two seconds")
	errFormat = errors.New("no layout, rate and number of channels in common")
)

// problem puts into words what stopped a device.
func problem(what kind, name string, err error) error {
	p := &drivers.Problem{Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO):
		return notFound(what, name, err)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EBADFD):
		p.Code = "gone"
		p.Zh = fmt.Sprintf("%s %q 已断开：请插回原来的插口，插回后自动恢复", what.zh, name)
		p.En = fmt.Sprintf("%s %q was unplugged: plug it back into the same socket, it is taken up by itself", what.en, name)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EAGAIN):
		p.Code = "busy"
		p.Zh = fmt.Sprintf("%s %q 被其他程序占用：请关闭该程序（fuser -v /dev/snd/* 可查看），或在配置中改用另一设备", what.zh, name)
		p.En = fmt.Sprintf("%s %q is in use by another program: end that (fuser -v /dev/snd/* names it), or configure another device", what.en, name)
	case errors.Is(err, fs.ErrPermission):
		p.Code = "permission"
		p.Zh = fmt.Sprintf("没有权限打开%s %q：请把运行本程序的用户加入 audio 组并重新启动", what.zh, name)
		p.En = fmt.Sprintf("%s %q may not be opened: put the user this program runs as into group audio, and restart", what.en, name)
	case errors.Is(err, errFormat), errors.Is(err, unix.EINVAL):
		p.Code = "codec"
		p.Zh = fmt.Sprintf("%s %q 不支持所需的声道或采样格式：请在配置中更正 channels 或改用 16、24、32 位 PCM 的声卡", what.zh, name)
		p.En = fmt.Sprintf("%s %q has not the channels or the format needed: mend channels in the configuration, or use a card with PCM of 16, 24 or 32 bit", what.en, name)
	case errors.Is(err, errSilent):
		p.Code = "no-frames"
		p.Zh = fmt.Sprintf("%s %q 已打开但没有数据：请拔下再插上；若仍无数据请更换", what.zh, name)
		p.En = fmt.Sprintf("%s %q is open but delivers nothing: unplug it and plug it in again; if that does not help, replace it", what.en, name)
	default:
		return fmt.Errorf("alsa: %s: %w", name, err)
	}
	return p
}
