// Package review keeps case reviews 案卷评查: a random sample of recorded sessions, a score sheet for each, and
// the result.
//
// It guarantees: a sample is decided by its seed, the sessions it was drawn from and its size alone, so that
// anybody can draw it again ([Draw]) and nobody can choose; the seed and the digest of what it was drawn
// from are kept with it; a score is never overwritten, the last one holds and the others stay; what [Book]
// returned without an error is on the disk.
//
// It does not look at recordings: whoever scores opens them by a granted access.
package review

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Limits.
const (
	MaxSample     = 500
	MaxPopulation = 200_000
	maxReviews    = 5000
	maxScores     = 50 // of one session
	maxNote       = 2000
	maxSeed       = 64
)

// Item is one line of the score sheet.
type Item struct {
	ID   string `json:"id"`
	Max  int    `json:"max"` // points
	Zh   string `json:"zh"`
	En   string `json:"en"`
	Hint string `json:"hint,omitempty"` // what to look at
}

// Items is the score sheet: 100 points in all. A review keeps the one it began with.
func Items() []Item {
	return []Item{
		{"whole", 20, "全程不间断：起止时点符合事项清单，中断有理由", "Whole: from and to the moments of the list, breaks with reasons", "时间条、中断原因"},
		{"notice", 10, "开始时告知正在录音录像", "Notice of the recording at its beginning", "开始后 2 分钟内"},
		{"identity", 10, "执法人员不少于两人，表明身份并出示证件", "At least two officers, who say who they are and show credentials", "开头"},
		{"rights", 15, "告知权利义务，询问是否申请回避", "Rights and duties told, withdrawal asked", "开头"},
		{"course", 15, "询问或听证程序完整，标记齐全", "Interview or hearing complete in its course, marks set", "标记、议程"},
		{"clear", 15, "画面和声音清晰，人员正面和全景齐全", "Picture and sound clear, front and whole room there", "各通道"},
		{"record", 10, "笔录与录音录像一致，签字过程已录", "Written record agrees with the recording, signing is in it", "附件、结尾"},
		{"filed", 5, "案号、事项、人员完整，及时归档", "Case, matter and officers complete, archived in time", "会话单"},
	}
}

// Ref names a session.
type Ref struct {
	Device  string `json:"device"`
	Session string `json:"session"`
}

// Score is what one person found. Points by item; an item left out does not apply.
type Score struct {
	By     string         `json:"by"`
	At     time.Time      `json:"at"`
	Points map[string]int `json:"points"`
	Note   string         `json:"note,omitempty"`
	Total  int            `json:"total"` // of 100, over the items that apply
}

// Entry is one session of a sample with its scores, the last of which holds.
type Entry struct {
	Ref
	Scores []Score `json:"scores"`
}

// Review is one sample.
type Review struct {
	ID     string    `json:"id"`
	Made   time.Time `json:"made"`
	By     string    `json:"by"`
	Body   string    `json:"body"` // key, "" for all
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Seed   string    `json:"seed"`
	Of     int       `json:"of"`     // sessions it was drawn from
	Digest string    `json:"digest"` // SHA-256 of their list, see [Digest]
	Items  []Item    `json:"items"`
	Sample []Entry   `json:"sample"` // in the order in which they were drawn
}

// Scored counts the entries that have a score, and their mean.
func (r *Review) Scored() (n int, mean float64) {
	for _, e := range r.Sample {
		if len(e.Scores) > 0 {
			n++
			mean += float64(e.Scores[len(e.Scores)-1].Total)
		}
	}
	return n, mean / float64(max(n, 1))
}

// Draw gives the n sessions of a list that a seed chooses: those with the smallest SHA-256 of
// "seed LF device LF session", in that order. The order of the list does not matter.
func Draw(of []Ref, n int, seed string) []Ref {
	type drawn struct {
		Ref
		at [sha256.Size]byte
	}
	all := make([]drawn, 0, len(of))
	for _, r := range of {
		all = append(all, drawn{r, sha256.Sum256([]byte(seed + "\n" + r.Device + "\n" + r.Session))})
	}
	slices.SortFunc(all, func(a, b drawn) int { return slices.Compare(a.at[:], b.at[:]) })
	out := []Ref{}
	for _, d := range all[:min(n, len(all))] {
		out = append(out, d.Ref)
	}
	return out
}

// Digest is the SHA-256, in hex, of lines "device SP session LF", sorted.
func Digest(of []Ref) string {
	lines := make([]string, 0, len(of))
	for _, r := range of {
		lines = append(lines, r.Device+" "+r.Session+"\n")
	}
	slices.Sort(lines)
	d := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(d[:])
}

// Refused is what cannot be done, and what to do instead.
type Refused struct{ report.Text }

func (r *Refused) Error() string { return r.Zh + " / " + r.En }

func refuse(zh, en string) error { return &Refused{report.Text{Zh: zh, En: en}} }

// ErrNotFound: there is no such review, or no such session in it.
var ErrNotFound = errors.New("review: not found")

// Book keeps reviews, one file each. Safe for concurrent use.
type Book struct {
	dir   string
	now   func() time.Time
	files durable.Files

	mu sync.Mutex // one change at a time
}

