package report

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

func TestCatalogueIsWhole(t *testing.T) {
	code := regexp.MustCompile(`^[a-z]+\.[a-z-]+$`)
	seen := map[string]bool{}
	for _, f := range Catalogue() {
		if !code.MatchString(f.Code) || seen[f.Code] {
			t.Errorf("code %q is malformed or stands twice", f.Code)
		}
		seen[f.Code] = true
		for _, s := range []Text{f.Text, f.Do} {
			if !strings.ContainsFunc(s.Zh, func(r rune) bool { return unicode.Is(unicode.Han, r) }) || s.En == "" {
				t.Errorf("%s: a text is missing: %q", f.Code, s)
			}
			if strings.Contains(s.Zh, "{ch}") != strings.Contains(s.En, "{ch}") {
				t.Errorf("%s: the languages name the channel differently: %q", f.Code, s)
			}
		}
		if got := Find(f.Code); got != f {
			t.Errorf("Find(%q) = %v", f.Code, got)
		}
	}
}

func TestFindExplainsWhatItDoesNotKnow(t *testing.T) {
	f := Find("later.version")
	if !strings.Contains(f.Text.En, "later.version") || f.Do.Zh == "" {
		t.Errorf("Find() = %v", f)
	}
}

func TestTextNamesTheChannel(t *testing.T) {
	got := Find("camera.gone").Text.In("face")
	if !strings.Contains(got.Zh, " face ") || !strings.Contains(got.En, " face ") {
		t.Errorf("In() = %v", got)
	}
}
