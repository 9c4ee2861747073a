package registry

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"minglu/agent/report"
)

// column is one column of a sheet: how a row shows it, and how what people write becomes the row's.
type column[T any] struct {
	zh, en string
	need   bool
	get    func(*T, *time.Location) string
	set    func(*T, string, *time.Location) error // s is not empty
	note   string                                 // for the example: what may stand here
	egs    []string                               // of the example's rows
}

// sheet is one kind of rows.
type sheet[T any] struct {
	name, zh, en string
	max          int
	key          func(*T) string
	columns      []column[T]
	// keeps says why a row must not become another, nil if it may. nil: it always may.
	keeps func(s *sheet[T], old, new *T) error
}

// words is a mistake in both languages.
type words struct{ zh, en string }

func (w *words) Error() string { return w.zh + " / " + w.en }

func wrong(zh, en string, args ...any) error {
	return &words{fmt.Sprintf(zh, args...), fmt.Sprintf(en, args...)}
}

// Names of the sheets, as the API and CSV files have them.
const (
	Bodies   = "bodies"
	Rooms    = "rooms"
	Officers = "officers"
	Matters  = "matters"
	Bookings = "bookings"
	Cases    = "cases"
)

const deleteZh, deleteEn = "删除", "Delete"

func text[T any](zh, en string, need bool, max int, at func(*T) *string, note string, egs ...string) column[T] {
	return column[T]{zh: zh, en: en, need: need, note: note, egs: egs,
		get: func(x *T, _ *time.Location) string { return *at(x) },
		set: func(x *T, s string, _ *time.Location) error {
			if n := len([]rune(s)); n > max {
				return wrong("%d 个字，最多 %d 个", "%d characters, at most %d", n, max)
			}
			*at(x) = s
			return nil
		}}
}

func pattern[T any](c column[T], re *regexp.Regexp, zh, en string) column[T] {
	set := c.set
	c.set = func(x *T, s string, z *time.Location) error {
		if !re.MatchString(s) {
			return &words{fmt.Sprintf("“%s”：%s", short(s), zh), fmt.Sprintf("%q: %s", short(s), en)}
		}
		return set(x, s, z)
	}
	return c
}

func numberColumn[T any](zh, en string, max int, at func(*T) *int, egs ...string) column[T] {
	return column[T]{zh: zh, en: en, note: fmt.Sprintf("0–%d", max), egs: egs,
		get: func(x *T, _ *time.Location) string {
			if *at(x) == 0 {
				return ""
			}
			return strconv.Itoa(*at(x))
		},
		set: func(x *T, s string, _ *time.Location) error {
			n, err := strconv.Atoi(strings.TrimSuffix(s, ".0"))
			if err != nil || n < 0 || n > max {
				return wrong("“%s”：应为 0 至 %d 的整数", "%q: want a whole number from 0 to %d", short(s), max)
			}
			*at(x) = n
			return nil
		}}
}

// choice is a column in which one of a few words stands; the first of each is what is written out.
func choice[T any](zh, en string, need bool, at func(*T) *string, of [][]string, egs ...string) column[T] {
	var shown []string
	for _, o := range of {
		shown = append(shown, o[1])
	}
	return column[T]{zh: zh, en: en, need: need, note: strings.Join(shown, " / "), egs: egs,
		get: func(x *T, _ *time.Location) string {
			for _, o := range of {
				if o[0] == *at(x) {
					return o[1]
				}
			}
			return *at(x)
		},
		set: func(x *T, s string, _ *time.Location) error {
			for _, o := range of {
				if slices.ContainsFunc(o, func(w string) bool { return strings.EqualFold(w, s) }) {
					*at(x) = o[0]
					return nil
				}
			}
			return wrong("“%s”：应为 %s 之一", "%q: want one of %s", short(s), strings.Join(shown, "、"))
		}}
}

func yes[T any](zh, en string, at func(*T) *bool, egs ...string) column[T] {
	return column[T]{zh: zh, en: en, note: "是 / 否", egs: egs,
		get: func(x *T, _ *time.Location) string {
			if *at(x) {
				return "是"
			}
			return ""
		},
		set: func(x *T, s string, _ *time.Location) (err error) {
			*at(x), err = truth(s)
			return err
		}}
}

func truth(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "是", "yes", "y", "true", "1", "√", "✓":
		return true, nil
	case "否", "no", "n", "false", "0":
		return false, nil
	}
	return false, wrong("“%s”：应为 是 或 否", "%q: want yes or no", short(s))
}

func day[T any](zh, en string, at func(*T) *string, egs ...string) column[T] {
	return column[T]{zh: zh, en: en, note: "2026-11-23", egs: egs,
		get: func(x *T, _ *time.Location) string { return *at(x) },
		set: func(x *T, s string, _ *time.Location) error {
			t, ok := readTime(s, time.UTC)
			if !ok || t.Year() < 1900 || t.Year() > 9998 {
				return wrong("“%s”：应为日期，如 2026-11-23", "%q: want a day such as 2026-11-23", short(s))
			}
			*at(x) = t.Format(time.DateOnly)
			return nil
		}}
}

