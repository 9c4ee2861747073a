package config

import (
	"fmt"
	"net/url"
	"regexp"
)

// Archive is where sealed sessions are handed over: exactly one of Folder, S3 and WebDAV.
type Archive struct {
	Folder string   `yaml:"folder"` // a mounted share
	S3     Secret   `yaml:"s3"`     // https://KEY:SECRET@HOST/BUCKET/PREFIX
	Region string   `yaml:"region"` // of s3; default: the store is asked
	WebDAV Secret   `yaml:"webdav"` // https://USER:PASSWORD@HOST/FOLDER, the folder is there
	CA     string   `yaml:"ca"`     // PEM file of the certificate that vouches for s3 or webdav; default: the system's
	Rate   int      `yaml:"rate"`   // Mbit/s, 1 to 10000; default 100
	Hours  string   `yaml:"hours"`  // "19:00-07:00": sent only then, unless a session waits longer than late; default: at any time
	Late   Duration `yaml:"late"`   // 1h to 72h; default 20h
}

// Keep is how long sessions stay in this room.
type Keep struct {
	Local     Duration `yaml:"local"`      // a session stays at least this long after its end, 0s to 8760h; default 720h (30 days)
	FreeBelow int      `yaml:"free_below"` // archived sessions make room, the oldest first, when less than this part of a disk is free, percent, 0 to 90; default 20; 0 never
	MinMonths int      `yaml:"min_months"` // no session is destroyed sooner, 6 to 1200; default 6
}

// Defaults of keeping.
const (
	DefaultArchiveRate = 100
	DefaultFreeBelow   = 20
	DefaultMinMonths   = 6
)

var hoursForm = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$`)

func (c *Config) fillKeeping(d *decoder, dir string) {
	if d.at["keep.free_below"] == nil {
		c.Keep.FreeBelow = DefaultFreeBelow
	}
	orInt(&c.Keep.MinMonths, DefaultMinMonths)
	if a := c.Archive; a != nil {
		orInt(&a.Rate, DefaultArchiveRate)
		abs(&a.Folder, dir)
		abs(&a.CA, dir)
	}
}

func (c *Config) checkKeeping(d *decoder) {
	if k := c.Keep; k.FreeBelow < 0 || k.FreeBelow > 90 {
		d.bad("keep.free_below", "请填写 0 到 90", "write 0 to 90")
	}
	if k := c.Keep; k.MinMonths < DefaultMinMonths || k.MinMonths > 1200 {
		d.bad("keep.min_months", "不得少于 6 个月，不多于 1200", "no less than 6 months, no more than 1200")
	}
	a := c.Archive
	if a == nil {
		return
	}
	n := 0
	for _, set := range []bool{a.Folder != "", a.S3 != "", a.WebDAV != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		d.bad("archive", "请填写 folder、s3、webdav 之一", "name exactly one of folder, s3 and webdav")
	}
	if a.Rate < 1 || a.Rate > 10000 {
		d.bad("archive.rate", "请填写 1 到 10000（Mbit/s）", "write 1 to 10000 (Mbit/s)")
	}
	if a.Hours != "" && (!hoursForm.MatchString(a.Hours) || a.Hours[:5] == a.Hours[6:]) {
		d.bad("archive.hours", "请写两个时刻，如 19:00-07:00", "write two times of day, such as 19:00-07:00")
	}
	for key, s := range map[string]Secret{"archive.s3": a.S3, "archive.webdav": a.WebDAV} {
		if s == "" {
			continue
		}
		u, err := url.Parse(s.Reveal())
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			d.bad(key, "请写 https:// 地址", "write an https:// address")
		case u.Scheme == "http" && !isLoopback(u.Hostname()) && !c.Sim():
			d.bad(key, "http 不加密，口令会泄露；请用 https", "http is not encrypted and gives the password away: use https")
		case key == "archive.s3" && (u.User == nil || len(u.Path) < 2):
			d.bad(key, "请写 https://KEY:SECRET@主机/桶/前缀", "write https://KEY:SECRET@HOST/BUCKET/PREFIX")
		}
	}
	for _, disk := range c.Storage.Disks {
		if a.Folder != "" && (inside(a.Folder, disk) || inside(disk, a.Folder)) {
			d.bad("archive.folder", fmt.Sprintf("不能放在录像磁盘 %q 中", disk), fmt.Sprintf("it must not lie in the disk %q", disk))
		}
	}
}
