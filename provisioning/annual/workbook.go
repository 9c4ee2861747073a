package annual

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/xuri/excelize/v2"

	"minglu/agent/report"
	"minglu/provisioning/fleet"
)

// Workbook writes a report as XLSX: bodies, months, what was not recorded, failing items.
func Workbook(r Report, unrecorded []fleet.Unrecorded) (b []byte, err error) {
	f := excelize.NewFile()
	defer func() { err = errors.Join(err, f.Close()) }()
	head, err := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}, Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"DDE6F0"}}, Alignment: &excelize.Alignment{WrapText: true}})
	if err != nil {
		return nil, fmt.Errorf("annual: workbook: %w", err)
	}
	for i, s := range []struct {
		name  string
		heads []any
		rows  [][]any
	}{
		{"单位", bodyHeads(), bodyRows(r)},
		{"逐月", monthHeads(r), monthRows(r)},
		{"未录制", []any{"时间", "房间", "单位", "案号", "原因", "登记人"}, unrecordedRows(r, unrecorded)},
		{"不合格项", []any{"项目", "内容", "级别", "依据", "房间数", "房间"}, itemRows(r)},
	} {
		if i == 0 {
			err = f.SetSheetName("Sheet1", s.name)
		} else {
			_, err = f.NewSheet(s.name)
		}
		if err == nil {
			err = fill(f, s.name, s.heads, s.rows, head)
		}
		if err != nil {
			return nil, fmt.Errorf("annual: workbook: %s: %w", s.name, err)
		}
	}
	var out bytes.Buffer
	if err := f.Write(&out); err != nil {
		return nil, fmt.Errorf("annual: workbook: %w", err)
	}
	return out.Bytes(), nil
}

func fill(f *excelize.File, sheet string, heads []any, rows [][]any, style int) error {
	all := append([][]any{heads}, rows...)
	for i := range all {
		if err := f.SetSheetRow(sheet, fmt.Sprintf("A%d", i+1), &all[i]); err != nil {
			return err
		}
	}
	last, err := excelize.CoordinatesToCellName(len(heads), 1)
	if err != nil {
		return err
	}
	return errors.Join(f.SetCellStyle(sheet, "A1", last, style), f.SetColWidth(sheet, "A", "A", 28),
		f.SetPanes(sheet, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}))
}

func bodyHeads() []any {
	return []any{"单位", "统一社会信用代码", "系统", "行政区划", "会话数", "时长（小时）", "未录制登记", "调阅次数", "断电恢复", "使用前检查有不合格", "未封存", "已归档", "演练",
		"所属房间", "现不合格房间", "现失联房间", "缺少房间", "类别", "持证人员", "现有套数", "应配套数", "缺额", "依据"}
}

func bodyRows(r Report) (rows [][]any) {
	for _, b := range append(r.Bodies, r.Total) {
		row := []any{b.Name, b.Key, b.System, b.Division, b.Sessions, float64(b.MediaMS/360_000) / 10, b.Unrecorded, b.Looks, b.Recovered, b.Unchecked, b.Unsealed, b.Archived, b.Drills,
			b.Rooms, b.Failing, b.Silent, lackWords(b.Lacks)}
		if a := b.Allocate; a != nil {
			row = append(row, a.Class, a.Officers, a.Sets, a.Need, a.Short, a.Clause)
		}
		rows = append(rows, row)
	}
	return append(rows, []any{}, []any{fmt.Sprintf("统计期间 %s 至 %s（不含）；会话为期间内开始、非演练；房间、人员和套数为 %s 的情况；标准 %s",
		r.From.Format("2006-01-02"), r.Until.Format("2006-01-02"), r.Made.In(r.From.Location()).Format("2006-01-02 15:04"), r.Profile)})
}

func lackWords(lacks []string) string {
	var list []string
	for _, l := range lacks {
		list = append(list, map[string]string{report.MatterInterview: "询问室", report.MatterHearing: "听证室"}[l])
	}
	return strings.Join(list, "、")
}

func monthHeads(r Report) []any {
	heads := []any{"单位"}
	for _, m := range r.Months {
		heads = append(heads, m+" 会话", m+" 小时")
	}
	return heads
}

func monthRows(r Report) (rows [][]any) {
	for _, b := range append(r.Bodies, r.Total) {
		row := []any{b.Name}
		for _, m := range b.Months {
			row = append(row, m[0], float64(m[1]/360_000)/10)
		}
		rows = append(rows, row)
	}
	return rows
}

func unrecordedRows(r Report, list []fleet.Unrecorded) (rows [][]any) {
	for _, u := range list {
		rows = append(rows, []any{u.T.In(r.From.Location()).Format("2006-01-02 15:04:05"), u.Room, u.Body, u.Case, why(u), u.Who})
	}
	return rows
}

// why is kind and words of not recording.
func why(u fleet.Unrecorded) string {
	return strings.Trim(kindWords[u.Kind]+"："+u.Reason, "：")
}

func itemRows(r Report) (rows [][]any) {
	for _, it := range r.Items {
		basis := "本系统默认"
		if it.Rule {
			basis = "规定"
		}
		rows = append(rows, []any{it.Item, it.Zh, map[string]string{"must": "必须", "should": "建议"}[it.Severity], basis, len(it.Rooms), strings.Join(it.Rooms, "、")})
	}
	return rows
}
