package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctorOfABrokenConfiguration: doctor stops at no folder and no file that is missing: it tells of them, each
// once, and of the rest.
func TestDoctorOfABrokenConfiguration(t *testing.T) {
	dir := t.TempDir()
	microphoneRoom(t, dir)
	file := filepath.Join(dir, "agent.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), "disks: [disk]", "disks: [none]", 1) + "mqtt: {url: \"mqtts://127.0.0.1:1\", ca: gone.pem}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := command([]string{"doctor", "--json", "--config", file}, nil, &out, &errs)
	var r struct {
		Findings []struct {
			Check, On, Level string
			Text, Do         struct{ Zh, En string }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || code != exitFailed {
		t.Fatalf("exit %d, %v: %s%s", code, err, &out, &errs)
	}
	got := map[string]string{}
	for _, f := range r.Findings {
		name := strings.TrimSpace(f.Check + " " + f.On)
		if got[name] != "" {
			t.Errorf("%s is told twice", name)
		}
		got[name] = f.Level
		if f.Level != "good" && (f.Text.Zh == "" || f.Text.En == "" || f.Do.Zh == "" || f.Do.En == "") {
			t.Errorf("words are missing: %+v", f)
		}
	}
	for name, level := range map[string]string{"disk.present A": "bad", "config mqtt.ca": "bad", "config storage.disks[0]": "", "channel voice": "good", "identity": "note", "identity.enrolled": "note", "office 127.0.0.1:1": "note"} {
		if got[name] != level {
			t.Errorf("%s is %q, want %q in %v", name, got[name], level, got)
		}
	}
	if code := command([]string{"doctor", "--repair", "--config", file}, nil, &out, &errs); code != exitGood {
		t.Errorf("the repair of what is there: exit %d, %s", code, &errs)
	}
	if err := os.WriteFile(file, []byte("channels: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := command([]string{"doctor", "--config", file}, nil, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "channels") {
		t.Errorf("a file that cannot be read: exit %d, %s", code, &errs)
	}
}
