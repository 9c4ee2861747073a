package console

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"minglu/provisioning/fleet"
	"minglu/provisioning/users"
)

// registerRoutes are for those who oversee: who looked at what is nobody else's business.
func (c *Console) registerRoutes() []route {
	overseers := []string{users.Auditor, users.Supervisor}
	return []route{
		{"GET", "/register", false, overseers, c.register},
		{"GET", "/register/export", false, overseers, c.registerExport},
	}
}

func (c *Console) looks(r *http.Request, most int) ([]fleet.Look, int64, error) {
	before, err := number(r, "before")
	if err != nil {
		return nil, 0, err
	}
	from, until, err := c.stretch(r)
	if err != nil {
		return nil, 0, err
	}
	q := r.URL.Query()
	return c.o.Fleet.Register(r.Context(), fleet.LookFilter{From: from, Until: until, Body: q.Get("body"), Who: q.Get("who"), Text: q.Get("text"),
		Looks: q.Get("looks") == "true", Before: before, Limit: most})
}

func (c *Console) register(w http.ResponseWriter, r *http.Request) error {
	list, next, err := c.looks(r, fleet.DefaultLimit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"looks": list, "next": next})
}

// maxExport bounds the lines of one file, far more than a county has in a year.
const maxExport = 200_000

// registerExport writes all lines as a table. A cell that a spreadsheet program would take for a formula is
// written with an apostrophe before it.
func (c *Console) registerExport(w http.ResponseWriter, r *http.Request) error {
	var b bytes.Buffer
	b.WriteString("\uFEFF") // by which spreadsheet programs know UTF-8
	t := csv.NewWriter(&b)
	_ = t.Write([]string{"时间", "房间", "设备", "人员", "行为", "会话", "案号", "单位代码", "事由", "依据", "批准人", "为谁复制", "身份", "证件", "介质", "签收人", "理由"})
	for n := 0; n < maxExport; {
		list, next, err := c.looks(r, fleet.MaxLimit)
		if err != nil {
			return err
		}
		for _, l := range list {
			row := []string{l.At.In(c.o.Zone).Format(time.DateTime), l.Room, l.Device, l.Who, l.Action, l.Session, l.Case, l.Body, l.Purpose, l.Rule, l.By, "", "", "", "", "", l.Why}
			if l.For != nil {
				row[11], row[12], row[13] = l.For.Name, l.For.Capacity, l.For.Document
			}
			if l.Receipt != nil {
				row[14], row[15] = l.Receipt.Medium, l.Receipt.Signed
			}
			for i, s := range row {
				if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
					row[i] = "'" + s
				}
			}
			_ = t.Write(row)
		}
		n += len(list)
		if next == 0 {
			break
		}
		q := r.URL.Query()
		q.Set("before", strconv.FormatInt(next, 10))
		r = r.Clone(r.Context())
		r.URL.RawQuery = q.Encode()
	}
	t.Flush()
	return attach(w, "text/csv; charset=utf-8", "调阅登记.csv", b.Bytes())
}
