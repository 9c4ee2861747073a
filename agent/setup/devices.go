package setup

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// askFound goes through the cameras and microphones that are plugged in: use it? what is it called?
func (i *Interview) askFound() *Question {
	all := len(i.Found.Cameras) + len(i.Found.Microphones)
	if i.n >= all || len(i.A.Sources) >= maxSources {
		return nil
	}
	if i.naming {
		return i.askSourceName()
	}
	d, mic := i.found()
	what := Text{"摄像机", "camera"}
	if mic {
		what = Text{"话筒", "microphone"}
	}
	return &Question{Key: "use." + strconv.Itoa(i.n), Ask: Text{fmt.Sprintf("使用%s %s？", what.Zh, d.Name), fmt.Sprintf("use the %s %s?", what.En, d.Name)},
		Choices: []string{"y 使用 use", "n 不用 leave"}, Default: "y"}
}

func (i *Interview) found() (d Device, microphone bool) {
	if i.n < len(i.Found.Cameras) {
		return i.Found.Cameras[i.n], false
	}
	return i.Found.Microphones[i.n-len(i.Found.Cameras)], true
}

func (i *Interview) setFound(s string) error {
	if i.naming {
		i.setSourceName(s)
		i.n++
		return nil
	}
	use, err := yes(s)
	if err != nil {
		return err
	}
	if !use {
		i.n++
		return nil
	}
	d, mic := i.found()
	i.source, i.naming = Source{Microphone: mic, YAML: d.YAML}, true
	return nil
}

// seats are the names offered, in the order cameras are usually hung.
var seats = map[bool][]string{false: {"被询问人", "全景", "询问人", "证据台"}, true: {"桌面话筒", "顶部话筒"}}

func (i *Interview) askSourceName() *Question {
	n := 0
	for _, s := range i.A.Sources {
		if s.Microphone == i.source.Microphone {
			n++
		}
	}
	list := seats[i.source.Microphone]
	return &Question{Key: "seat." + strconv.Itoa(len(i.A.Sources)), Ask: Text{"它对着谁或什么", "whom or what it is turned to"}, Default: list[min(n, len(list)-1)]}
}

func (i *Interview) setSourceName(s string) {
	i.source.Name, i.naming = s, false
	kind := "cam"
	if i.source.Microphone {
		kind = "mic"
	}
	n := 1
	for _, o := range i.A.Sources {
		if o.Microphone == i.source.Microphone {
			n++
		}
	}
	i.source.ID = kind + strconv.Itoa(n)
	i.A.Sources = append(i.A.Sources, i.source)
}

// askRTSP asks for the addresses of network cameras until none is given.
func (i *Interview) askRTSP() *Question {
	if len(i.A.Sources) >= maxSources {
		return nil
	}
	if i.naming {
		return i.askSourceName()
	}
	return &Question{Key: "rtsp." + strconv.Itoa(len(i.A.Sources)), Ask: Text{"网络摄像机地址 rtsp://用户:口令@主机/路径（没有或完了就留空）", "address of a network camera rtsp://user:password@host/path (empty: no more)"},
		Empty: len(i.A.Sources) > 0 || i.Found.Board == "sim"}
}

func (i *Interview) setRTSP(s string) error {
	if i.naming {
		i.setSourceName(s)
		return nil
	}
	if s == "" {
		i.next()
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "rtsp" && u.Scheme != "rtsps" || u.Host == "" {
		return wrong("应形如 rtsp://用户:口令@192.0.2.11:554/路径", "it looks like rtsp://user:password@192.0.2.11:554/path")
	}
	i.source, i.naming = Source{YAML: "rtsp: " + quote(s)}, true
	return nil
}

func (i *Interview) askSpeaker() *Question {
	if len(i.Found.Speakers) == 0 {
		return nil
	}
	names := []string{"无 none"}
	for _, s := range i.Found.Speakers {
		names = append(names, s.Name)
	}
	return &Question{Key: "speaker", Ask: Text{"用哪个扬声器播放告知", "which loudspeaker plays the announcement"}, Choices: names, Default: "1"}
}

func (i *Interview) setSpeaker(s string) error {
	n, err := choice(s, make([]string, len(i.Found.Speakers)+1))
	if err != nil {
		return err
	}
	if n > 0 {
		i.A.Speaker = i.Found.Speakers[n-1].YAML
	}
	i.next()
	return nil
}

// folderOf is where recordings go when the board has no disk for them.
const folderOf = "/srv/minglu/"

func (i *Interview) askDisks() *Question {
	if len(i.Found.Disks) == 0 {
		return &Question{Key: "disks", Ask: Text{"没有找到空闲的磁盘。录像放在哪个文件夹（建议接上两块磁盘后再来）", "no disk was found that nothing uses. Folder for recordings (better: plug in two disks and come again)"}, Default: folderOf + "a"}
	}
	var shown []string
	for _, d := range i.Found.Disks {
		shown = append(shown, describe(d))
	}
	def := "1"
	if len(i.Found.Disks) > 1 {
		def = "1 2"
	}
	return &Question{Key: "disks", Ask: Text{"录像用哪些磁盘（一或两块，用空格分开）", "which disks for recordings (one or two, with a space between)"}, Choices: shown, Default: def}
}

func describe(d Disk) string {
	s := d.Source + " " + d.Type
	if d.Bytes > 0 {
		s += fmt.Sprintf(" %d GB", d.Bytes/1_000_000_000)
	}
	if d.Dir != "" {
		s += " " + d.Dir
	}
	return s
}

func (i *Interview) setDisks(s string) error {
	i.A.Disks = nil
	if len(i.Found.Disks) == 0 {
		if !strings.HasPrefix(s, "/") {
			return wrong("请写绝对路径", "give an absolute path")
		}
		i.A.Disks = []Disk{{Dir: s}}
		i.next()
		return nil
	}
	fields := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '，' || r == '、' })
	if len(fields) == 0 || len(fields) > maxDisks {
		return wrong("请选一或两块", "choose one or two")
	}
	var disks []Disk
	for n, f := range fields {
		c, err := choice(f, make([]string, len(i.Found.Disks)))
		if err != nil {
			return err
		}
		d := i.Found.Disks[c]
		for _, o := range disks {
			if o.Source == d.Source {
				return wrong("两块不能相同", "the two must differ")
			}
		}
		if d.Dir == "" {
			d.Dir = folderOf + string(rune('a'+n))
		}
		disks = append(disks, d)
	}
	i.A.Disks = disks
	i.next()
	return nil
}
