package hil

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// driver is a package whose hil tests run against real kernel drivers.
type driver struct {
	pkg   string
	rig   string // what hangs on the board: see rig.go
	run   string // tests to run, "" for all: where one package has tests for several rigs
	short bool   // part of the short form: a few seconds, please
}

// drivers are the packages with files hil_test.go (build tag hil). Adding a driver is adding a row.
var drivers = []driver{
	{pkg: "sim/hil/gpiosim", rig: "lines", short: true},
	{pkg: "sim/hil/i2cchip", rig: "lines", short: true},
	{pkg: "sim/hil/usbsim", rig: "usb"},
	{pkg: "drivers/alsa", rig: "media+usb"},
	{pkg: "drivers/buzzer", rig: "lines"},
	{pkg: "drivers/climate", rig: "lines"},
	{pkg: "drivers/gpioline", rig: "lines", short: true},
	{pkg: "drivers/i2cbus", rig: "lines"},
	{pkg: "drivers/input", rig: "lines", short: true},
	{pkg: "drivers/lamp", rig: "lines", short: true},
	{pkg: "drivers/v4l2", rig: "media", run: "HIL[^U]"},
	{pkg: "drivers/v4l2", rig: "planes", run: "HIL[^U]"},
	{pkg: "drivers/v4l2", rig: "usb", run: "HILUSB"},
	{pkg: "drivers/power", rig: "lines"},
	{pkg: "drivers/rtc", rig: "lines"},
	{pkg: "drivers/scanner", rig: "lines+usb"},
	{pkg: "drivers/tmp117", rig: "lines"},
	{pkg: "drivers/watchdog", rig: "watchdog", short: true},
}

// driverSeconds is how long the hil tests of a package may take.
const driverSeconds = 120

// TestDrivers boots one board for each rig and runs there, on 64 and on 32 bits, the hil tests of the packages
// that want it. HIL_ONLY is a regular expression of package paths.
func TestDrivers(t *testing.T) {
	all := asked(t) > short
	only, err := regexp.Compile(os.Getenv("HIL_ONLY"))
	if err != nil {
		t.Fatalf("HIL_ONLY: %v", err)
	}
	k := kernel(t)
	by := map[string][]driver{}
	for _, d := range drivers {
		if (all || d.short) && only.MatchString(d.pkg) {
			by[d.rig] = append(by[d.rig], d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t.Run(name, func(t *testing.T) { runDrivers(t, k, name, by[name]) })
	}
}

func runDrivers(t *testing.T, k *Kernel, rigName string, packages []driver) {
	rig, err := FindRig(rigName)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Modules: rig.Modules, QEMU: rig.QEMU, Files: map[string]string{}, Job: Job{Work: tree(t)}}
	var out output
	o.Stdout, o.Stderr = &out, &out
	dir := t.TempDir()
	for _, d := range packages {
		for _, arch := range []string{"arm64", "arm"} {
			file := fmt.Sprintf("%d", len(o.Files))
			o.Files[file] = filepath.Join(dir, file)
			if err := BuildTest(o.Files[file], arch, "minglu/"+d.pkg, "hil"); err != nil {
				t.Fatal(err)
			}
			args := []string{"-test.v", "-test.run=" + cmp.Or(d.run, "HIL"), fmt.Sprintf("-test.timeout=%ds", driverSeconds)}
			o.Job.Run = append(o.Job.Run, Program{Name: path.Base(d.pkg) + "-" + arch, File: file, Args: args, Dir: filepath.Join(tree(t), d.pkg), Seconds: driverSeconds, Keep: true})
		}
	}
	began := time.Now()
	g, err := k.Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	results, err := g.Wait()
	if err != nil {
		t.Errorf("%v\n%s", err, out.tail(8000))
	}
	if len(results) != len(o.Job.Run) {
		t.Errorf("%d of %d packages ended", len(results), len(o.Job.Run))
	}
	count := 0
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			cases := verdicts(r.Output)
			for _, c := range cases {
				count++
				t.Run(c.name, func(t *testing.T) {
					t.Log(c.text)
					if !c.passed {
						t.Error("failed in the guest")
					}
				})
			}
			if r.Status != 0 || len(cases) == 0 {
				t.Errorf("status %d %s, %d tests\n%s", r.Status, r.Error, len(cases), r.Output)
			}
		})
	}
	figure(t, "rig %s: %d tests of %d packages on both boards in %v", rigName, count, len(packages), time.Since(began).Round(time.Second))
}

// verdict is how one test in the guest ended.
type verdict struct {
	name   string
	passed bool
	text   string
}

var verdictLine = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(`)

// verdicts reads what go test -v said: the text of a test is what stands before and after its verdict, up to
// the next test.
func verdicts(output string) (all []verdict) {
	var text strings.Builder
	end := func() {
		if len(all) > 0 && all[len(all)-1].text == "" {
			all[len(all)-1].text = text.String()
		}
		text.Reset()
	}
	for l := range strings.Lines(output) {
		if strings.HasPrefix(l, "=== RUN   ") && !strings.Contains(l, "/") {
			end()
		}
		text.WriteString(l)
		if m := verdictLine.FindStringSubmatch(l); m != nil {
			all = append(all, verdict{name: m[2], passed: m[1] == "PASS"})
		}
	}
	end()
	return all
}

// TestVerdicts reads the words of three tests, one of them skipped: that counts as failed, since it proves
// nothing.
func TestVerdicts(t *testing.T) {
	got := verdicts("=== RUN   TestA\n    a_test.go:3: hello\n--- PASS: TestA (0.01s)\n=== RUN   TestB\n=== RUN   TestB/sub\n--- FAIL: TestB (1.00s)\n    --- FAIL: TestB/sub (1.00s)\n        b_test.go:9: no\n=== RUN   TestC\n--- SKIP: TestC (0.00s)\nFAIL\n")
	want := []verdict{
		{"TestA", true, "=== RUN   TestA\n    a_test.go:3: hello\n--- PASS: TestA (0.01s)\n"},
		{"TestB", false, "=== RUN   TestB\n=== RUN   TestB/sub\n--- FAIL: TestB (1.00s)\n    --- FAIL: TestB/sub (1.00s)\n        b_test.go:9: no\n"},
		{"TestC", false, "=== RUN   TestC\n--- SKIP: TestC (0.00s)\nFAIL\n"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
