package registry

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// Bounds of what is imported.
const (
	MaxFile    = 16 << 20 // bytes of a file
	maxRows    = 250_000  // of a sheet
	maxColumns = 100
	maxCell    = 4000 // characters
)

// grid is one sheet as it came: rows of cells, the first row the heads.
type grid struct {
	name string // as people wrote it; "" for CSV
	rows [][]string
}

var zipMagic = []byte("PK\x03\x04")

// read takes a file apart. Whether it is a workbook or CSV is seen from its bytes, not from its name.
func read(file []byte) ([]grid, error) {
	switch {
	case len(file) == 0:
		return nil, wrong("文件是空的", "the file is empty")
	case len(file) > MaxFile:
		return nil, wrong("文件超过 %d MB，请分成几个文件", "the file has more than %d MB: divide it", MaxFile>>20)
	case bytes.HasPrefix(file, zipMagic):
		return readWorkbook(file)
	case bytes.HasPrefix(file, []byte{0xd0, 0xcf, 0x11, 0xe0}):
		return nil, wrong("这是旧的 .xls 文件或加密的工作簿，请另存为 .xlsx", "this is an old .xls file or an encrypted workbook: save it as .xlsx")
	}
	return readCSV(file)
}

// readCSV reads UTF-8, with or without a byte order mark, and GB 18030, as spreadsheets in China save it.
func readCSV(file []byte) ([]grid, error) {
	file = bytes.TrimPrefix(file, []byte("\ufeff"))
	if !utf8.Valid(file) {
		b, err := simplifiedchinese.GB18030.NewDecoder().Bytes(file)
		if err != nil || bytes.ContainsRune(b, utf8.RuneError) {
			return nil, wrong("不是 UTF-8 或 GB 18030 的文本，请另存为 .xlsx 或 UTF-8 的 CSV", "the text is neither UTF-8 nor GB 18030: save it as .xlsx or as CSV in UTF-8")
		}
		file = b
	}
	r := csv.NewReader(bytes.NewReader(file))
	r.FieldsPerRecord = -1
	head, _, _ := bytes.Cut(file, []byte("\n"))
	for _, comma := range []rune{'\t', ';'} {
		if bytes.ContainsRune(head, comma) && !bytes.ContainsRune(head, ',') {
			r.Comma = comma
		}
	}
	var g grid
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return []grid{g}, nil
		}
		if err != nil {
			var p *csv.ParseError
			if errors.As(err, &p) {
				return nil, wrong("第 %d 行：引号不成对或位置不对", "line %d: a quotation mark that does not belong there", p.Line)
			}
			return nil, fmt.Errorf("registry: csv: %w", err)
		}
		line, _ := r.FieldPos(0)
		for len(g.rows) < line-1 { // rows are numbered as a spreadsheet shows them; it shows empty lines too
			g.rows = append(g.rows, nil)
		}
		for i, c := range cells {
			cells[i] = unguard(c)
		}
		g.rows = append(g.rows, cells)
		if len(g.rows) > maxRows {
			return nil, wrong("超过 %d 行", "more than %d rows", maxRows)
		}
	}
}

// guarded is what a spreadsheet takes for a formula when it opens a CSV file: such a cell is written with
// an apostrophe before it, and read without.
var guarded = regexp.MustCompile(`^'*[=+\-@\t\r]`)

func guardCell(s string) string {
	if guarded.MatchString(s) {
		return "'" + s
	}
	return s
}

func unguard(s string) string {
	if strings.HasPrefix(s, "'") && guarded.MatchString(s) {
		return s[1:]
	}
	return s
}

// blurred is a number of which a spreadsheet has lost digits.
var blurred = regexp.MustCompile(`^\d(\.\d+)?[Ee]\+\d+$`)

// cell is what stands in a cell, cleaned.
func cell(s string) (string, error) {
	s = strings.TrimSpace(strings.ReplaceAll(s, "\u00a0", " "))
	switch {
	case !utf8.ValidString(s):
		return "", wrong("不是有效的文字", "not valid text")
	case utf8.RuneCountInString(s) > maxCell:
		return "", wrong("超过 %d 个字", "more than %d characters", maxCell)
	case blurred.MatchString(s):
		return "", wrong("“%s”：长数字已失真，请把单元格格式设为文本后重新填写", "%q: a long number has lost its digits: format the cell as text and write it again", s)
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			return "", wrong("含有控制字符 %U", "holds the control character %U", r)
		}
	}
	return strings.ReplaceAll(s, "\r\n", "\n"), nil
}
