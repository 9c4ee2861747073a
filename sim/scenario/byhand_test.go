package scenario

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	holds   = regexp.MustCompile(`(?m)(: OK|Verified OK|Verification successful|Verified Successfully|= OK)$`)
	setting = regexp.MustCompile(`(?m)^(at|trust|stamp)=.*\n`)
)

// byHand runs the commands that the documentation prints, on a session that a device recorded and the trust
// folder that its office exported: each ends well, and says as often that something holds as is printed there.
func byHand(t *testing.T, folder, trust string) {
	t.Helper()
	tmp := t.TempDir()
	shell := func(where, script string) string {
		cmd := exec.Command("bash", "-c", "set -e\n"+strings.NewReplacer("/tmp/", tmp+"/", "trust=../../trust", "trust="+trust,
			"SESSION", folder, "DIR/", trust+"/", " sm2.pub", " "+tmp+"/sm2.pub").Replace(script))
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s\n%s", where, err, script, out)
		}
		return string(out)
	}
	_, section, ok := strings.Cut(read(t, "../../docs/evidence-format.md"), "\n## 9 ")
	if !ok {
		t.Fatal("docs/evidence-format.md has no section 9")
	}
	settings, blocks := "", strings.Split(section, "\n```\n")
	for i := 1; i < len(blocks); i += 2 {
		script, printed := transcript(blocks[i])
		out := shell("evidence-format.md", settings+script)
		want, got := len(holds.FindAllString(printed, -1)), len(holds.FindAllString(out, -1))
		if strings.Contains(printed, "amendment-1") {
			want-- // this session has none
		}
		if strings.Contains(printed, ".mp4: OK") { // as many as there are files
			want = len(media(t, folder))
		}
		if got != want {
			t.Errorf("evidence-format.md: %d times something holds, want %d:\n%s\n%s", got, want, script, out)
		}
		settings += strings.Join(setting.FindAllString(script, -1), "")
	}
	if len(blocks) < 20 {
		t.Errorf("evidence-format.md: section 9 has %d blocks: the test reads it wrongly", len(blocks)/2)
	}
	for _, doc := range []struct {
		file, begin string
		holds       int
	}{{"enrolment.md", "Checking by hand\n```sh\n", 4}, {"time.md", "a sealed session by hand", 1}} {
		_, rest, ok := strings.Cut(read(t, "../../docs/"+doc.file), doc.begin)
		if doc.file == "time.md" {
			_, rest, _ = strings.Cut(rest, "\n```\n")
		}
		script, _, whole := strings.Cut(rest, "\n```")
		if !ok || !whole {
			t.Fatalf("docs/%s has no commands behind %q", doc.file, doc.begin)
		}
		out := shell(doc.file, script)
		if got := len(holds.FindAllString(out, -1)); got != doc.holds {
			t.Errorf("%s: %d times something holds, want %d:\n%s\n%s", doc.file, got, doc.holds, script, out)
		}
	}
}

func media(t *testing.T, folder string) []string {
	files, err := filepath.Glob(filepath.Join(folder, "*.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// transcript takes a block apart into the commands, each from "$ " on until bash calls it whole, and the rest.
func transcript(block string) (script, printed string) {
	lines := strings.SplitAfter(block+"\n", "\n")
	for i := 0; i < len(lines); i++ {
		cmd, isCommand := strings.CutPrefix(lines[i], "$ ")
		if !isCommand {
			printed += lines[i]
			continue
		}
		here := strings.Contains(cmd, "<<'END'")
		for i+1 < len(lines) && (here && !strings.HasSuffix(cmd, "\nEND\n") || !here && exec.Command("bash", "-n", "-c", cmd).Run() != nil) {
			i++
			cmd += lines[i]
		}
		script += cmd
	}
	return script, printed
}

// outsider checks, as somebody outside would, a bag of the session and whether a whole session was taken away.
func (a *Agent) outsider(o *Office, id, trust string) {
	t := a.t
	t.Helper()
	dir := t.TempDir()
	run(t, a.lab.Agent, "export", id, "--config", a.Config, "--to", dir)
	bag := filepath.Join(dir, id)
	out, err := exec.Command("sh", filepath.Join(bag, "verify.sh"), trust).CombinedOutput()
	for _, says := range []string{"the time stamp holds", "the manifest's signature holds", "is not revoked", "passed"} {
		if err != nil || !strings.Contains(string(out), says) {
			t.Errorf("verify.sh: %v, does not say %q:\n%s", err, says, out)
		}
	}
	if exit, said := a.lab.Verify(t, "--trust", trust, "--require", "3", bag); exit != 0 || !strings.Contains(said, "pre-roll") {
		t.Errorf("verify of the bag: %d %s", exit, said)
	}
	ledgers := filepath.Join(dir, "ledgers")
	run(t, a.lab.Serve, "ledger", "export", "room-3", "--config", o.Config, "--to", ledgers)
	if exit, said := a.lab.Verify(t, "--trust", trust, "--require", "3", a.disks[0], ledgers); exit != 0 || strings.Count(said, "台账 ledger") != 2 {
		t.Errorf("the disk beside the office's ledger: %d %s", exit, said)
	}
	robbed := filepath.Join(dir, "robbed") // nothing is left of ledger and session
	if err := os.MkdirAll(filepath.Join(robbed, "sessions"), 0o755); err != nil {
		t.Fatal(err)
	}
	if exit, said := a.lab.Verify(t, "--trust", trust, robbed, ledgers); exit != 1 || !strings.Contains(said, id) {
		t.Errorf("a disk without the session: %d %s", exit, said)
	}
}
