package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"minglu/agent/evidence"
)

// findingNames are the words for findings, Chinese first.
var findingNames = map[evidence.Finding]string{
	evidence.FindingAltered:   "被改动 altered",
	evidence.FindingRetimed:   "时间被改 re-timed",
	evidence.FindingMissing:   "缺失 missing",
	evidence.FindingForeign:   "外来 foreign",
	evidence.FindingDestroyed: "已销毁 destroyed",
	evidence.FindingRecovered: "断电后找回 recovered",
	evidence.FindingGap:       "缺口 gap",
	evidence.FindingBreak:     "暂停 break",
	evidence.FindingIntact:    "完好 intact",
}

// exitNames says what an exit code means.
var exitNames = map[int]string{
	evidence.ExitGood:      "完好、已签名、完整 / intact, signed and whole",
	evidence.ExitBad:       "有改动、缺失或外来内容 / something is altered, re-timed, missing or foreign",
	evidence.ExitUnchecked: "无法核验 / not checkable",
	evidence.ExitSound:     "可信，但有需要说明之处 / sound, with something to explain (see above)",
}

var gradeNames = [4]string{
	"0 签名者无人担保 / nobody vouches for the signer",
	"1 由受信任的设备签名 / signed by a trusted device",
	"2 并有外部时间证明 / and bounded by outside times",
	"3 并有第三方见证 / and witnessed",
}

// bilingual puts the Chinese for a cause before it, where there is one.
func bilingual(cause string) string {
	if zh := evidence.Chinese(cause); zh != "" {
		return zh + " / " + cause
	}
	return cause
}

// say writes to b, control characters in the arguments made visible: what is shown comes from files
// that anybody may have written, and must not be able to forge a line of the answer.
func say(b *strings.Builder, format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = strings.Map(func(r rune) rune {
				if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
					return '\uFFFD'
				}
				return r
			}, s)
		}
	}
	fmt.Fprintf(b, format, args...)
}

