package console

import (
	"context"
	"net/http"
	"time"

	"minglu/provisioning/fleet"
	"minglu/provisioning/review"
	"minglu/provisioning/users"
)

// Reviews keeps samples and their scores; *review.Book is one.
type Reviews interface {
	Make(o review.Order) (review.Review, error)
	Score(id string, ref review.Ref, by string, points map[string]int, note string) (review.Review, error)
	Get(id string) (review.Review, error)
	List(n int) ([]review.Review, error)
}

func (c *Console) reviewRoutes() []route {
	reviewers := []string{users.Auditor, users.Supervisor}
	return []route{
		{"GET", "/reviews", false, nil, c.reviews},
		{"POST", "/reviews", false, reviewers, c.reviewDraw},
		{"GET", "/reviews/{id}", false, nil, c.review},
		{"POST", "/reviews/{id}/scores", false, reviewers, c.reviewScore},
	}
}

// reviewRow is a review in a list.
type reviewRow struct {
	ID     string    `json:"id"`
	Made   time.Time `json:"made"`
	By     string    `json:"by"`
	Body   string    `json:"body"`
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Seed   string    `json:"seed"`
	Of     int       `json:"of"`
	N      int       `json:"n"`
	Scored int       `json:"scored"`
	Mean   float64   `json:"mean"` // of the scored ones, of 100
}

func (c *Console) reviews(w http.ResponseWriter, _ *http.Request) error {
	if c.o.Reviews == nil {
		return errAbsent
	}
	list, err := c.o.Reviews.List(100)
	if err != nil {
		return err
	}
	rows := []reviewRow{}
	for i := range list {
		r := &list[i]
		n, mean := r.Scored()
		rows = append(rows, reviewRow{r.ID, r.Made, r.By, c.bodyName(r.Body), r.From, r.Until, r.Seed, r.Of, len(r.Sample), n, mean})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"reviews": rows})
}

// bodyName is what people call a body; "" stays "".
func (c *Console) bodyName(key string) string {
	for _, b := range c.o.Fleet.SessionBodies() {
		if b.Key == key {
			return b.Name
		}
	}
	return key
}

func (c *Console) reviewDraw(w http.ResponseWriter, r *http.Request) error {
	if c.o.Reviews == nil {
		return errAbsent
	}
	var in struct {
		Body, From, Until, Seed string
		N                       int
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	from, err1 := time.ParseInLocation(time.DateOnly, in.From, c.o.Zone)
	until, err2 := time.ParseInLocation(time.DateOnly, in.Until, c.o.Zone)
	if err1 != nil || err2 != nil {
		return errBody
	}
	until = until.AddDate(0, 0, 1)
	keys, err := c.o.Fleet.SessionKeys(r.Context(), in.Body, from, until, review.MaxPopulation+1)
	if err != nil {
		return err
	}
	who, _ := c.who(r, true)
	o := review.Order{By: who.Name, Body: in.Body, From: from, Until: until, N: in.N, Seed: in.Seed, Of: make([]review.Ref, 0, len(keys))}
	for _, k := range keys {
		o.Of = append(o.Of, review.Ref{Device: k[0], Session: k[1]})
	}
	made, err := c.o.Reviews.Make(o)
	if err != nil {
		return err
	}
	c.o.Log.Info("sample drawn", "by", who.Name, "review", made.ID, "seed", made.Seed, "of", made.Of)
	return c.writeReview(r.Context(), w, made)
}

func (c *Console) review(w http.ResponseWriter, r *http.Request) error {
	if c.o.Reviews == nil {
		return errAbsent
	}
	v, err := c.o.Reviews.Get(r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.writeReview(r.Context(), w, v)
}

// writeReview shows a review with what is known of its sessions.
func (c *Console) writeReview(ctx context.Context, w http.ResponseWriter, v review.Review) error {
	facts := map[string]fleet.Session{}
	for _, e := range v.Sample {
		if s, err := c.o.Fleet.Session(ctx, e.Device, e.Session); err == nil {
			facts[e.Device+" "+e.Session] = s
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"review": v, "body": c.bodyName(v.Body), "sessions": facts})
}

func (c *Console) reviewScore(w http.ResponseWriter, r *http.Request) error {
	if c.o.Reviews == nil {
		return errAbsent
	}
	var in struct {
		review.Ref
		Points map[string]int
		Note   string
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	who, _ := c.who(r, true)
	v, err := c.o.Reviews.Score(r.PathValue("id"), in.Ref, who.Name, in.Points, in.Note)
	if err != nil {
		return err
	}
	return c.writeReview(r.Context(), w, v)
}
