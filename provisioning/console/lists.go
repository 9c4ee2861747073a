package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"minglu/provisioning/registry"
	"minglu/provisioning/users"
)

// Lists is what the office knows of people and work; *registry.Registry is one.
type Lists interface {
	Data() *registry.Data
	View(sheet, text string, offset, limit int) (registry.View, bool)
	Preview(file []byte) registry.Plan
	Apply(file []byte, token, who, name string) (registry.Plan, error)
	Workbook() ([]byte, error)
	CSV(sheet string) ([]byte, bool, error)
}

// uploadTime is how long a file may take to come in.
const uploadTime = 2 * time.Minute

const listsImport = "/lists/import"

var (
	errRole    = &fault{http.StatusForbidden, "role", "您的角色不能进行此操作。请联系设备管理员。", "Your role may not do this. Ask the equipment manager."}
	errAbsent  = &fault{http.StatusNotFound, "absent", "本管理端没有启用此功能。", "This office does not have that."}
	errPreview = &fault{http.StatusConflict, "changed", "文件或清单在预览之后有变化，未作任何修改。请重新预览。", "The file or the lists changed since the preview; nothing was done. Preview again."}
)

func (c *Console) listRoutes() []route {
	return []route{
		{"GET", "/lists", false, nil, c.listsOverview},
		{"GET", "/lists/view/{sheet}", false, nil, c.listsView},
		{"GET", "/lists/deliveries", false, nil, c.listsDeliveries},
		{"GET", "/lists/export", false, nil, c.listsExport},
		{"POST", listsImport, false, []string{users.Manager}, c.listsImport},
	}
}

func (c *Console) listsOverview(w http.ResponseWriter, _ *http.Request) error {
	if c.o.Lists == nil {
		return errAbsent
	}
	d := c.o.Lists.Data()
	newest := make([]registry.Change, 0, 20)
	for i := len(d.Changes) - 1; i >= 0 && len(newest) < cap(newest); i-- {
		newest = append(newest, d.Changes[i])
	}
	return writeJSON(w, http.StatusOK, map[string]any{"rev": d.Rev, "counts": map[string]int{registry.Bodies: len(d.Bodies), registry.Rooms: len(d.Rooms),
		registry.Officers: len(d.Officers), registry.Matters: len(d.Matters), registry.Bookings: len(d.Bookings), registry.Cases: len(d.Cases)}, "changes": newest})
}

func (c *Console) listsView(w http.ResponseWriter, r *http.Request) error {
	if c.o.Lists == nil {
		return errAbsent
	}
	offset, err := number(r, "offset")
	if err != nil {
		return err
	}
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	v, ok := c.o.Lists.View(r.PathValue("sheet"), r.URL.Query().Get("q"), int(min(offset, 1<<30)), int(min(limit, registry.MaxView)))
	if !ok {
		return errMissing
	}
	return writeJSON(w, http.StatusOK, v)
}

func (c *Console) listsDeliveries(w http.ResponseWriter, _ *http.Request) error {
	if c.o.Deliveries == nil {
		return errAbsent
	}
	return writeJSON(w, http.StatusOK, map[string]any{"deliveries": c.o.Deliveries()})
}

// xlsx is the media type of a workbook (ISO/IEC 29500).
const xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// listsExport gives one sheet as CSV, or all of them as a workbook; what there is, or an example.
func (c *Console) listsExport(w http.ResponseWriter, r *http.Request) error {
	if c.o.Lists == nil {
		return errAbsent
	}
	q := r.URL.Query()
	sheet, of, all, name := q.Get("sheet"), c.o.Lists.CSV, c.o.Lists.Workbook, "清单.xlsx"
	if q.Get("example") == "true" {
		of, all, name = registry.ExampleCSV, registry.Example, "清单示例.xlsx"
	}
	if sheet == "" {
		b, err := all()
		if err != nil {
			return err
		}
		return attach(w, xlsx, name, b)
	}
	b, ok, err := of(sheet)
	if err != nil {
		return err
	}
	if !ok {
		return errMissing
	}
	return attach(w, "text/csv; charset=utf-8", sheet+".csv", b)
}

// attach sends a file that the browser keeps under a name.
func attach(w http.ResponseWriter, kind, name string, b []byte) error {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(name))
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = io.Copy(w, bytes.NewReader(b)) // a client that left needs no answer
	return nil
}

func (c *Console) listsImport(w http.ResponseWriter, r *http.Request) error {
	if c.o.Lists == nil {
		return errAbsent
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/octet-stream" {
		return errBody
	}
	file, err := io.ReadAll(r.Body)
	if err != nil {
		return errBody
	}
	q := r.URL.Query()
	if q.Get("do") != "apply" {
		return writeJSON(w, http.StatusOK, c.o.Lists.Preview(file))
	}
	who, _ := c.who(r, true)
	p, err := c.o.Lists.Apply(file, q.Get("token"), who.Name, q.Get("name"))
	var m *registry.MistakesError
	switch {
	case errors.Is(err, registry.ErrChanged), errors.As(err, &m):
		return errPreview
	case err != nil:
		return err
	}
	c.o.Log.Info("lists imported", "by", who.Name, "file", q.Get("name"))
	return writeJSON(w, http.StatusOK, p)
}
