package hil

import (
	"bytes"
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
// all that record.
var suites = []suite{
	{pkg: "sim/hil/wide", short: true},
	{pkg: "agent/evidence", skip: "OpenSSL|ByHand|Attack", why: "openssl and python are not in the guest; a flip of every byte takes an hour of emulation"},
	{pkg: "agent/fmp4", short: true, skip: "TestOthersRead", why: "ffmpeg is not in the guest"},
	{pkg: "agent/room"},
	{pkg: "agent/standard"},
	{pkg: "agent/report"},
	{pkg: "agent/clock"},
	{pkg: "agent/durable", short: true},
	{pkg: "agent/record"},
	{pkg: "agent/record/recovery"},
	{pkg: "agent/ledger"},
	{pkg: "agent/capture"},
	{pkg: "agent/store"},
	{pkg: "agent/identity"},
	{pkg: "agent/uplink"},
}

// TestPackages runs the tests of packages on a board of 64 and of 32 bits.
func TestPackages(t *testing.T) {
	all := long(t)
	k := kernel(t)
	for _, arch := range []string{"arm64", "arm"} {
		t.Run(arch, func(t *testing.T) {
			o := Options{Job: Job{Work: tree(t)}, Files: map[string]string{}, Memory: "2G"}
			var out bytes.Buffer
			o.Stdout, o.Stderr = &out, &out
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
				args := []string{"-test.timeout=20m", "-test.short"}
				if s.skip != "" {
					args = append(args, "-test.skip="+s.skip)
				}
				o.Job.Run = append(o.Job.Run, Program{Name: s.pkg, File: name, Args: args, Dir: filepath.Join(tree(t), s.pkg), Seconds: 1200})
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
				b := out.String()
				t.Logf("…%s", b[max(0, len(b)-20000):])
			}
			figure(t, "%s: %d packages in %v: %s", arch, len(results), time.Since(began).Round(time.Second), strings.Join(took, ", "))
		})
	}
}
