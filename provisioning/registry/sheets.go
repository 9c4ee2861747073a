package registry

import (
	"regexp"
	"time"

	"minglu/agent/report"
)

// The six sheets. Their columns are what people see in a workbook, in a CSV file and on the page.

// exampleA and exampleB are codes whose check digits are right and whose division nobody has.
const exampleA, exampleB = "11999900MB0000001K", "11999900MB0000002N"

var (
	ident    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	deviceID = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	division = regexp.MustCompile(`^\d{6}$`)
)

const (
	identZh, identEn   = "只能是 1 至 64 个字母、数字、点、横线或下划线", "want 1 to 64 letters, digits, dots, hyphens or underscores"
	deviceZh, deviceEn = "应为设备名称，如 room-3（小写字母、数字、横线）", "want the name of a device such as room-3 (small letters, digits, hyphens)"
)

var bodySheet = &sheet[Body]{
	name: Bodies, zh: "单位", en: "Bodies", max: 5000, key: func(b *Body) string { return b.USCC },
	columns: []column[Body]{
		text("单位名称", "Name", true, 200, func(b *Body) *string { return &b.Name }, "", "某县市场监督管理局", "某县卫生健康委员会"),
		uscc("统一社会信用代码", "USCC", true, func(b *Body) *string { return &b.USCC }, "18 位，带校验位", exampleA, exampleB),
		text("系统", "System", false, 200, func(b *Body) *string { return &b.System }, "", "市场监管", "卫生健康"),
		pattern(text("行政区划代码", "Division", false, 6, func(b *Body) *string { return &b.Division }, "6 位", "999900", "999900"), division, "应为 6 位数字", "want 6 digits"),
		choice("类别", "Class", false, func(b *Body) *string { return &b.Class }, [][]string{{"A", "A"}, {"B", "B"}, {"C", "C"}}, "A", "B"),
		numberColumn("其他设备套数", "Other sets", 100000, func(b *Body) *int { return &b.Sets }, "4", ""),
		yes("不预录", "No pre-roll", func(b *Body) *bool { return &b.Rules.PrerollOff }, "", "是"),
		numberColumn("提醒分钟", "Warn minutes", 10080, func(b *Body) *int { return &b.Rules.WarnMinutes }, "420", ""),
		numberColumn("时限分钟", "Limit minutes", 10080, func(b *Body) *int { return &b.Rules.MaxMinutes }, "480", ""),
		choice("调阅审批", "Approval", false, func(b *Body) *string { return &b.Rules.Approval }, [][]string{{report.ApprovalAll, "全部", "all"}, {report.ApprovalOthers, "非承办人", "others"}}, "非承办人", "全部"),
	},
}

var roomSheet = &sheet[Room]{
	name: Rooms, zh: "房间", en: "Rooms", max: 20000, key: func(r *Room) string { return r.Device },
	columns: []column[Room]{
		pattern(text("设备名称", "Device", true, 64, func(r *Room) *string { return &r.Device }, "", "room-3", "room-4"), deviceID, deviceZh, deviceEn),
		text("房间名称", "Room", false, 200, func(r *Room) *string { return &r.Name }, "", "询问室三", "听证室"),
		choice("用途", "For", false, func(r *Room) *string { return &r.For }, [][]string{{report.MatterInterview, "询问", "interview"}, {report.MatterHearing, "听证", "hearing"}, {"", "两用", "both"}}, "询问", "听证"),
		several("使用单位", "Bodies", true, 100, 18, func(r *Room) *[]string { return &r.Bodies }, "统一社会信用代码，用顿号分开；第一个是所属单位", exampleA, exampleA+"、"+exampleB),
	},
}

var officerSheet = &sheet[Officer]{
	name: Officers, zh: "人员", en: "Officers", max: 50000, key: func(o *Officer) string { return o.Credential },
	columns: []column[Officer]{
		text("姓名", "Name", true, 200, func(o *Officer) *string { return &o.Name }, "", "王某", "李某"),
		text("证号", "Credential", true, 200, func(o *Officer) *string { return &o.Credential }, "单元格格式设为文本", "99990101001", "99990101002"),
		uscc("单位代码", "Body", true, func(o *Officer) *string { return &o.Body }, "统一社会信用代码", exampleA, exampleA),
		day("有效期自", "From", func(o *Officer) *string { return &o.From }, "2024-01-01", ""),
		day("有效期至", "To", func(o *Officer) *string { return &o.To }, "2028-12-31", ""),
		yes("操作员", "Operator", func(o *Officer) *bool { return &o.Operator }, "", "是"),
	},
}

