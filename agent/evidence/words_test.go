package evidence

import (
	"maps"
	"strings"
	"testing"
	"unicode"
)

// TestChinese: each row has its words, and no row stands behind a shorter one that takes its place.
func TestChinese(t *testing.T) {
	for _, c := range chinese {
		if got := Chinese(c.start + " and more"); got != c.zh || !strings.ContainsFunc(got, func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			t.Errorf("Chinese(%q …) = %q, want %q", c.start, got, c.zh)
		}
	}
	r := Result{Notes: []string{"no session found", "x"}, Ledgers: []LedgerResult{{Cause: "bytes behind the last signature that holds"}},
		Sessions: []SessionResult{{Why: "no outside time and no witness bounds it", Spans: []Span{{Cause: "connection lost"}, {Cause: ""}, {Cause: "证人休息"}}}}}
	want := map[string]string{"no session found": "没有找到会话", "bytes behind the last signature that holds": "已结束的日志后面还有内容",
		"no outside time and no witness bounds it": "没有外部时间和见证；持有设备密钥者仍可能重写", "connection lost": "连接中断"}
	if got := r.Chinese(); !maps.Equal(got, want) {
		t.Errorf("Chinese() = %v, want %v", got, want)
	}
}