// writeVerdict writes the answer for a person to read.
func writeVerdict(w io.Writer, r evidence.Result) error {
	var b strings.Builder
	for _, s := range r.Sessions {
		writeSession(&b, s)
	}
	for _, l := range r.Ledgers {
		say(&b, "台账 ledger %s\n  %d 行已签名 signed lines, %d 次会话 sessions\n", l.Path, l.Lines, l.Sessions)
		if l.Finding != "" {
			say(&b, "  %s: %s\n", findingNames[l.Finding], bilingual(l.Cause))
		}
		if l.Unchecked != "" {
			say(&b, "  无法核验 not checkable: %s\n", bilingual(l.Unchecked))
		}
		writeNotes(&b, l.Notes)
	}
	writeNotes(&b, r.Notes)
	say(&b, "结论 verdict: %s (%d)\n", exitNames[r.Exit], r.Exit)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeSession(b *strings.Builder, s evidence.SessionResult) {
	say(b, "会话 session %s\n", s.ID)
	for _, p := range s.Paths {
		say(b, "  位置 at        %s\n", p)
	}
	if s.Signer != nil {
		say(b, "  设备 device    %s (%s) 证书 certificate %s\n", s.Signer.Name, s.Signer.Device, s.Signer.Certificate)
		if s.Signer.Anchor != "" {
			say(b, "  担保 anchor    %s\n", s.Signer.Anchor)
		}
	}
	if s.Body != "" || s.Room != "" {
		say(b, "  单位 body      %s  %s\n", s.Body, s.Room)
	}
	writeMoment(b, "开始 opened    ", s.Opened)
	writeMoment(b, "结束 closed    ", s.Closed)
	writePreroll(b, s)
	if s.Reason != "" {
		say(b, "  事由 reason    %s\n", s.Reason)
	}
	if s.Open != "" {
		say(b, "  未封存 open    %s\n", bilingual(s.Open))
	}
	for _, sp := range s.Spans {
		writeSpan(b, sp)
	}
	if s.Unchecked != "" {
		say(b, "  无法核验 not checkable: %s\n", bilingual(s.Unchecked))
	}
	say(b, "  等级 grade     %s\n", gradeWords(s))
	if s.Why != "" {
		say(b, "                 %s\n", bilingual(s.Why))
	}
	writeOutside(b, s.Outside, s.Exit == evidence.ExitBad)
	for _, a := range s.Amendments {
		say(b, "  补正 amendment  %d %s %s\n", a.N, a.Kind, utcSeconds(a.T))
		for _, k := range slices.Sorted(maps.Keys(a.Data)) {
			say(b, "                 %s: %s\n", k, a.Data[k])
		}
	}
	if s.SM2 != nil {
		writeSM2(b, s.SM2)
	}
	writeNotes(b, s.Notes)
}

// gradeWords says what the session is worth as a whole. What is bad or could not be checked has no grade to
// rely on, whatever its intact parts have.
func gradeWords(s evidence.SessionResult) string {
	grade := max(0, min(3, s.Grade))
	switch {
	case s.Exit == evidence.ExitBad:
		return fmt.Sprintf("无 none：有改动、缺失或外来内容，整体不可依赖（只看完好部分为 %d 级）/ something is altered, missing or foreign: not to be relied on as a whole (the intact parts alone: grade %d)", grade, grade)
	case s.Unchecked != "":
		return "无 none：无法核验 / it could not be checked"
	}
	return gradeNames[grade]
}

// writePreroll explains why the media begin before the session.
func writePreroll(b *strings.Builder, s evidence.SessionResult) {
	if s.Preroll <= 0 {
		return
	}
	d := (time.Duration(s.Preroll) * time.Microsecond).Round(time.Millisecond).String()
	say(b, "  预录 pre-roll  媒体从触发前 %s 开始：设备始终暂存最近几秒，触发时一并保留 / the media begin %s before the trigger: a device always holds the last seconds and keeps them when it is triggered\n", d, d)
}

// writeOutside says between which outside times the session was written, and who says so.
func writeOutside(b *strings.Builder, o *evidence.Outside, bad bool) {
	if o == nil {
		return
	}
	if bad {
		say(b, "  外部 outside   以下只关于完好部分 / what follows is about the intact parts alone\n")
	}
	switch {
	case o.After != 0 && o.Before != 0:
		say(b, "  外部 outside   写于 %s 与 %s UTC 之间（外部证明）/ written between the two (outside proof)\n", utcSeconds(o.After), utcSeconds(o.Before))
	case o.After != 0:
		say(b, "  外部 outside   写于 %s UTC 之后，之前无外部证明 / written after it, not all of it before an outside time\n", utcSeconds(o.After))
	case o.Before != 0:
		say(b, "  外部 outside   写于 %s UTC 之前，之后无外部证明 / written before it, after no outside time\n", utcSeconds(o.Before))
	}
	if o.Width >= 0 && o.After != 0 {
		say(b, "                 最大间隔 width %s，允许 window %s\n", (time.Duration(o.Width) * time.Microsecond).String(), (time.Duration(o.Window) * time.Microsecond).String())
	}
	writeUnbounded(b, o)
	if o.Sealed != 0 {
		say(b, "                 封存不晚于 sealed no later than %s UTC\n", utcSeconds(o.Sealed))
	}
	for _, p := range o.Parties {
		kind, own := "时间戳 time stamps", ""
		if p.Witness {
			kind = "见证 witness"
		}
		if p.Own {
			own = " (本单位 the body's own)"
		}
		say(b, "                 %s: %s%s\n", kind, p.Name, own)
	}
}

// writeUnbounded tells which parts no two outside times within the window bound; of many, the first.
func writeUnbounded(b *strings.Builder, o *evidence.Outside) {
	told := 0
	at := func(us int64) string {
		if us == 0 {
			return "?"
		}
		return utcSeconds(us)
	}
	for _, p := range o.Bounds {
		if p.After != 0 && p.Before != 0 && p.Before-p.After <= o.Window {
			continue
		}
		if told++; told > 8 {
			say(b, "                 …\n")
			return
		}
		say(b, "                 %s – %s 未被界定 not bounded: %s – %s\n", mediaTime(p.From), mediaTime(p.To), at(p.After), at(p.Before))
	}
}

func writeSM2(b *strings.Builder, r *evidence.SM2Result) {
	say(b, "  国密 national  SM2/SM3 签名成立，未经认证的模块 uncertified module: signature holds\n")
	if !r.Named {
		say(b, "                 手头没有台账认可这把密钥的记录 / no ledger line at hand names the key\n")
	}
	if r.Anchor != "" {
		say(b, "                 担保 anchor: %s\n", r.Anchor)
	} else {
		say(b, "                 无人担保 nobody vouches: %s\n", bilingual(r.Why))
	}
}

func utcSeconds(us int64) string { return time.UnixMicro(us).UTC().Format(time.DateTime) }

func writeMoment(b *strings.Builder, label string, m *evidence.Moment) {
	if m == nil {
		return
	}
	e := "误差未知 error unknown"
	if m.TE >= 0 {
		e = "± " + (time.Duration(m.TE) * time.Microsecond).String()
	}
	say(b, "  %s%s (%s, %s)\n", label, time.UnixMicro(m.T).UTC().Format("2006-01-02 15:04:05.000 UTC"), e, m.Src)
}

func writeSpan(b *strings.Builder, sp evidence.Span) {
	ch := sp.Channel
	if ch == "" {
		ch = "全部 all"
	}
	say(b, "  %-12s %s – %s  %s", ch, mediaTime(sp.From), mediaTime(sp.To), findingNames[sp.Finding])
	if sp.Cause != "" {
		say(b, ": %s", bilingual(sp.Cause))
	}
	if sp.Finding != evidence.FindingIntact && sp.File != "" {
		say(b, " [%s", sp.File)
		if sp.Line != nil {
			say(b, " line %d", *sp.Line)
		}
		if sp.Offset > 0 {
			say(b, " byte %d", sp.Offset)
		}
		b.WriteString("]")
	}
	if sp.Disk != "" {
		say(b, " @ %s", sp.Disk)
	}
	b.WriteString("\n")
}

// mediaTime writes µs of media time as h:mm:ss.mmm.
func mediaTime(us int64) string {
	sign := ""
	if us < 0 {
		sign, us = "-", -us
	}
	ms := us / 1000
	return fmt.Sprintf("%s%d:%02d:%02d.%03d", sign, ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}

func writeNotes(b *strings.Builder, notes []string) {
	for _, n := range notes {
		say(b, "  注 note: %s\n", bilingual(n))
	}
}