// Open makes the folder if it is missing.
func Open(dir string, now func() time.Time) (*Book, error) {
	b := &Book{dir: dir, now: now, files: durable.Files{Layer: durable.OS{}, Tmp: dir, Perm: 0o600}}
	if err := b.files.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("review: %w", err)
	}
	return b, nil
}

// Order says what to draw.
type Order struct {
	By          string
	Body        string
	From, Until time.Time
	Of          []Ref
	N           int
	Seed        string // "": one is drawn
}

// Make draws a sample and keeps it.
func (b *Book) Make(o Order) (Review, error) {
	switch {
	case o.N < 1 || o.N > MaxSample:
		return Review{}, refuse(fmt.Sprintf("抽取数应为 1 至 %d", MaxSample), fmt.Sprintf("draw 1 to %d sessions", MaxSample))
	case len(o.Of) == 0:
		return Review{}, refuse("此期间没有可抽取的会话", "there is no session to draw from in that time")
	case len(o.Of) > MaxPopulation:
		return Review{}, refuse("会话过多，请缩短期间或选定单位", "too many sessions: choose a shorter time or one body")
	case utf8.RuneCountInString(o.Seed) > maxSeed || strings.ContainsFunc(o.Seed, func(r rune) bool { return r < ' ' }):
		return Review{}, refuse("种子最多 64 个字", "a seed has at most 64 characters")
	}
	if o.Seed == "" {
		raw := make([]byte, 8)
		rand.Read(raw) // never fails since Go 1.24
		o.Seed = hex.EncodeToString(raw)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ids, err := b.ids()
	if err != nil {
		return Review{}, err
	}
	if len(ids) >= maxReviews {
		return Review{}, refuse("评查记录已满，请备份后移走旧的", "there are too many reviews: move old ones away after a backup")
	}
	now := b.now()
	r := Review{Made: now.UTC(), By: o.By, Body: o.Body, From: o.From, Until: o.Until, Seed: o.Seed, Of: len(o.Of), Digest: Digest(o.Of), Items: Items()}
	for _, ref := range Draw(o.Of, o.N, o.Seed) {
		r.Sample = append(r.Sample, Entry{Ref: ref, Scores: []Score{}})
	}
	for n := 1; ; n++ {
		if r.ID = fmt.Sprintf("%s-%d", now.Format("20060102"), n); !slices.Contains(ids, r.ID) {
			break
		}
	}
	return r, b.save(r)
}

// Score adds a score to a session of a review.
func (b *Book) Score(id string, ref Ref, by string, points map[string]int, note string) (Review, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, err := b.Get(id)
	if err != nil {
		return r, err
	}
	i := slices.IndexFunc(r.Sample, func(e Entry) bool { return e.Ref == ref })
	if i < 0 {
		return r, ErrNotFound
	}
	if len(r.Sample[i].Scores) >= maxScores {
		return r, refuse("此会话评分次数过多", "this session was scored too often")
	}
	s := Score{By: by, At: b.now().UTC(), Points: map[string]int{}, Note: note}
	if utf8.RuneCountInString(note) > maxNote {
		return r, refuse("意见最多 2000 字", "a note has at most 2000 characters")
	}
	got, of := 0, 0
	for _, it := range r.Items {
		p, ok := points[it.ID]
		if !ok {
			continue
		}
		if p < 0 || p > it.Max {
			return r, refuse(fmt.Sprintf("“%s”应为 0 至 %d 分", it.Zh, it.Max), fmt.Sprintf("%q: 0 to %d points", it.En, it.Max))
		}
		s.Points[it.ID] = p
		got, of = got+p, of+it.Max
	}
	if len(s.Points) == 0 || len(s.Points) != len(points) {
		return r, refuse("请按评分表逐项评分", "score the items of the sheet")
	}
	s.Total = (got*100 + of/2) / of
	r.Sample[i].Scores = append(r.Sample[i].Scores, s)
	return r, b.save(r)
}

func (b *Book) save(r Review) error {
	raw, err := json.Marshal(r)
	if err == nil {
		err = b.files.Replace(b.path(r.ID), raw)
	}
	if err != nil {
		return fmt.Errorf("review: %w", err)
	}
	return nil
}

func (b *Book) path(id string) string { return filepath.Join(b.dir, id+".json") }

var reviewID = regexp.MustCompile(`^\d{8}-\d{1,6}$`)

const maxFile = 8 << 20

// Get gives one review. ErrNotFound if there is none.
func (b *Book) Get(id string) (r Review, err error) {
	if !reviewID.MatchString(id) {
		return r, ErrNotFound
	}
	f, err := os.Open(b.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return r, ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("review: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&r); err != nil {
		return r, fmt.Errorf("review: %s: %w: put the file of a backup in its place", b.path(id), err)
	}
	return r, nil
}

func (b *Book) ids() ([]string, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, fmt.Errorf("review: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && reviewID.MatchString(id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		dayA, nA, _ := strings.Cut(a, "-")
		dayB, nB, _ := strings.Cut(b, "-")
		return cmp.Or(strings.Compare(dayB, dayA), cmp.Compare(len(nB), len(nA)), strings.Compare(nB, nA))
	})
	return ids, nil
}

// List gives the newest reviews, at most n.
func (b *Book) List(n int) ([]Review, error) {
	ids, err := b.ids()
	if err != nil {
		return nil, err
	}
	list := []Review{}
	for _, id := range ids[:min(n, len(ids))] {
		r, err := b.Get(id)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}