func moment[T any](zh, en string, at func(*T) *time.Time, egs ...string) column[T] {
	return column[T]{zh: zh, en: en, need: true, note: "2026-11-24 09:00", egs: egs,
		get: func(x *T, z *time.Location) string { return at(x).In(z).Format("2006-01-02 15:04") },
		set: func(x *T, s string, z *time.Location) error {
			t, ok := readTime(s, z)
			if !ok || t.Year() < 2000 || t.Year() > 9998 {
				return wrong("“%s”：应为日期和时间，如 2026-11-24 09:00", "%q: want a day and time such as 2026-11-24 09:00", short(s))
			}
			*at(x) = t.UTC()
			return nil
		}}
}

// excelDay is a day or moment as a workbook holds it: days since 1899-12-30, after 1954 here.
var excelDay = regexp.MustCompile(`^[2-9]\d{4}(\.\d+)?$`)

func readTime(s string, z *time.Location) (time.Time, bool) {
	if excelDay.MatchString(s) {
		whole, part, _ := strings.Cut(s, ".")
		days, err1 := strconv.Atoi(whole)
		of, err2 := strconv.ParseFloat("0."+part+"0", 64)
		minutes := int(of*24*60 + 0.5)
		return time.Date(1899, 12, 30+days, 0, minutes, 0, 0, z), err1 == nil && err2 == nil
	}
	s = strings.NewReplacer("年", "-", "月", "-", "日", "", "/", "-", ".", "-", "：", ":", "T", " ").Replace(s)
	for _, layout := range []string{"2006-1-2 15:04:05", "2006-1-2 15:04", "2006-1-2", "20060102"} {
		if t, err := time.ParseInLocation(layout, strings.Join(strings.Fields(s), " "), z); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// several is a column with a list in it, as people separate one.
func several[T any](zh, en string, need bool, max, maxEach int, at func(*T) *[]string, note string, egs ...string) column[T] {
	return column[T]{zh: zh, en: en, need: need, note: note, egs: egs,
		get: func(x *T, _ *time.Location) string { return strings.Join(*at(x), "、") },
		set: func(x *T, s string, _ *time.Location) error {
			var list []string
			for _, p := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("、,，;；\n\r\t", r) }) {
				if p = strings.TrimSpace(p); p == "" {
					continue
				}
				if n := len([]rune(p)); n > maxEach {
					return wrong("“%s”：%d 个字，最多 %d 个", "%q: %d characters, at most %d", short(p), n, maxEach)
				}
				if slices.Contains(list, p) {
					return wrong("“%s”出现了两次", "%q stands there twice", short(p))
				}
				list = append(list, p)
			}
			if len(list) > max {
				return wrong("%d 项，最多 %d 项", "%d entries, at most %d", len(list), max)
			}
			*at(x) = list
			return nil
		}}
}

func retention[T any](zh, en string, at func(*T) *report.Retention, egs ...string) column[T] {
	return column[T]{zh: zh, en: en, need: true, note: "同案卷 / 永久 / 6个月", egs: egs,
		get: func(x *T, _ *time.Location) string {
			switch r := *at(x); r.Kind {
			case report.KeepWithCase:
				return "同案卷"
			case report.KeepPermanently:
				return "永久"
			default:
				return strconv.Itoa(r.Months) + "个月"
			}
		},
		set: func(x *T, s string, _ *time.Location) error {
			switch strings.ToLower(s) {
			case "同案卷", "同案卷保存期限", "case":
				*at(x) = report.Retention{Kind: report.KeepWithCase}
				return nil
			case "永久", "permanent":
				*at(x) = report.Retention{Kind: report.KeepPermanently}
				return nil
			}
			for suffix, months := range map[string]int{"个月": 1, "月": 1, " months": 1, "年": 12, " years": 12} {
				if digits, ok := strings.CutSuffix(s, suffix); ok {
					if n, err := strconv.Atoi(strings.TrimSpace(digits)); err == nil && n > 0 && n*months <= 1200 {
						*at(x) = report.Retention{Kind: report.KeepMonths, Months: n * months}
						return nil
					}
				}
			}
			return wrong("“%s”：应为 同案卷、永久，或 6个月、10年", "%q: want 同案卷 (as the case file), 永久 (permanent), or such as 6个月 (months), 10年 (years)", short(s))
		}}
}

func short(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// usccDigits are the digits of a 统一社会信用代码; the last one checks the others (GB 32100-2015, 4.4).
const usccDigits = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// checkUSCC says what is wrong with a code, nil if nothing is.
func checkUSCC(s string) error {
	if len(s) != 18 {
		return wrong("“%s”：应为 18 位", "%q: want 18 digits and letters", short(s))
	}
	sum, weight := 0, 1
	for i := range 18 {
		v := strings.IndexByte(usccDigits, s[i])
		if v < 0 {
			return wrong("“%s”：第 %d 位不能是 %c", "%q: position %d cannot be %c", short(s), i+1, s[i])
		}
		if i == 17 {
			if want := (31 - sum%31) % 31; v != want {
				return wrong("“%s”：校验位不对，请核对", "%q: the check digit does not fit: compare it again", short(s))
			}
			return nil
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return nil
}

func uscc[T any](zh, en string, need bool, at func(*T) *string, note string, egs ...string) column[T] {
	c := text(zh, en, need, 18, at, note, egs...)
	c.set = func(x *T, s string, _ *time.Location) error {
		s = strings.ToUpper(s)
		*at(x) = s
		return checkUSCC(s)
	}
	return c
}
