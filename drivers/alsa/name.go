package alsa

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"minglu/drivers"
)

// place is a device name taken apart. One of id, usb and link is set, or number is the card's.
type place struct {
	id     string // of the card, as in /proc/asound/cards
	usb    string // path of a USB socket, such as 1-1.4
	link   string // below /dev/snd, such as by-path/platform-xhci-usb-0:1.4:1.0
	number uint
	device uint
}

// parseName takes a device name apart: see [CheckName].
func parseName(name string) (p place, err error) {
	bad := func(what string) (place, error) {
		return place{}, fmt.Errorf(`alsa: device %q: %s: write "hw:CARD=id,DEV=0", "usb:1-1.4" or "/dev/snd/by-path/…"; minglu-agent devices lists them`, name, what)
	}
	if len(name) > 256 || strings.ContainsAny(name, "\x00\n") {
		return bad("too long, or not one line")
	}
	kind, rest, ok := strings.Cut(name, ":")
	switch {
	case strings.HasPrefix(name, "/dev/snd/by-path/"), strings.HasPrefix(name, "/dev/snd/by-id/"):
		file, device, _ := strings.Cut(strings.TrimPrefix(name, "/dev/snd/"), ",")
		if p.link = file; filepath.Clean(file) != file || strings.HasSuffix(file, "..") {
			return bad("not a name below /dev/snd")
		}
		rest = device
	case ok && kind == "usb":
		var device string
		p.usb, device, _ = strings.Cut(rest, ",")
		if strings.Trim(p.usb, "0123456789-.") != "" || !strings.Contains(p.usb, "-") {
			return bad("not the path of a USB socket")
		}
		rest = device
	case ok && (kind == "hw" || kind == "plughw" || kind == "sysdefault"): // plughw: values and rate are turned by this package anyway
		card, device, _ := strings.Cut(rest, ",")
		card = strings.TrimPrefix(card, "CARD=")
		if n, err := strconv.ParseUint(card, 10, 8); err == nil {
			p.number = uint(n)
		} else if p.id = card; strings.Trim(card, "0123456789") == "" || strings.ContainsAny(card, "/. ") || len(card) > 15 {
			return bad("no card")
		}
		rest = device
	default:
		return bad("not a device of the kernel")
	}
	if rest = strings.TrimPrefix(rest, "DEV="); rest != "" {
		n, err := strconv.ParseUint(rest, 10, 8)
		if err != nil {
			return bad("no device number")
		}
		p.device = uint(n)
	}
	return p, nil
}

// CheckName reports what is wrong with the name of a device, nil if nothing is. Names that survive a restart are
//
//   - hw:CARD=PCH,DEV=0: the card's id, as in /proc/asound/cards. Two microphones of one make get their ids in the
//     order they are found: use their sockets instead.
//   - usb:1-1.4 or usb:1-1.4,0: what is plugged into that USB socket (the folder's name in /sys/bus/usb/devices).
//   - /dev/snd/by-path/… or /dev/snd/by-id/…, as udev makes them; ",1" behind it names another device of the card.
//
// hw:0,0 works, but the kernel numbers cards in the order it finds them. plughw: is taken for hw:. Names of alsa-lib's
// plugins ("default", "dsnoop:…") are not devices of the kernel and are refused.
func CheckName(name string) error {
	_, err := parseName(name)
	return err
}

// find returns the number of the card that is there now. root is "/" but in tests.
func (p place) find(root string) (card uint, err error) {
	switch {
	case p.id != "":
		to, err := os.Readlink(filepath.Join(root, "proc/asound", p.id))
		if err != nil {
			return 0, err
		}
		return cardNumber(to, "card")
	case p.link != "":
		to, err := os.Readlink(filepath.Join(root, "dev/snd", p.link))
		if err != nil {
			return 0, err
		}
		return cardNumber(filepath.Base(to), "controlC")
	case p.usb != "":
		cards, err := filepath.Glob(filepath.Join(root, "sys/class/sound/card*"))
		if err != nil {
			return 0, err
		}
		for _, c := range cards {
			if usbSocket(c) == p.usb {
				return cardNumber(filepath.Base(c), "card")
			}
		}
		return 0, fs.ErrNotExist
	}
	if _, err := os.Stat(filepath.Join(root, "proc/asound", fmt.Sprintf("card%d", p.number))); err != nil {
		return 0, err
	}
	return p.number, nil
}

