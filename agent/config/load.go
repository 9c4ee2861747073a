package config

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml/token"
)

//go:embed example.yaml
var example string

// Example is a whole configuration with every key explained, in Chinese and English.
func Example() string { return example }

// DisksFile is the file in the state folder that remembers which disk was in which folder, as a JSON
// object of ids by folder.
const DisksFile = "disks.json"

// KnownDisks are the ids of the disks that this device last saw, by folder; none if there is no such file.
func KnownDisks(state string) map[string]string {
	known := map[string]string{}
	if b, err := os.ReadFile(filepath.Join(state, DisksFile)); err == nil && json.Unmarshal(b, &known) != nil {
		known = map[string]string{}
	}
	return known
}

// Load reads and checks the configuration file at path, and looks whether the folders and files it
// names are there. A disk that this device knows may be away: that is a fault of the room, which records
// on the other, and no mistake in the file. The error is an [*Error], or one that wraps the cause when the file cannot be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w: name an existing file with --config", err)
	}
	return parse(path, data, true)
}

// Parse checks data as if it stood in file, without looking at the file system: folders may be
// missing. The error is an [*Error].
func Parse(file string, data []byte) (*Config, error) { return parse(file, data, false) }

func parse(file string, data []byte, look bool) (*Config, error) {
	d := decoder{file: file, at: map[string]*token.Position{}, wrong: map[string]bool{}}
	c := &Config{}
	d.parse(data, c)
	if len(d.problems) > 0 && len(d.at) == 0 {
		return nil, d.err()
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	c.fill(&d, dir)
	c.check(&d)
	if look {
		c.look(&d)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// look checks what only the file system can tell.
func (c *Config) look(d *decoder) {
	var seen []os.FileInfo
	known := KnownDisks(c.State)
	for i, disk := range c.Storage.Disks {
		key := "storage.disks[" + itoa(i) + "]"
		fi, err := os.Stat(disk)
		switch {
		case err != nil && known[disk] != "":
			continue
		case errors.Is(err, os.ErrNotExist):
			d.bad(key, fmt.Sprintf("目录 %q 不存在；请挂载磁盘或创建目录", disk), fmt.Sprintf("no such directory %q: mount the disk or create the directory", disk))
			continue
		case err != nil:
			d.bad(key, fmt.Sprintf("无法访问 %q：%v", disk, err), fmt.Sprintf("cannot look at %q: %v", disk, err))
			continue
		case !fi.IsDir():
			d.bad(key, fmt.Sprintf("%q 不是目录；请填写磁盘的目录", disk), fmt.Sprintf("%q is no directory: name the disk's folder", disk))
			continue
		}
		for _, s := range seen {
			if os.SameFile(s, fi) {
				d.bad(key, fmt.Sprintf("%q 与前一个是同一目录；请删去或换成另一块磁盘", disk), fmt.Sprintf("%q is the same folder as the one before: remove it or name another disk", disk))
			}
		}
		seen = append(seen, fi)
		if inside(realPath(c.State), realPath(disk)) {
			d.stateInDisk(c.State, disk)
		}
	}
	files := map[string]string{}
	if t := c.Web.TLS; t != nil {
		files["web.tls.cert"], files["web.tls.key"] = t.Cert, t.Key
	}
	if c.MQTT != nil {
		files["mqtt.ca"] = c.MQTT.CA
	}
	if c.Archive != nil {
		files["archive.ca"] = c.Archive.CA
	}
	if c.Speaker != nil {
		files["speaker.announcement"] = c.Speaker.Announcement
	}
	if c.Overlay.Font != FontAuto {
		files["overlay.font"] = c.Overlay.Font
	}
	for key, name := range files {
		if name == "" {
			continue
		}
		if fi, err := os.Stat(name); err != nil || fi.IsDir() {
			d.bad(key, fmt.Sprintf("文件 %q 不存在；请检查路径", name), fmt.Sprintf("no such file %q: check the path", name))
		}
	}
}

// realPath resolves symbolic links of the part of path that exists.
func realPath(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if up := filepath.Dir(path); up != path {
		return filepath.Join(realPath(up), filepath.Base(path))
	}
	return path
}
