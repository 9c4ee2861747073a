package hil

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// suite is the tests of one package as they run on a board.
type suite struct {
	pkg   string
	short bool   // part of the short form
	skip  string // tests left out …
	why   string // … and why
}

// suites are the packages whose arithmetic, alignment and files differ between boards: the pure ones and
// all that record. The tests of agent/record take their pictures from ffmpeg, which is not in the guest: on
// boards TestPowerCuts runs it, whole.
var suites = []suite{
	{pkg: "sim/hil/wide", short: true},
	{pkg: "agent/evidence", skip: "OpenSSL|ByHand|Attack|Outside|Flip", why: "openssl and python are not in the guest; a flip of every byte takes an hour of emulation"},
	{pkg: "agent/fmp4", short: true, skip: "TestOthersRead", why: "ffmpeg is not in the guest"},
	{pkg: "agent/room"},
	{pkg: "agent/standard"},
	{pkg: "agent/report"},
	{pkg: "agent/clock"},
	{pkg: "agent/durable", short: true},
	{pkg: "agent/record/recovery", skip: "Model|CutAnywhere|CutBeforeEach|Reordered|EveryByte|Ahead", why: "tens of thousands of recoveries, each with signatures: hours of emulation"},
	{pkg: "agent/ledger"},
	{pkg: "agent/capture", skip: "TestRawSoundIsEncodedOnce", why: "ffmpeg is not in the guest"},
	{pkg: "agent/store", skip: "TestListAmongMany", why: "how fast a list of 100,000 is says nothing in emulation"},
	{pkg: "agent/identity", skip: "OpenSSL|TPM|Office", why: "openssl, swtpm and an office are not in the guest"},
	{pkg: "agent/uplink", skip: "TestMosquitto", why: "mosquitto is not in the guest"},
}

// packageSeconds is how long the tests of a package may take: emulation is slow, signing on 32 bits slowest.
const packageSeconds = 1200

// TestPackages runs the tests of packages on a board of 64 and of 32 bits.
func TestPackages(t *testing.T) {
	all := asked(t) == long
	k := kernel(t)
	for _, arch := range []string{"arm64", "arm"} {
		t.Run(arch, func(t *testing.T) {
			o := Options{Job: Job{Work: tree(t)}, Files: map[string]string{}, Memory: "2G"}
			var out output
			o.Stdout, o.Stderr = &out, &out
			o.Ended = func(r Result) { t.Logf("%s: status %d after %.0f s", r.Name, r.Status, r.Seconds) }
			dir := t.TempDir()
			for _, s := range suites {
				if !all && !s.short {
					continue
				}
				name := strings.ReplaceAll(s.pkg, "/", "-")
				o.Files[name] = filepath.Join(dir, name)
				if err := BuildTest(o.Files[name], arch, "minglu/"+s.pkg); err != nil {
					t.Fatal(err)
				}
				args := []string{fmt.Sprintf("-test.timeout=%ds", packageSeconds), "-test.short"}
				if s.skip != "" {
					args = append(args, "-test.skip="+s.skip)
				}
				o.Job.Run = append(o.Job.Run, Program{Name: s.pkg, File: name, Args: args, Dir: filepath.Join(tree(t), s.pkg), Seconds: packageSeconds})
			}
			began := time.Now()
			g, err := k.Boot(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			results, err := g.Wait()
			if err != nil {
				t.Errorf("%v", err)
			}
			var took []string
			for _, r := range results {
				if r.Status != 0 {
					t.Errorf("%s on %s: status %d %s", r.Name, arch, r.Status, r.Error)
				}
				took = append(took, fmt.Sprintf("%s %.0f s", r.Name, r.Seconds))
			}
			if len(results) != len(o.Job.Run) {
				t.Errorf("%d of %d packages ended", len(results), len(o.Job.Run))
			}
			if t.Failed() {
				t.Logf("…%s", out.tail(20000))
			}
			figure(t, "%s: %d packages in %v: %s", arch, len(results), time.Since(began).Round(time.Second), strings.Join(took, ", "))
		})
	}
}