func cardNumber(name, prefix string) (uint, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, prefix), 10, 16)
	if err != nil || !strings.HasPrefix(name, prefix) {
		return 0, fmt.Errorf("%q is no card", name)
	}
	return uint(n), nil
}

// usbSocket is the USB socket of a card of /sys/class/sound, "" if it is on none. The card hangs on an interface,
// such as …/usb1/1-1/1-1.4/1-1.4:1.0.
func usbSocket(card string) string {
	device, err := filepath.EvalSymlinks(filepath.Join(card, "device"))
	if err != nil {
		return ""
	}
	socket, _, ok := strings.Cut(filepath.Base(device), ":")
	if !ok || !strings.Contains(socket, "-") || strings.Trim(socket, "0123456789-.") != "" {
		return ""
	}
	return socket
}

// Device is one device of a card that is there.
type Device struct {
	Name    string // "hw:CARD=PCH,DEV=0"
	USB     string // "usb:1-1.4,0": better in a configuration, if it is on USB; else ""
	Card    string // make and model, as far as the kernel knows
	Capture bool   // it can be a microphone
	Play    bool   // it can be a speaker
}

// List returns the devices that are there now. It opens none of them.
func List() ([]Device, error) { return list("/") }

func list(root string) ([]Device, error) {
	cards, err := filepath.Glob(filepath.Join(root, "sys/class/sound/card*"))
	if err != nil {
		return nil, err
	}
	var found []Device
	for _, c := range cards {
		n, err := cardNumber(filepath.Base(c), "card")
		if err != nil {
			continue
		}
		id, err := os.ReadFile(filepath.Join(c, "id"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // pulled out just now
		} else if err != nil {
			return nil, err
		}
		byNumber := map[uint64]*Device{}
		pcms, err := filepath.Glob(filepath.Join(root, fmt.Sprintf("proc/asound/card%d/pcm*", n)))
		if err != nil {
			return nil, err
		}
		for _, p := range pcms { // pcm0c, pcm1p
			base := strings.TrimPrefix(filepath.Base(p), "pcm")
			number, err := strconv.ParseUint(strings.TrimRight(base, "cp"), 10, 8)
			if err != nil {
				continue
			}
			d := byNumber[number]
			if d == nil {
				d = &Device{Name: fmt.Sprintf("hw:CARD=%s,DEV=%d", strings.TrimSpace(string(id)), number), Card: longName(root, n)}
				if socket := usbSocket(c); socket != "" {
					d.USB = fmt.Sprintf("usb:%s,%d", socket, number)
				}
				byNumber[number] = d
			}
			d.Capture = d.Capture || strings.HasSuffix(base, "c")
			d.Play = d.Play || strings.HasSuffix(base, "p")
		}
		for _, d := range byNumber {
			found = append(found, *d)
		}
	}
	slices.SortFunc(found, func(a, b Device) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// longName is what /proc/asound/cards says of a card: " 1 [Mic            ]: USB-Audio - USB Microphone".
func longName(root string, card uint) string {
	b, err := os.ReadFile(filepath.Join(root, "proc/asound/cards"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		head, rest, ok := strings.Cut(line, "]: ")
		number, _, _ := strings.Cut(strings.TrimSpace(head), " ")
		if _, name, dash := strings.Cut(rest, " - "); ok && dash && number == strconv.Itoa(int(card)) {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

func notFound(what kind, name string, err error) error {
	return &drivers.Problem{Code: "not-found",
		Zh:  fmt.Sprintf("没有找到%s %q：请检查插头和供电；用 minglu-agent devices 查看现有设备的名称", what.zh, name),
		En:  fmt.Sprintf("%s %q is not there: check plug and power; minglu-agent devices lists the names of what is there", what.en, name),
		Err: err}
}
