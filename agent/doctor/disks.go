package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Floor is below what a disk counts as full for package record.
const Floor = 256 << 20

// LowHours is when the standard wants somebody to know.
const LowHours = 24.0

// ReadDiskID returns the id in a disk's ledger/disk.json. An error wraps fs.ErrNotExist if the disk is
// new, or not mounted.
func ReadDiskID(dir string) (string, error) {
	name := filepath.Join(dir, "ledger", "disk.json")
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	var f struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(b, &f); err != nil || len(f.ID) != 32 || strings.Trim(f.ID, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%s holds no disk id", name)
	}
	return f.ID, nil
}

// DiskOptions is what [Disk] needs to know.
type DiskOptions struct {
	Name   string // as people call it: A, B
	Dir    string
	Known  string   // id of the disk last seen there, "" if none ever was
	Other  bool     // it is another device's: only read
	Others []string // folders of the other disks
	Write  bool     // it may be written to: no agent runs
	Rate   int64    // bit/s that a session takes
	Guess  bool     // Rate is not measured
	Layer  durable.Layer
}

// Disk looks whether a disk is there, its own, and writable.
func Disk(_ context.Context, o DiskOptions) (all []Finding) {
	add := func(f Finding) { all = append(all, f) }
	if _, err := os.ReadDir(o.Dir); err != nil {
		do := text("请连接并挂载磁盘，或更正 agent.yaml 的 storage.disks", "Connect and mount it, or correct storage.disks in agent.yaml")
		add(bad("disk.present", o.Name, text("磁盘 "+o.Name+"（"+o.Dir+"）不可读："+err.Error(), "Disk "+o.Name+" ("+o.Dir+") cannot be read: "+err.Error()), do))
		return all
	}
	id, err := ReadDiskID(o.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.Known != "" && !ownFS(o.Dir):
		add(bad("disk.present", o.Name, text("磁盘 "+o.Name+"（"+o.Dir+"）没有挂载：这里原是磁盘 "+o.Known[:min(8, len(o.Known))], "Disk "+o.Name+" ("+o.Dir+") is not mounted: disk "+o.Known[:min(8, len(o.Known))]+" used to be here"),
			text("请连接并挂载磁盘；如确已弃用该文件夹的内容，请从 state/disks.json 中删去它", "Connect and mount it; if its content was given up on purpose, take it out of state/disks.json")))
		return all // nothing else is to be written there
	case errors.Is(err, fs.ErrNotExist):
		add(note("disk.present", o.Name, text("磁盘 "+o.Name+"（"+o.Dir+"）上没有磁盘编号：是新磁盘，或没有挂载", "Disk "+o.Name+" ("+o.Dir+") has no id: it is new, or not mounted"),
			text("如果是用过的磁盘，请检查其挂载；新磁盘在首次录制时自动编号", "If it was used before, check that it is mounted; a new one is named when the agent first starts")))
	case err != nil:
		add(bad("disk.present", o.Name, text("磁盘 "+o.Name+" 的编号不可用："+err.Error(), "The id of disk "+o.Name+" cannot be used: "+err.Error()),
			text("请先备份该磁盘，再删除该文件，由程序重新编号", "Make a copy of the disk first, then delete that file: the agent names the disk anew")))
	case o.Other:
		f := report.Find("disk.other")
		add(bad("disk.other", o.Name, f.Text.In(o.Name), f.Do))
		return all // nothing is to be written there
	default:
		add(good("disk.present", o.Name, "磁盘 "+o.Name+" 已连接，编号 "+id[:8], "Disk "+o.Name+" is there, id "+id[:8]))
	}
	add(ownDisk(o))
	if o.Write {
		add(writable(o))
	}
	return all
}

// device is the number of the file system a folder is on, 0 if it cannot be told.
func device(dir string) uint64 {
	var st syscall.Stat_t
	if syscall.Stat(dir, &st) != nil {
		return 0
	}
	return uint64(st.Dev)
}

// ownFS tells whether a folder is a file system of its own.
func ownFS(dir string) bool { return device(dir) != 0 && device(dir) != device(filepath.Dir(dir)) }

// ownDisk says whether a disk is independent of the other and of what is around it.
func ownDisk(o DiskOptions) Finding {
	for _, other := range o.Others {
		if device(o.Dir) == device(other) {
			return note("disk.own", o.Name, text("磁盘 "+o.Name+" 与另一块在同一文件系统上：两份副本会一起丢失", "Disk "+o.Name+" is on the same file system as the other: both copies would be lost together"),
				text("请为每份副本使用独立的磁盘", "Use a disk of its own for each copy"))
		}
	}
	if !ownFS(o.Dir) {
		return note("disk.own", o.Name, text("磁盘 "+o.Name+" 只是上级文件系统中的文件夹", "Disk "+o.Name+" is only a folder of the file system around it"),
			text("如应是独立磁盘，请检查挂载（/etc/fstab）", "If it should be a disk of its own, check that it is mounted (/etc/fstab)"))
	}
	return good("disk.own", o.Name, "磁盘 "+o.Name+" 是独立的文件系统", "Disk "+o.Name+" is a file system of its own")
}

