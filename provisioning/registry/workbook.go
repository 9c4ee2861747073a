package registry

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/xuri/excelize/v2"
)

// Bounds of a workbook, beside [MaxFile].
const (
	maxUnzip = 256 << 20 // bytes of all its parts
	maxPart  = 128 << 20 // bytes of one part
)

func readWorkbook(file []byte) (grids []grid, err error) {
	f, err := excelize.OpenReader(bytes.NewReader(file), excelize.Options{RawCellValue: true, UnzipSizeLimit: maxUnzip, UnzipXMLSizeLimit: maxPart})
	if err != nil {
		return nil, wrong("不能作为 XLSX 打开：%v", "it cannot be opened as XLSX: %v", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, name := range f.GetSheetList() {
		g := grid{name: strings.TrimSpace(name)}
		rows, err := f.Rows(name)
		if err != nil {
			return nil, wrong("工作表“%s”不能读：%v", "sheet %q cannot be read: %v", name, err)
		}
		for rows.Next() {
			cells, err := rows.Columns(excelize.Options{RawCellValue: true})
			if err != nil {
				return nil, wrong("工作表“%s”第 %d 行不能读：%v", "sheet %q, row %d cannot be read: %v", name, len(g.rows)+1, err)
			}
			g.rows = append(g.rows, cells)
			if len(g.rows) > maxRows {
				return nil, wrong("工作表“%s”超过 %d 行", "sheet %q has more than %d rows", name, maxRows)
			}
		}
		if err := errors.Join(rows.Error(), rows.Close()); err != nil {
			return nil, wrong("工作表“%s”不能读：%v", "sheet %q cannot be read: %v", name, err)
		}
		grids = append(grids, g)
	}
	return grids, nil
}

// Workbook writes all sheets as XLSX; what it writes can be imported again.
func (r *Registry) Workbook() ([]byte, error) { return workbook(r.tables()) }

// Example is a workbook to start from: two rows in each sheet that can be imported as they are.
func Example() ([]byte, error) { return workbook(examples()) }

// notes is the sheet of a workbook that says how the others are filled in; an import passes over it.
const notes = "说明"

func workbook(tables []table) (b []byte, err error) {
	f := excelize.NewFile()
	defer func() { err = errors.Join(err, f.Close()) }()
	plain, err := f.NewStyle(&excelize.Style{NumFmt: 49}) // text: a long number keeps its digits
	if err != nil {
		return nil, fmt.Errorf("registry: workbook: %w", err)
	}
	head, err := f.NewStyle(&excelize.Style{NumFmt: 49, Font: &excelize.Font{Bold: true}, Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"DDE6F0"}}})
	if err != nil {
		return nil, fmt.Errorf("registry: workbook: %w", err)
	}
	for i, t := range tables {
		if i == 0 {
			err = f.SetSheetName("Sheet1", t.zh)
		} else {
			_, err = f.NewSheet(t.zh)
		}
		if err == nil {
			err = fill(f, t, plain, head)
		}
		if err != nil {
			return nil, fmt.Errorf("registry: workbook: %s: %w", t.zh, err)
		}
	}
	if err := explain(f, tables, head); err != nil {
		return nil, fmt.Errorf("registry: workbook: %w", err)
	}
	var out bytes.Buffer
	if err := f.Write(&out); err != nil {
		return nil, fmt.Errorf("registry: workbook: %w", err)
	}
	return out.Bytes(), nil
}

func fill(f *excelize.File, t table, plain, head int) error {
	w, err := f.NewStreamWriter(t.zh)
	if err != nil {
		return err
	}
	if err := errors.Join(w.SetColStyle(1, len(t.heads), plain), w.SetColWidth(1, len(t.heads), 20),
		w.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"})); err != nil {
		return err
	}
	row := make([]any, 0, len(t.heads))
	for _, h := range t.heads {
		row = append(row, excelize.Cell{StyleID: head, Value: h.Zh})
	}
	if err := w.SetRow("A1", row); err != nil {
		return err
	}
	for i, cells := range t.rows {
		row := make([]any, 0, len(cells))
		for _, c := range cells {
			row = append(row, excelize.Cell{StyleID: plain, Value: c})
		}
		if err := w.SetRow(fmt.Sprintf("A%d", i+2), row); err != nil {
			return err
		}
	}
	return w.Flush()
}

func explain(f *excelize.File, tables []table, head int) error {
	if _, err := f.NewSheet(notes); err != nil {
		return err
	}
	rows := [][]any{{"工作表 sheet", "列 column", "column", "必填 needed", "可填内容 what may stand here"}}
	for _, t := range tables {
		for _, h := range t.heads {
			need := ""
			if h.Need {
				need = "是"
			}
			rows = append(rows, []any{t.zh, h.Zh, h.En, need, h.Note})
		}
	}
	rows = append(rows, []any{"各表", deleteZh, deleteEn, "", "可加此列：填“是”则删除该行 · add this column: 是 removes the row"})
	for i := range rows {
		if err := f.SetSheetRow(notes, fmt.Sprintf("A%d", i+1), &rows[i]); err != nil {
			return err
		}
	}
	return errors.Join(f.SetCellStyle(notes, "A1", "E1", head), f.SetColWidth(notes, "A", "E", 22))
}
