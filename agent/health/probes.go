package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"minglu/agent/standard"
)

const (
	probeEvery = 10 * time.Second
	probeGrace = 3 * time.Second // how long Run waits for a disk that hangs
	maxZones   = 64
)

// probes reads the kernel's files beside everything else: a disk that hangs hangs only them.
type probes struct {
	sys   string
	disks []Disk

	mu   sync.Mutex // guards last
	last found
}

// found is what the kernel told last.
type found struct {
	celsius   *float64
	underVolt *bool
	disks     map[string]diskFound
}

type diskFound struct {
	device  uint64 // st_dev
	err     error
	open    string   // the path others may change, "" none
	worn    *float64 // share of the life-time used
	wornWhy standard.Text
}

func newProbes(sys string, disks []Disk) *probes { return &probes{sys: sys, disks: disks} }

func (p *probes) latest() found {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// run probes until ctx ends. A disk that hangs then is left behind after probeGrace.
func (p *probes) run(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(probeEvery)
		defer tick.Stop()
		for {
			p.probe()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	<-ctx.Done()
	t := time.NewTimer(probeGrace)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	}
}

// probe looks once. The board comes first: its files never hang.
func (p *probes) probe() {
	f := found{celsius: p.temperature(), underVolt: p.underVoltage(), disks: map[string]diskFound{}}
	p.mu.Lock()
	if p.last.disks != nil {
		f.disks = p.last.disks
	}
	p.last = f
	p.mu.Unlock()
	disks := map[string]diskFound{}
	for _, d := range p.disks {
		disks[d.Name] = p.disk(d.Dir)
	}
	p.mu.Lock()
	p.last.disks = disks
	p.mu.Unlock()
}

// temperature is the hottest zone of the board, °C.
func (p *probes) temperature() *float64 {
	zones, _ := filepath.Glob(filepath.Join(p.sys, "class/thermal/thermal_zone*/temp"))
	var hot *float64
	for _, z := range zones[:min(len(zones), maxZones)] {
		v, err := readInt(z) // millidegrees, Documentation/ABI/testing/sysfs-class-thermal
		if c := float64(v) / 1000; err == nil && c > -50 && c < 200 && (hot == nil || c > *hot) {
			hot = &c
		}
	}
	return hot
}

// underVoltage reads the alarm of a supply monitor: a Raspberry Pi has rpi_volt, whose in0_lcrit_alarm
// is 1 since the supply was last found too low; other boards have in*_lcrit_alarm or in*_min_alarm.
func (p *probes) underVoltage() *bool {
	var files []string
	for _, pattern := range []string{"in*_lcrit_alarm", "in*_min_alarm"} {
		found, _ := filepath.Glob(filepath.Join(p.sys, "class/hwmon/hwmon*", pattern))
		files = append(files, found...)
	}
	var low *bool
	for _, f := range files[:min(len(files), maxZones)] {
		v, err := readInt(f)
		if err != nil {
			continue
		}
		if alarm := v != 0; low == nil || alarm {
			low = &alarm
		}
	}
	return low
}

// disk looks at the folder of one disk. It may hang as long as the disk does.
func (p *probes) disk(dir string) diskFound {
	info, err := os.Stat(dir)
	if err != nil {
		return diskFound{err: err}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return diskFound{err: errors.New("no device number")}
	}
	d := diskFound{device: uint64(st.Dev)}
	d.open, d.err = openPath(dir)
	d.worn, d.wornWhy = p.wear(d.device)
	return d
}

// openPath looks for a folder of recordings that other users of the board may write.
func openPath(dir string) (string, error) {
	paths := []string{dir, filepath.Join(dir, "sessions")}
	sessions, err := newest(filepath.Join(dir, "sessions"))
	if err != nil {
		return "", err
	}
	for _, path := range append(paths, sessions...) {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return path, nil
		}
	}
	return "", nil
}

// newest is the newest session folder and its files.
func newest(sessions string) ([]string, error) {
	entries, err := os.ReadDir(sessions)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(sessions, entries[len(entries)-1].Name())
	out := []string{dir}
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range files[:min(len(files), 100)] {
		out = append(out, filepath.Join(dir, f.Name()))
	}
	return out, nil
}

// wear is the share of its life-time an eMMC or SD card says it has used (JESD84-B51 7.4.38:
// DEVICE_LIFE_TIME_EST, steps of 10 %, 0x0B exceeded).
func (p *probes) wear(device uint64) (*float64, standard.Text) {
	none := standard.Text{Zh: "该存储介质不提供寿命信息", En: "this medium does not tell its wear"}
	major, minor := device>>8&0xfff|device>>32&^0xfff, device&0xff|device>>12&^0xff // makedev(3)
	path, err := filepath.EvalSymlinks(filepath.Join(p.sys, fmt.Sprintf("dev/block/%d:%d", major, minor)))
	if err != nil {
		return nil, standard.Text{Zh: "内核中没有该磁盘的块设备", En: "the kernel shows no block device for this disk"}
	}
	for range 3 { // the partition, its disk
		b, err := os.ReadFile(filepath.Join(path, "device/life_time"))
		if err == nil {
			worst := 0.0
			for _, field := range strings.Fields(string(b)) {
				v, err := strconv.ParseUint(field, 0, 8)
				if err != nil || v > 0x0b {
					return nil, none
				}
				worst = max(worst, float64(v)/10)
			}
			if worst == 0 { // 0 means not defined
				return nil, none
			}
			return &worst, standard.Text{}
		}
		path = filepath.Dir(path)
	}
	return nil, none
}

func readInt(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}
