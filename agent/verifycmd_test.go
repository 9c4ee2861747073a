package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minglu/agent/evidence"
)

const goldenSession = "evidence/testdata/golden/sessions/20260301T013000Z-0123abcd"

// TestVerifyCommand: what a person types, sees and gets as exit code.
func TestVerifyCommand(t *testing.T) {
	trust := t.TempDir()
	pem, err := os.ReadFile(filepath.Join(goldenSession, "device.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(trust, "room-3.pem"), pem, 0o644); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "x.pem"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), filepath.Base(goldenSession))
	if err := os.CopyFS(link, os.DirFS(goldenSession)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("log.jsonl", filepath.Join(link, "more")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rule     string
		paths    []string
		trust    string
		require  int
		want     int
		out, err string
	}{
		{"honest, trusted", []string{goldenSession}, trust, 1, 0, "完好 intact", ""},
		{"honest, no anchor", []string{goldenSession}, "", 1, 3, "没有给出信任锚", ""},
		{"honest, no grade asked for", []string{goldenSession}, "", 0, 0, "intact, signed and whole", ""},
		{"a folder of sessions", []string{filepath.Dir(goldenSession)}, trust, 1, 3, "断电 / power lost", ""},
		{"a link is not followed", []string{link}, trust, 1, 2, "is a link or a special file", ""},
		{"a file is no session", []string{goldenSession + "/log.jsonl"}, "", 1, 2, "", "name the folder"},
		{"a path that is not there", []string{"nowhere"}, "", 1, 2, "", "路径不存在 / there is no such file"},
		{"a trust folder without a certificate", []string{goldenSession}, t.TempDir(), 1, 3, "信任文件夹中没有证书", ""},
		{"no path", nil, "", 1, 2, "", "no path given"},
		{"a grade that does not exist", []string{goldenSession}, "", 4, 2, "", "want 0 to 3"},
		{"a trust folder that is not there", []string{goldenSession}, "nowhere", 1, 2, "", "--trust nowhere"},
		{"a trust folder with rubbish", []string{goldenSession}, broken, 1, 2, "", "x.pem"},
	} {
		var out, errs bytes.Buffer
		got := runVerify(tt.paths, tt.trust, tt.require, evidence.DefaultWindow, false, &out, &errs)
		if got != tt.want || !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.err) {
			t.Errorf("%s: exit %d, want %d, %q and %q in\n%s%s", tt.rule, got, tt.want, tt.out, tt.err, &out, &errs)
		}
		if tt.err != "" {
			continue
		}
		out.Reset()
		var r struct{ Exit int }
		if code := runVerify(tt.paths, tt.trust, tt.require, evidence.DefaultWindow, true, &out, &errs); json.Unmarshal(out.Bytes(), &r) != nil || r.Exit != code || code != tt.want {
			t.Errorf("%s: --json: exit %d, field %d, want %d", tt.rule, code, r.Exit, tt.want)
		}
	}
}

// TestVerdictCannotBeForged: a line break or escape in a file's words makes no line of the answer.
func TestVerdictCannotBeForged(t *testing.T) {
	var b strings.Builder
	say(&b, "reason %s\n", "x\n结论 verdict: good\x1b[2J\u202e")
	if got := b.String(); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("say wrote %q", got)
	}
}

// TestVerifyUsage: a wrong command line says what is wrong and where to read on.
func TestVerifyUsage(t *testing.T) {
	for _, tt := range []struct {
		rule string
		args []string
		err  string
	}{
		{"no path", []string{"verify"}, "没有给出路径"},
		{"no path, in English too", []string{"verify"}, "no path given"},
		{"a flag that does not exist", []string{"verify", "--trusted", "x", "y"}, "--trusted"},
		{"a grade that is no number", []string{"verify", "--require", "high", goldenSession}, "--require"},
		{"a grade that does not exist", []string{"verify", "--require", "9", goldenSession}, "want 0 to 3"},
		{"a path that is not there", []string{"verify", "nowhere"}, "no such file"},
		{"a window that is no time", []string{"verify", "--window", "much", goldenSession}, "--window"},
		{"a window of nothing", []string{"verify", "--window", "0s", goldenSession}, "want more than 0"},
	} {
		var out, errs bytes.Buffer
		code := command(tt.args, nil, &out, &errs)
		if code != exitUsage || !strings.Contains(errs.String(), tt.err) || !strings.HasSuffix(errs.String(), "minglu-agent verify --help\n") {
			t.Errorf("%s: exit %d, want 2 and %q in %q", tt.rule, code, tt.err, &errs)
		}
	}
	var out, errs bytes.Buffer
	if code := command([]string{"verify", "--require", "0", goldenSession}, nil, &out, &errs); code != 0 {
		t.Errorf("exit %d: %s%s", code, &out, &errs)
	}
	if code := command([]string{"nonsense"}, nil, &out, &errs); code != exitUsage || !strings.HasSuffix(errs.String(), "see: minglu-agent --help\n") {
		t.Errorf("exit %d: %s", code, &errs)
	}
}

// TestVerifyOutside: what outside proofs say is said to the reader, and the window can be set.
func TestVerifyOutside(t *testing.T) {
	const folder, trust = "evidence/testdata/golden/sessions/20260301T063000Z-0123abd2", "evidence/testdata/golden/trust"
	for _, tt := range []struct {
		rule string
		args []string
		code int
		says []string
	}{
		{"grade 3", []string{"--require", "3"}, 0, []string{"写于 2026-03-01 01:25:00 与 2026-03-01 01:31:00 UTC 之间", "written between", "5m10s", "24h0m0s",
			"witness.example/province", "witness.example/office (本单位 the body's own)", "golden tsa", "封存不晚于 sealed no later than 2026-03-01 01:31:00",
			"补正 amendment  1 details 2026-03-01 01:30:30", "某市监案〔2026〕2号", "SM2/SM3", "未经认证的模块 uncertified module", "grade     3"}},
		{"a narrow window", []string{"--require", "3", "--window", "5m"}, 3, []string{"前后两个外部时间相隔超过时限", "more than the window of 5m0s", "grade     1",
			"0:00:00.000 – 0:00:00.400 未被界定 not bounded: 2026-03-01 01:25:00 – 2026-03-01 01:30:10"}},
	} {
		var out, errs bytes.Buffer
		code := command(append([]string{"verify", "--trust", trust, folder}, tt.args...), nil, &out, &errs)
		for _, s := range tt.says {
			if code != tt.code || !strings.Contains(out.String(), s) {
				t.Errorf("%s: exit %d, want %d and %q in\n%s%s", tt.rule, code, tt.code, s, &out, &errs)
			}
		}
	}
}
