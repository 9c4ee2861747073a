package minglu_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// exposed is how much a unit may leave open by systemd's own count, 0 nothing to 10 everything.
var exposed = map[string]float64{
	"agent/package/minglu-agent.service":               2.0, // cameras, lines and buses are devices
	"provisioning/package/minglu-provisioning.service": 1.6,
}

// TestUnits lets systemd read the units of the packages, and count what they leave open to the programs.
func TestUnits(t *testing.T) {
	for unit, most := range exposed {
		t.Run(filepath.Base(unit), func(t *testing.T) {
			// systemd-analyze wants the program to be there: a copy of the unit names one that is.
			b, err := os.ReadFile(unit)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			program := regexp.MustCompile(`ExecStart=(\S+)`).FindStringSubmatch(text)[1]
			if want := "/usr/bin/" + strings.TrimSuffix(filepath.Base(unit), ".service"); program != want {
				t.Errorf("the unit starts %s, and the package installs %s", program, want)
			}
			here := filepath.Join(t.TempDir(), filepath.Base(unit))
			if err := os.WriteFile(here, []byte(strings.Replace(text, program, "/bin/true", 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("systemd-analyze", "verify", "--man=no", here).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s(systemd is missing? run make tools)", err, out)
			}
			out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", here).CombinedOutput()
			m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
			if err != nil || m == nil {
				t.Fatalf("systemd-analyze security: %v\n%s", err, out)
			}
			if got, _ := strconv.ParseFloat(string(m[1]), 64); got > most {
				t.Errorf("exposure level %v, want at most %v\n%s", got, most, out)
			}
		})
	}
}

// TestPackageScripts lets the shell read the scripts of the packages.
func TestPackageScripts(t *testing.T) {
	scripts, err := filepath.Glob("*/package/p*")
	if err != nil || len(scripts) != 6 {
		t.Fatalf("scripts %v, %v; want postinst, prerm and postrm of two packages", scripts, err)
	}
	for _, s := range scripts {
		if out, err := exec.Command("sh", "-n", s).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s, err, out)
		}
	}
}