// Space says for how many hours a disk has room; nothing of one that is not there, which [Disk] tells.
func Space(o DiskOptions) []Finding {
	if _, err := ReadDiskID(o.Dir); o.Other || errors.Is(err, fs.ErrNotExist) && o.Known != "" && !ownFS(o.Dir) {
		return nil
	}
	free, total, err := durable.Files{Layer: o.Layer}.Space(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []Finding{bad("disk.space", o.Name, text("无法得知磁盘 "+o.Name+" 的空间："+err.Error(), "The space of disk "+o.Name+" cannot be told: "+err.Error()), text("请检查磁盘", "Check the disk"))}
	}
	hours := float64(max(free-Floor, 0)) * 8 / float64(max(o.Rate, 1)) / 3600
	how := text("实测", "measured")
	if o.Guess {
		how = text("估计，尚未实测", "a guess, not measured yet")
	}
	zh := fmt.Sprintf("磁盘 %s 剩余 %s（共 %s），按 %.2f Mbit/s（%s）约可录 %.0f 小时", o.Name, size(free), size(total), float64(o.Rate)/1e6, how.Zh, hours)
	en := fmt.Sprintf("Disk %s has %s free of %s, about %.0f hours of recording at %.2f Mbit/s (%s)", o.Name, size(free), size(total), hours, float64(o.Rate)/1e6, how.En)
	do := text("请归档旧会话后腾出空间，或更换更大的磁盘", "Archive old sessions to free space, or use a larger disk")
	switch {
	case free < Floor:
		return []Finding{bad("disk.space", o.Name, text("磁盘 "+o.Name+" 已满："+size(free), "Disk "+o.Name+" is full: "+size(free)+" free"), do)}
	case hours < LowHours:
		return []Finding{note("disk.space", o.Name, text(zh, en), do)}
	}
	return []Finding{good("disk.space", o.Name, zh, en)}
}

// tmpOf is where temporary files go: a new disk has no folder for them yet.
func tmpOf(disk string) string {
	dir := filepath.Join(disk, "tmp")
	if _, err := os.Stat(dir); err != nil {
		return disk
	}
	return dir
}

// writable writes and syncs a small file.
func writable(o DiskOptions) Finding {
	dir := tmpOf(o.Dir)
	files := durable.Files{Layer: o.Layer, Tmp: dir}
	name := filepath.Join(dir, "doctor-probe.tmp")
	err := files.Remove(name) // a doctor that was killed left it
	var f *durable.File
	if err == nil {
		f, err = files.CreateFile(name)
	}
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		err = errors.Join(err, f.Sync(), f.Close(), files.Remove(name))
	}
	if err != nil {
		return bad("disk.write", o.Name, text("磁盘 "+o.Name+" 不能写入："+err.Error(), "Disk "+o.Name+" cannot be written: "+err.Error()),
			text("请检查磁盘是否只读、损坏或权限不足；必要时更换", "See whether it is read-only, damaged, or not ours to write; replace it if need be"))
	}
	return good("disk.write", o.Name, "磁盘 "+o.Name+" 可以写入", "Disk "+o.Name+" can be written")
}

// Speed measures a disk's barrier.
func Speed(ctx context.Context, o DiskOptions, channels int, measured func(Barrier)) []Finding {
	id, err := ReadDiskID(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || o.Other {
		return nil // said already
	}
	b, err := Measure(ctx, o.Layer, o.Dir, id, channels)
	if err != nil {
		return []Finding{bad("disk.speed", o.Name, text("磁盘 "+o.Name+" 测速失败："+err.Error(), "Disk "+o.Name+" could not be measured: "+err.Error()),
			text("请检查磁盘", "Check the disk"))}
	}
	measured(b)
	zh := fmt.Sprintf("磁盘 %s 落盘一次：中位 %s，99%% 在 %s 以内（%d 次）", o.Name, ms(b.P50), ms(b.P99), b.Rounds)
	en := fmt.Sprintf("Disk %s makes a cycle durable in %s (median), 99 %% within %s, %d measured", o.Name, ms(b.P50), ms(b.P99), b.Rounds)
	if 4*b.P99 > MaxCycle {
		return []Finding{bad("disk.speed", o.Name, text(zh+"：过慢", en+": too slow"),
			text("断电时可能丢失超过 2 秒：请更换磁盘", "A power cut may cost more than 2 s: replace the disk"))}
	}
	return []Finding{good("disk.speed", o.Name, zh, en)}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// CycleFinding says which cycle is in force and why.
func CycleFinding(inForce time.Duration, configured string, m *Measured) Finding {
	switch {
	case configured != "auto":
		return good("disk.cycle", "", "签名落盘周期为 "+inForce.String()+"（agent.yaml 指定）", "The signing cycle is "+inForce.String()+", as agent.yaml says")
	case m == nil:
		return note("disk.cycle", "", text("签名落盘周期为 "+inForce.String()+"：尚未测量磁盘", "The signing cycle is "+inForce.String()+": the disks were not measured yet"),
			text("请停止代理后运行 minglu-agent doctor", "Stop the agent and run minglu-agent doctor"))
	}
	return good("disk.cycle", "", "签名落盘周期为 "+m.Cycle().String()+"（最慢磁盘 99% 的 4 倍）", "The signing cycle is "+m.Cycle().String()+": four times what the slowest disk takes in 99 % of all cases")
}
