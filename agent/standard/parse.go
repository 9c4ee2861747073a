package standard

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed default.yaml
var defaultYAML []byte

// Bounds of a profile: it may come from outside.
const (
	maxBytes   = 256 << 10
	maxItems   = 500
	maxWindow  = time.Hour
	maxText    = 300
	maxDepth   = 16
	maxChoices = 50
)

// Default returns the profile the agent ships with.
func Default() *Profile {
	p, err := Parse(defaultYAML)
	if err != nil {
		panic("BUG: standard: default profile: " + err.Error())
	}
	return p
}

// file is a profile as it is written.
type file struct {
	ID      string `yaml:"id"`
	Version string `yaml:"version"`
	Title   Text   `yaml:"title"`
	Items   []struct {
		ID        string   `yaml:"id"`
		Measure   string   `yaml:"measure"`
		Unit      string   `yaml:"unit"`
		Min       *float64 `yaml:"min"`
		Max       *float64 `yaml:"max"`
		OneOf     []string `yaml:"oneOf"`
		Equals    *bool    `yaml:"equals"`
		Window    string   `yaml:"window"`
		Tolerance float64  `yaml:"tolerance"`
		Severity  Severity `yaml:"severity"`
		When      When     `yaml:"when"`
		Manual    bool     `yaml:"manual"`
		Basis     Basis    `yaml:"basis"`
		Zh        string   `yaml:"zh"`
		En        string   `yaml:"en"`
	} `yaml:"items"`
}

var (
	idRule    = regexp.MustCompile(`^[a-z][A-Za-z0-9._-]{0,63}$`)
	idTopRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	kinds     = []string{BasisLaw, BasisNational, BasisJudicial, BasisPolice, BasisCity, BasisCounty, BasisIndustry, BasisVendor, BasisDefault}
)

// Parse reads a profile in YAML and refuses what it does not understand: an unknown or repeated key, an
// item without a title, a limit that cannot be met. The error names every item that is wrong.
func Parse(data []byte) (*Profile, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("standard: profile: %d bytes, at most %d", len(data), maxBytes)
	}
	if nesting(data) > maxDepth {
		return nil, errors.New("standard: profile: nested too deep")
	}
	var f file
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&f); err != nil {
		return nil, fmt.Errorf("standard: profile: %w", err)
	}
	p := &Profile{ID: f.ID, Version: f.Version, Title: f.Title}
	var errs []error
	if !idTopRule.MatchString(p.ID) || !idTopRule.MatchString(p.Version) || !p.Title.whole() {
		errs = append(errs, errors.New("id, version and title {zh, en} are needed"))
	}
	if len(f.Items) == 0 || len(f.Items) > maxItems {
		errs = append(errs, fmt.Errorf("%d items, want 1 to %d", len(f.Items), maxItems))
	}
	seen := map[string]bool{}
	for _, e := range f.Items[:min(len(f.Items), maxItems)] {
		it := Item{ID: e.ID, Measure: e.Measure, Unit: e.Unit, Min: e.Min, Max: e.Max, OneOf: e.OneOf, Equals: e.Equals, Tolerance: e.Tolerance,
			Severity: e.Severity, When: e.When, Manual: e.Manual, Basis: e.Basis, Title: Text{e.Zh, e.En}}
		err := it.setWindow(e.Window)
		if err == nil {
			err = it.check()
		}
		if err == nil && seen[it.ID] {
			err = errors.New("stands twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("item %q: %w", it.ID, err))
		}
		seen[it.ID] = true
		p.Items = append(p.Items, it)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("standard: profile %q: %w", p.ID, err)
	}
	return p, nil
}

// nesting is how deep flow collections and indentation go: the YAML parser recurses.
func nesting(data []byte) int {
	deepest, flow, indent := 0, 0, 0
	start := true
	for _, c := range data {
		switch {
		case c == '\n':
			start, indent = true, 0
		case start && (c == ' ' || c == '-' || c == '?' || c == '\t'):
			indent++
		default:
			start = false
			switch c {
			case '{', '[':
				flow++
			case '}', ']':
				flow = max(flow-1, 0)
			}
		}
		deepest = max(deepest, flow+indent/2)
	}
	return deepest
}

func (t Text) whole() bool {
	return t.Zh != "" && t.En != "" && len(t.Zh) <= maxText && len(t.En) <= maxText
}

func (it *Item) setWindow(s string) error {
	if s == "" {
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxWindow {
		return fmt.Errorf("window %q: want a duration up to %v, such as 30s", s, maxWindow)
	}
	it.Window = d
	return nil
}

// check reports the first thing wrong with an item.
func (it *Item) check() error {
	limits := 0
	for _, has := range []bool{it.Min != nil || it.Max != nil, it.OneOf != nil, it.Equals != nil} {
		if has {
			limits++
		}
	}
	switch {
	case !idRule.MatchString(it.ID) || !idRule.MatchString(it.Measure):
		return fmt.Errorf("id and measure %q: want letters, digits, '.', '_' and '-', at most 64", it.Measure)
	case !it.Title.whole():
		return errors.New("zh and en are needed, at most 300 bytes each")
	case len(it.Unit) > 40 || len(it.Basis.Source) > maxText:
		return errors.New("unit or basis.source is too long")
	case !slices.Contains([]Severity{Must, Should, Info}, it.Severity):
		return fmt.Errorf("severity %q: want must, should or info", it.Severity)
	case !slices.Contains(kinds, it.Basis.Kind) || !slices.Contains([]string{"read", "memory", "none"}, it.Basis.Seen):
		return fmt.Errorf("basis {kind: %q, seen: %q}: want a kind of %v and seen read, memory or none", it.Basis.Kind, it.Basis.Seen, kinds)
	case it.Basis.Rule() && it.Basis.Source == "":
		return errors.New("a rule names its source")
	case it.When.Session != "" && it.When.Session != "recording":
		return fmt.Errorf("when.session %q: want recording", it.When.Session)
	case len(it.When.Class) > 8:
		return errors.New("when.class is too long")
	case limits > 1:
		return errors.New("more than one kind of limit: use min and max, oneOf or equals")
	case limits == 0 && it.Severity != Info:
		return errors.New("no limit: only an item of severity info may have none")
	case !finite(it.Min) || !finite(it.Max) || !finite(&it.Tolerance) || it.Tolerance < 0:
		return errors.New("limits are finite numbers, a tolerance is not negative")
	case it.Min != nil && it.Max != nil && *it.Min > *it.Max:
		return fmt.Errorf("min %v is above max %v", *it.Min, *it.Max)
	case it.OneOf != nil && (len(it.OneOf) == 0 || len(it.OneOf) > maxChoices || slices.Contains(it.OneOf, "")):
		return errors.New("oneOf: want 1 to 50 texts")
	}
	return nil
}

func finite(f *float64) bool { return f == nil || !math.IsNaN(*f) && !math.IsInf(*f, 0) }
