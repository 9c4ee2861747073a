package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minglu/agent/evidence"
)

const witnessedSession = "evidence/testdata/golden/sessions/20260301T063000Z-0123abd2"

// TestWordsDoNotReassure: what was altered or cannot be checked is not told to be signed, stamped and witnessed,
// and what of it is intact is not told to be altered.
func TestWordsDoNotReassure(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		file   string
		change func([]byte) []byte
		exit   int
		says   []string
		not    []string
	}{
		{"unchanged", "log.jsonl", func(b []byte) []byte { return b }, 0, []string{"3 并有第三方见证 / and witnessed"}, []string{"pre-roll"}},
		{"media changed", "face-00001.mp4", func(b []byte) []byte { b[len(b)-3] ^= 1; return b }, 1,
			[]string{"整体不可依赖（只看完好部分为 3 级）", "not to be relied on as a whole", "about the intact parts alone"}, []string{"and witnessed"}},
		{"a line in the middle of the log changed", "log.jsonl", func(b []byte) []byte { return changeLine(b, 14) }, 1,
			[]string{"此后没有一处签名成立", "signed lines that the ledger knows still hold here", "its index was not checked"}, []string{"and witnessed", "never closed", "verify both together"}},
		{"the first line of the log changed", "log.jsonl", func(b []byte) []byte { return changeLine(b, 2) }, 2,
			[]string{"无 none：无法核验", "日志中没有一处签名成立：日志在开头附近被改动"}, []string{"nobody vouches"}},
	} {
		dir := filepath.Join(t.TempDir(), filepath.Base(witnessedSession))
		if err := os.CopyFS(dir, os.DirFS(witnessedSession)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, tt.file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, tt.file), tt.change(b), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		exit := runVerify([]string{dir}, "evidence/testdata/golden/trust", 3, evidence.DefaultWindow, false, &out, &errs)
		if exit != tt.exit {
			t.Errorf("%s: exit %d, want %d\n%s%s", tt.rule, exit, tt.exit, out.String(), errs.String())
		}
		for _, s := range tt.says {
			if !strings.Contains(out.String(), s) {
				t.Errorf("%s: does not say %q:\n%s", tt.rule, s, out.String())
			}
		}
		for _, s := range tt.not {
			if strings.Contains(out.String(), s) {
				t.Errorf("%s: says %q:\n%s", tt.rule, s, out.String())
			}
		}
	}
}

// changeLine changes a byte within a line.
func changeLine(log []byte, n int) []byte {
	lines := bytes.SplitAfter(log, []byte("\n"))
	lines[n][len(lines[n])/2] ^= 1
	return bytes.Join(lines, nil)
}

// TestPrerollIsExplained: media from before the trigger are told for what they are.
func TestPrerollIsExplained(t *testing.T) {
	var b bytes.Buffer
	err := writeVerdict(&b, evidence.Result{Sessions: []evidence.SessionResult{{ID: "x", Preroll: 5_134_992}}})
	if err != nil || !strings.Contains(b.String(), "媒体从触发前 5.135s 开始") || !strings.Contains(b.String(), "the media begin 5.135s before the trigger") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestVerifyBag: an exported bag is a place like the session in it.
func TestVerifyBag(t *testing.T) {
	bag := filepath.Join(t.TempDir(), filepath.Base(witnessedSession)) // a bag is called as its session
	if err := os.CopyFS(filepath.Join(bag, "data", filepath.Base(witnessedSession)), os.DirFS(witnessedSession)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bag, "bagit.txt"), []byte("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if exit := runVerify([]string{bag}, "evidence/testdata/golden/trust", 3, evidence.DefaultWindow, false, &out, &errs); exit != 0 {
		t.Errorf("exit %d\n%s%s", exit, out.String(), errs.String())
	}
}
