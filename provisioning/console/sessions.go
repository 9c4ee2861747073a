package console

import (
	"net/http"
	"time"

	"minglu/provisioning/annual"
	"minglu/provisioning/fleet"
)

func (c *Console) sessionRoutes() []route {
	return []route{
		{"GET", "/sessions", false, nil, c.sessions},
		{"GET", "/sessions/bodies", false, nil, func(w http.ResponseWriter, _ *http.Request) error {
			return writeJSON(w, http.StatusOK, map[string]any{"bodies": c.o.Fleet.SessionBodies()})
		}},
		{"GET", "/unrecorded", false, nil, c.unrecorded},
		{"GET", "/year", false, nil, c.year},
		{"GET", "/year/export", false, nil, c.yearExport},
	}
}

// days reads from and until, days of the office's zone, the last one included. What is left out is the time
// that def gives.
func (c *Console) days(r *http.Request, defFrom, defUntil time.Time) (from, until time.Time, err error) {
	from, until = defFrom, defUntil
	q := r.URL.Query()
	if s := q.Get("from"); s != "" {
		if from, err = time.ParseInLocation(time.DateOnly, s, c.o.Zone); err != nil {
			return from, until, errQuery
		}
	}
	if s := q.Get("until"); s != "" {
		if until, err = time.ParseInLocation(time.DateOnly, s, c.o.Zone); err != nil {
			return from, until, errQuery
		}
		until = until.AddDate(0, 0, 1)
	}
	if y := from.Year(); !from.IsZero() && (y < 2000 || y > 9998) || !until.IsZero() && !from.IsZero() && !until.After(from) {
		return from, until, errQuery
	}
	return from, until, nil
}

func (c *Console) sessions(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	offset, err := number(r, "offset")
	if err != nil {
		return err
	}
	from, until, err := c.days(r, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	q := r.URL.Query()
	list, fit, err := c.o.Fleet.Sessions(r.Context(), fleet.SessionFilter{Case: q.Get("case"), Officer: q.Get("officer"), Room: q.Get("room"), Body: q.Get("body"), State: q.Get("state"),
		From: from, Until: until, Drills: q.Get("drills") == "true", Limit: int(min(limit, fleet.MaxLimit)), Offset: int(min(offset, fleet.MaxOffset))})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"sessions": list, "fit": min(fit, fleet.MaxFit), "more": fit > fleet.MaxFit})
}

// thisYear is the year now, to its end.
func (c *Console) thisYear() (from, until time.Time) {
	y := c.o.Now().In(c.o.Zone).Year()
	return time.Date(y, 1, 1, 0, 0, 0, 0, c.o.Zone), time.Date(y+1, 1, 1, 0, 0, 0, 0, c.o.Zone)
}

func (c *Console) unrecorded(w http.ResponseWriter, r *http.Request) error {
	from, until, err := c.stretch(r)
	if err != nil {
		return err
	}
	list, err := c.o.Fleet.Unrecorded(r.Context(), fleet.UnrecordedFilter{Body: r.URL.Query().Get("body"), From: from, Until: until, Limit: fleet.MaxLimit})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"unrecorded": list})
}

// stretch is the time a request is about: this year where it does not say.
func (c *Console) stretch(r *http.Request) (from, until time.Time, err error) {
	from, until = c.thisYear()
	return c.days(r, from, until)
}

// maxYears bounds a report.
const maxYears = 20

func (c *Console) report(r *http.Request) (annual.Report, []fleet.Unrecorded, error) {
	var none annual.Report
	if c.o.Lists == nil || c.o.Profile == nil {
		return none, nil, errAbsent
	}
	from, until, err := c.stretch(r)
	if err != nil {
		return none, nil, err
	}
	if until.After(from.AddDate(maxYears, 0, 0)) {
		return none, nil, errQuery
	}
	y, err := c.o.Fleet.Year(r.Context(), from, until)
	if err != nil {
		return none, nil, err
	}
	list, err := c.o.Fleet.Unrecorded(r.Context(), fleet.UnrecordedFilter{From: from, Until: until, Limit: fleet.MaxLimit})
	if err != nil {
		return none, nil, err
	}
	rooms, _, _ := c.o.Fleet.Rooms(fleet.Filter{}, fleet.MaxLimit)
	s := annual.Source{Year: y, Unrecorded: list, Rooms: rooms, Registry: c.o.Lists.Data(), Profile: c.o.Profile, Now: c.o.Now().In(c.o.Zone)}
	if s.Looks, err = c.o.Fleet.Looks(r.Context(), from, until); err != nil {
		return none, nil, err
	}
	return annual.Make(s), list, nil
}

func (c *Console) year(w http.ResponseWriter, r *http.Request) error {
	rep, _, err := c.report(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, rep)
}

func (c *Console) yearExport(w http.ResponseWriter, r *http.Request) error {
	rep, list, err := c.report(r)
	if err != nil {
		return err
	}
	b, err := annual.Workbook(rep, list)
	if err != nil {
		return err
	}
	return attach(w, xlsx, "统计_"+rep.From.Format(time.DateOnly)+"_"+rep.Until.AddDate(0, 0, -1).Format(time.DateOnly)+".xlsx", b)
}