var matterSheet = &sheet[Matter]{
	name: Matters, zh: "事项", en: "Matters", max: 20000, key: func(m *Matter) string { return m.ID + "\x00" + m.Version },
	columns: []column[Matter]{
		pattern(text("事项编号", "Matter", true, 64, func(m *Matter) *string { return &m.ID }, "", "ask", "hearing"), ident, identZh, identEn),
		text("版本", "Version", true, 64, func(m *Matter) *string { return &m.Version }, "内容改变时用新的版本", "2026-1", "2026-1"),
		text("事项名称", "Name", true, 200, func(m *Matter) *string { return &m.Name }, "", "询问当事人", "行政处罚听证"),
		choice("类型", "Kind", true, func(m *Matter) *string { return &m.Kind }, [][]string{{report.MatterInterview, "询问", "interview"}, {report.MatterHearing, "听证", "hearing"}}, "询问", "听证"),
		uscc("单位代码", "Body", false, func(m *Matter) *string { return &m.Body }, "留空：各单位共用", "", exampleA),
		text("起始时点", "Starts", false, 200, func(m *Matter) *string { return &m.Starts }, "", "当事人进入询问室", "主持人宣布听证开始"),
		text("结束时点", "Ends", false, 200, func(m *Matter) *string { return &m.Ends }, "", "笔录签字完毕", "笔录签字完毕"),
		several("议程", "Agenda", false, 30, 60, func(m *Matter) *[]string { return &m.Agenda }, "按先后，用顿号分开", "", "核对身份、告知权利、询问回避、陈述事实与建议、申辩、质证、辩论、最后陈述"),
		retention("保存期限", "Retention", func(m *Matter) *report.Retention { return &m.Retention }, "6个月", "同案卷"),
		numberColumn("时限分钟", "Limit minutes", 10080, func(m *Matter) *int { return &m.LimitMinutes }, "480", ""),
		text("批准人", "Approved by", false, 200, func(m *Matter) *string { return &m.ApprovedBy }, "", "赵某", "赵某"),
		day("批准日期", "Approved on", func(m *Matter) *string { return &m.ApprovedOn }, "2026-01-05", "2026-01-05"),
		yes("停用", "Retired", func(m *Matter) *bool { return &m.Retired }, "", ""),
	},
	keeps: func(s *sheet[Matter], old, new *Matter) error {
		was, is := *old, *new
		was.Retired, is.Retired = false, false
		for _, c := range s.columns {
			if c.get(&was, time.UTC) != c.get(&is, time.UTC) {
				return wrong("版本“%s”已下发，“%s”不能再改：请用新的版本号另加一行", "version %q was given out, %q cannot change any more: add a row with a new version", old.Version, c.zh)
			}
		}
		return nil
	},
}

var bookingSheet = &sheet[Booking]{
	name: Bookings, zh: "预约", en: "Bookings", max: 50000, key: func(b *Booking) string { return b.ID },
	columns: []column[Booking]{
		pattern(text("预约编号", "Booking", true, 64, func(b *Booking) *string { return &b.ID }, "", "b-2026-001", "b-2026-002"), ident, identZh, identEn),
		pattern(text("设备名称", "Device", true, 64, func(b *Booking) *string { return &b.Device }, "", "room-3", "room-4"), deviceID, deviceZh, deviceEn),
		uscc("单位代码", "Body", true, func(b *Booking) *string { return &b.Body }, "统一社会信用代码", exampleA, exampleA),
		moment("开始", "From", func(b *Booking) *time.Time { return &b.From }, "2026-11-24 09:00", "2026-11-25 14:30"),
		moment("结束", "To", func(b *Booking) *time.Time { return &b.To }, "2026-11-24 11:00", "2026-11-25 17:30"),
		text("案号", "Case", false, 200, func(b *Booking) *string { return &b.Case }, "", "某市监罚〔2026〕12号", "某市监罚〔2026〕12号"),
		pattern(text("事项编号", "Matter", false, 64, func(b *Booking) *string { return &b.Matter }, "", "ask", "hearing"), ident, identZh, identEn),
		several("人员证号", "Officers", false, 50, 200, func(b *Booking) *[]string { return &b.Officers }, "用顿号分开", "99990101001、99990101002", "99990101001、99990101002"),
		text("操作员", "Operator", false, 200, func(b *Booking) *string { return &b.Operator }, "证号或姓名", "", "99990101002"),
		text("备注", "Note", false, 1000, func(b *Booking) *string { return &b.Note }, "", "", "三人旁听"),
	},
}

// forever is how people write report.KeepForever.
const forever = "永久"

var caseSheet = &sheet[Case]{
	name: Cases, zh: "案件", en: "Cases", max: 200000, key: func(c *Case) string { return c.Case + "\x00" + c.Body },
	columns: []column[Case]{
		text("案号", "Case", true, 200, func(c *Case) *string { return &c.Case }, "", "某市监罚〔2026〕12号", "某市监罚〔2025〕3号"),
		uscc("单位代码", "Body", true, func(c *Case) *string { return &c.Body }, "统一社会信用代码", exampleA, exampleA),
		text("案由", "Title", false, 200, func(c *Case) *string { return &c.Title }, "", "某商行涉嫌销售过期食品案", ""),
		day("结案日期", "Closed", func(c *Case) *string { return &c.Closed }, "", "2025-12-01"),
		keepUntil(),
	},
}

func keepUntil() column[Case] {
	c := day("保存至", "Keep until", func(c *Case) *string { return &c.KeepUntil }, "", "2035-12-31")
	get, set := c.get, c.set
	c.note = "2035-12-31 / 永久"
	c.get = func(x *Case, z *time.Location) string {
		if x.KeepUntil == report.KeepForever {
			return forever
		}
		return get(x, z)
	}
	c.set = func(x *Case, s string, z *time.Location) error {
		if s == forever || s == "permanent" {
			x.KeepUntil = report.KeepForever
			return nil
		}
		return set(x, s, z)
	}
	return c
}
