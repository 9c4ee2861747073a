package evidence

import (
	"go/ast"
	goparser "go/parser"
	gotoken "go/token"
	"maps"
	"path/filepath"
	"regexp"
	"strconv"
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
	for _, c := range within {
		if got := Chinese("room-00001 " + c.part + " and more"); got != c.zh {
			t.Errorf("Chinese(… %q …) = %q, want %q", c.part, got, c.zh)
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

// TestEverythingInChinese: whatever the verifier finds, notes or cannot check, in its own words, has Chinese.
func TestEverythingInChinese(t *testing.T) {
	files, err := filepath.Glob("verify_*.go")
	if err != nil {
		t.Fatal(err)
	}
	arg := map[string]int{"found": 2, "note": 0, "uncheckable": 0, "fork": 0, "Cause": 0, "Notes": 0}
	seen := 0
	for _, file := range append(files, "late.go", "result.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := goparser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		check := func(e ast.Expr) {
			said := phrase(e)
			if strings.Count(said, " ") < 2 {
				return // the words of an error, or of a log
			}
			if seen++; Chinese(said) == "" {
				t.Errorf("%s: no Chinese for %q", file, said)
			}
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if at, ok := arg[name]; ok && at < len(n.Args) {
					check(n.Args[at])
				}
				if s, ok := n.Fun.(*ast.Ident); ok && s.Name == "append" && len(n.Args) == 2 && strings.HasSuffix(selector(n.Args[0]), "Notes") {
					check(n.Args[1])
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Cause" {
					check(n.Value)
				}
			}
			return true
		})
	}
	if seen < 60 {
		t.Errorf("found %d phrases: the test reads too little", seen)
	}
}

func selector(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return s.Sel.Name
	}
	return ""
}

// phrase is what an expression says, with 7 for what it fills in.
func phrase(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return verbs.ReplaceAllString(s, "7")
		}
	case *ast.BinaryExpr:
		return phrase(e.X) + phrase(e.Y)
	case *ast.CallExpr:
		if selector(e.Fun) == "Sprintf" {
			return phrase(e.Args[0])
		}
	}
	return ""
}

var verbs = regexp.MustCompile(`%[sdqvw]`)
