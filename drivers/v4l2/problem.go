package v4l2

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// problem says what an error of the camera means to the person in the room.
func (s *Source) problem(err error) error {
	var p *drivers.Problem
	if errors.As(err, &p) {
		return p
	}
	name := s.o.Device
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO) && errors.As(err, new(*fs.PathError)):
		return &drivers.Problem{Code: "not-found", Err: err,
			Zh: fmt.Sprintf("没有找到摄像机 %s：请检查 USB 线；若已更换摄像机或插口，请用 minglu-agent devices 查看新的路径并修改配置", name),
			En: fmt.Sprintf("camera %s is not there: check its USB cable; if camera or socket was changed, look its path up with minglu-agent devices and change the configuration", name)}
	case errors.Is(err, fs.ErrPermission):
		return &drivers.Problem{Code: "permission", Err: err,
			Zh: fmt.Sprintf("无权打开摄像机 %s：请把运行本程序的用户加入 video 组", name),
			En: fmt.Sprintf("camera %s may not be opened: add the user of this program to the group video", name)}
	case errors.Is(err, unix.EBUSY):
		return &drivers.Problem{Code: "busy", Err: err,
			Zh: fmt.Sprintf("摄像机 %s 正被其他程序使用：请关闭该程序", name),
			En: fmt.Sprintf("camera %s is used by another program: end that program", name)}
	case gone(err):
		return &drivers.Problem{Code: "unplugged", Err: err,
			Zh: fmt.Sprintf("摄像机 %s 被拔出或断电：请插好 USB 线，插好后自动继续", name),
			En: fmt.Sprintf("camera %s was unplugged or lost its power: plug it in again, recording goes on by itself", name)}
	}
	return &drivers.Problem{Code: "device", Err: err,
		Zh: fmt.Sprintf("摄像机 %s 的驱动报错：请重新插拔摄像机；若反复出现，请更换 USB 口、线缆或摄像机", name),
		En: fmt.Sprintf("the driver of camera %s reports an error: unplug it and plug it in again; if it happens often, change socket, cable or camera", name)}
}

func (s *Source) notCamera(card string) error {
	return &drivers.Problem{Code: "address",
		Zh: fmt.Sprintf("%s（%s）不是摄像机的图像节点：请改用该摄像机以 -video-index0 结尾的路径", s.o.Device, card),
		En: fmt.Sprintf("%s (%s) is not where a camera delivers its pictures: take the path of it that ends in -video-index0", s.o.Device, card)}
}

func (s *Source) noFormat(offers []FourCC) error {
	var names []string
	for _, f := range offers {
		names = append(names, f.String())
	}
	list := strings.Join(names, ", ")
	return &drivers.Problem{Code: "codec",
		Zh: fmt.Sprintf("摄像机 %s 只提供 %s，本机没有可用的编码器：请改用 H.264 摄像机，或在配置中改用 camera: {pipeline: …}（由 ffmpeg 编码）", s.o.Device, list),
		En: fmt.Sprintf("camera %s offers %s only, and this board has no encoder for it: use a camera with H.264, or camera: {pipeline: …} in the configuration, where ffmpeg encodes", s.o.Device, list)}
}

func (s *Source) noEncoder(err error) error {
	return &drivers.Problem{Code: "codec", Err: err,
		Zh: fmt.Sprintf("摄像机 %s 的图像需要编码，但编码器不可用：请检查配置中的 encoder，或改用 camera: {pipeline: …}（由 ffmpeg 编码）", s.o.Device),
		En: fmt.Sprintf("the pictures of camera %s need an encoder and there is none to be had: check encoder in the configuration, or use camera: {pipeline: …}, where ffmpeg encodes", s.o.Device)}
}

func (s *Source) noText(err error) error {
	return &drivers.Problem{Code: "overlay", Err: err,
		Zh: fmt.Sprintf("摄像机 %s 的画面无法叠加文字，将不叠加继续录制：请检查配置 overlay.font 所指的字体文件", s.o.Device),
		En: fmt.Sprintf("no text can be drawn into the pictures of camera %s, recording goes on without: check the font that overlay.font of the configuration names", s.o.Device)}
}

func (s *Source) noSize(f FourCC, width, height int, sizes string) error {
	return &drivers.Problem{Code: "size",
		Zh: fmt.Sprintf("摄像机 %s 的 %v 没有 %d×%d：请在配置中改用：%s", s.o.Device, f, s.o.Width, s.o.Height, orText(sizes, fmt.Sprintf("%d×%d", width, height))),
		En: fmt.Sprintf("camera %s has no %d×%d in %v: choose in the configuration one of %s", s.o.Device, s.o.Width, s.o.Height, f, orText(sizes, fmt.Sprintf("%d×%d", width, height)))}
}

func (s *Source) noControl(name string, have []Control) error {
	var names []string
	for _, c := range have {
		names = append(names, c.Name)
	}
	return &drivers.Problem{Code: "control",
		Zh: fmt.Sprintf("摄像机 %s 没有名为 %q 的控制项：请在配置的 controls 中改用：%s", s.o.Device, name, strings.Join(names, ", ")),
		En: fmt.Sprintf("camera %s has no control %q: its controls, for the configuration, are %s", s.o.Device, name, strings.Join(names, ", "))}
}

func (s *Source) badControl(c *Control, v int64, want string, err error) error {
	return &drivers.Problem{Code: "control", Err: err,
		Zh: fmt.Sprintf("摄像机 %s 的控制项 %s 不能设为 %d：请在配置的 controls 中取 %s", s.o.Device, c.Name, v, want),
		En: fmt.Sprintf("control %s of camera %s cannot be %d: choose %s in controls of the configuration", c.Name, s.o.Device, v, want)}
}

func (s *Source) changed() error {
	return &drivers.Problem{Code: "format-changed",
		Zh: fmt.Sprintf("摄像机 %s 的图像格式变了：正在按新格式重新连接", s.o.Device),
		En: fmt.Sprintf("camera %s changed the format of its pictures: connecting again with the new one", s.o.Device)}
}

func (s *Source) silent() error {
	return &drivers.Problem{Code: "no-frames", Err: fmt.Errorf("no picture for %v", s.o.Silence),
		Zh: fmt.Sprintf("摄像机 %s 已打开但不再送来图像：正在重新打开；若反复出现，请重新插拔或更换 USB 口", s.o.Device),
		En: fmt.Sprintf("camera %s is open but sends no picture: opening it again; if it happens often, unplug it and plug it in again, or change the socket", s.o.Device)}
}

func (s *Source) unreadable(err error) error {
	return &drivers.Problem{Code: "codec", Err: err,
		Zh: fmt.Sprintf("摄像机 %s 送来的图像无法识别：请重新插拔摄像机，并核对配置中的 format", s.o.Device),
		En: fmt.Sprintf("what camera %s sends cannot be read as pictures: unplug it and plug it in again, and check format in the configuration", s.o.Device)}
}

func (s *Source) held() error {
	return &drivers.Problem{Code: "busy",
		Zh: fmt.Sprintf("摄像机 %s 的驱动没有放开上一次连接：请重新插拔摄像机，必要时重启本机", s.o.Device),
		En: fmt.Sprintf("the driver of camera %s has not let go of the last connection: unplug the camera and plug it in again, restart this board if need be", s.o.Device)}
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// printable keeps what may stand in one line of a log: a device chooses these bytes.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s))
}
