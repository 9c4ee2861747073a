package evidence_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestByHand runs the commands of docs/evidence-format.md section 9 and wants the output printed there:
// openssl, sha256sum, ffprobe and a few lines of Python agree with this package.
func TestByHand(t *testing.T) {
	if testing.Short() {
		return // openssl and ffprobe are there where the whole suite runs
	}
	doc := string(must(os.ReadFile("../../docs/evidence-format.md")))
	_, section, ok := strings.Cut(doc, "\n## 9 ")
	if !ok {
		t.Fatal("docs/evidence-format.md has no section 9")
	}
	first, outside, ok := strings.Cut(section, "\n### Outside proofs\n")
	if !ok {
		t.Fatal("section 9 has no part about outside proofs")
	}
	byHand(t, goldenID, first)
	byHand(t, goldenWitnessed, outside)
}

// byHand runs the transcripts of a text in the folder of a golden session.
func byHand(t *testing.T, session, text string) {
	dir := must(filepath.Abs("testdata/golden/sessions/" + session))
	tmp := t.TempDir()
	for i, block := range strings.Split(text, "```\n") {
		if i%2 == 0 {
			continue
		}
		script, want := commands(block)
		cmd := exec.Command("bash", "-c", strings.ReplaceAll(script, "/tmp/", tmp+"/"))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: %v\ngot:\n%s\nwant:\n%s", script, err, out, want)
		}
	}
}

// commands takes a transcript apart: a command begins with "$ " and goes on until bash calls it whole.
func commands(block string) (script, output string) {
	lines := strings.SplitAfter(block, "\n")
	for i := 0; i < len(lines); i++ {
		first, isCommand := strings.CutPrefix(lines[i], "$ ")
		if !isCommand {
			output += lines[i]
			continue
		}
		for cmd := first; ; cmd += lines[i] {
			open := strings.Contains(cmd, "<<'END'") && !strings.HasSuffix(cmd, "\nEND\n")
			if !open && exec.Command("bash", "-n", "-c", cmd).Run() == nil || i+1 >= len(lines) {
				script += cmd
				break
			}
			i++
		}
	}
	return script, output
}
