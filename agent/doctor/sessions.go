package doctor

import (
	"fmt"
	"strings"
)

// Sessions is what main found of the recordings on the disks.
type Sessions struct {
	Sealed      int
	Interrupted []string            // cut before their seal
	Lacking     map[string][]string // disk name -> sessions whose copy there is missing or incomplete
	Foreign     []string            // sessions whose copies tell different stories
	Aside       []string            // what was set aside and kept, as paths
}

// Findings puts them into words.
func (s Sessions) Findings() (all []Finding) {
	all = append(all, good("sessions", "", fmt.Sprintf("磁盘上有 %d 次已封存的会话", s.Sealed), fmt.Sprintf("%d sealed sessions on the disks", s.Sealed)))
	if n := len(s.Interrupted); n > 0 {
		f := note("sessions.interrupted", "", text(fmt.Sprintf("%d 次会话中断后尚未封存：%s", n, some(s.Interrupted)), fmt.Sprintf("%d sessions were cut and are not sealed: %s", n, some(s.Interrupted))),
			text("启动代理会自动修复；或运行 minglu-agent doctor --repair", "Starting the agent repairs them; or run minglu-agent doctor --repair"))
		f.Cure = true
		all = append(all, f)
	}
	for _, disk := range sorted(s.Lacking) {
		ids := s.Lacking[disk]
		f := note("sessions.copies", disk, text(fmt.Sprintf("磁盘 %s 缺少 %d 次会话的副本：%s", disk, len(ids), some(ids)), fmt.Sprintf("Disk %s lacks copies of %d sessions: %s", disk, len(ids), some(ids))),
			text("空闲时自动补齐；或运行 minglu-agent doctor --repair", "They are completed while nothing is recorded; or run minglu-agent doctor --repair"))
		f.Cure = true
		all = append(all, f)
	}
	for _, id := range s.Foreign {
		all = append(all, bad("sessions.foreign", id, text("会话 "+id+" 的两份副本内容不一致", "The two copies of session "+id+" tell different stories"),
			text("请保留两份，并用 minglu-agent verify 一起核验", "Keep both, and verify them together with minglu-agent verify")))
	}
	if n := len(s.Aside); n > 0 {
		all = append(all, note("sessions.aside", "", text(fmt.Sprintf("有 %d 处被移开保存的内容：%s", n, some(s.Aside)), fmt.Sprintf("%d things were set aside and kept: %s", n, some(s.Aside))),
			text("内容未被删除；核对后由管理员自行处置", "Nothing was deleted; the equipment manager may look at them and decide")))
	}
	return all
}

// some lists at most five names.
func some(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:5], ", ") + " …"
	}
	return strings.Join(names, ", ")
}
