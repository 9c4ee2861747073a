package report

import (
	"strings"
	"testing"
)

func TestEnrolCode(t *testing.T) {
	c := NewEnrolCode([10]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 250}, []byte("root"))
	text := c.String()
	if len(text) != 47 || strings.ContainsAny(text, "ILOU") {
		t.Fatalf("code %q", text)
	}
	for rule, typed := range map[string]string{
		"as printed": text, "small": strings.ToLower(text), "without hyphens": strings.ReplaceAll(text, "-", ""), "with spaces": " " + strings.ReplaceAll(text, "-", " - ") + "\n",
		"O for 0, l for 1": strings.NewReplacer("0", "O", "1", "l").Replace(text),
	} {
		got, err := ParseEnrolCode(typed)
		if err != nil || got != c || !got.IsRoot([]byte("root")) || got.IsRoot([]byte("other")) || got.Ref() != c.Ref() {
			t.Errorf("%s: %v, %v", rule, got, err)
		}
	}
	for i := range text {
		for _, r := range alphabet {
			wrong := text[:i] + string(r) + text[i+1:]
			if wrong == text || text[i] == '-' {
				continue
			}
			if _, err := ParseEnrolCode(wrong); err == nil {
				t.Errorf("%q is taken for %q", wrong, text)
			} else if strings.Contains(err.Error(), wrong[:5]) {
				t.Errorf("the error shows the code: %v", err)
			}
		}
	}
	for _, bad := range []string{"", "x", text + "A", strings.Repeat("U", 40), strings.Repeat("1", 1000), text[:40]} {
		if _, err := ParseEnrolCode(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzEnrol(f *testing.F) {
	f.Add([]byte(`{"v":1,"name":"room-3","sign":"AA==","tls":"AA=="}`))
	f.Add([]byte("00000-00000-00000-00000-00000-00000-00000-00000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ParseEnrol(b); err == nil && (!ValidDevice(e.Name) || e.V != 1) {
			t.Errorf("%q read as %+v", b, e)
		}
		_, _ = ParseEnrolled(b)
		if c, err := ParseEnrolCode(string(b)); err == nil {
			if again, err := ParseEnrolCode(c.String()); err != nil || again != c {
				t.Errorf("%q read as %v, and that as %v, %v", b, c, again, err)
			}
		}
	})
}

func TestTrustFilesStayInTheirFolders(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"v":1,"files":{"tsa/root-1.pem":"YQ==","witness/witnesses.vkey":"YQ=="}}`: true,
		`{"v":1,"files":{}}`:                            true,
		`{"v":2,"files":{}}`:                            false,
		`{"v":1,"files":{"ca/evil.pem":"YQ=="}}`:        false,
		`{"v":1,"files":{"tsa/../ca/evil.pem":"YQ=="}}`: false,
		`{"v":1,"files":{"tsa/..pem":"YQ=="}}`:          false,
		`{"v":1,"files":{"devices/evil.pem":"YQ=="}}`:   false,
		`{"v":1,"files":{"witness/key.pem":"YQ=="}}`:    false,
		`{"v":1,"files":{"/etc/passwd":"YQ=="}}`:        false,
		`{"v":1,"files":{"tsa/a.pem":"not base64"}}`:    false,
	} {
		if _, err := ParseTrustFiles([]byte(body)); (err == nil) != ok {
			t.Errorf("%s: %v", body, err)
		}
	}
}
