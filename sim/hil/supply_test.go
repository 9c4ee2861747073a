package hil

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// supplySeconds is how long the trial may take on one board.
const supplySeconds = 240

// TestSupply runs whole agents, of 64 and in the long form of 32 bits, in a room in 1970 whose hardware clock has a dead battery, and takes the mains
// away from it: the chips are those of i2cchip behind the kernel's I²C.
func TestSupply(t *testing.T) {
	if asked(t) == short {
		t.Log("a minute of batteries is for the usual form")
		return
	}
	rig, err := FindRig("lines")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var out output
	o := Options{Modules: rig.Modules, QEMU: rig.QEMU, Files: map[string]string{}, Stdout: &out, Stderr: &out,
		Job: Job{Network: true, Mounts: []Mount{{"/dev/vda", "/disk/a"}, {"/dev/vdb", "/state"}}}}
	for _, name := range []string{"a", "state"} {
		image := filepath.Join(dir, name+".img")
		if err := MakeDisk(image, 1024); err != nil {
			t.Fatal(err)
		}
		d, err := ServeDisk(image, filepath.Join(dir, name+".socket"))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		o.Disks = append(o.Disks, d)
	}
	boards := []string{"arm64"}
	if asked(t) == long {
		boards = append(boards, "arm")
	}
	for _, arch := range boards {
		for name, pkg := range map[string]string{"supply": "minglu/sim/hil/supply", "agent": "minglu/agent"} {
			file := name + "-" + arch
			o.Files[file] = filepath.Join(dir, file)
			if err := Build(o.Files[file], arch, pkg); err != nil {
				t.Fatal(err)
			}
		}
		o.Job.Run = append(o.Job.Run, Program{Name: arch, File: "supply-" + arch, Args: []string{Share + "/agent-" + arch, "/state", "/disk/a"}, Seconds: supplySeconds, Keep: true})
	}
	began := time.Now()
	g, err := kernel(t).Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	results, err := g.Wait()
	if err != nil || len(results) != len(o.Job.Run) {
		t.Errorf("%d boards of %d: %v\n%s", len(results), len(o.Job.Run), err, out.tail(8000))
	}
	for _, r := range results {
		if r.Status != 0 || !strings.Contains(r.Output, "verified") {
			t.Errorf("%s: status %d %s\n%s\n%s", r.Name, r.Status, r.Error, r.Output, out.tail(6000))
			continue
		}
		for line := range strings.Lines(r.Output) {
			if strings.HasPrefix(line, "holds:") || strings.HasPrefix(line, "verified:") || strings.HasPrefix(line, "figure:") {
				t.Log(r.Name, strings.TrimSpace(line))
			}
		}
	}
	figure(t, "1970, a dead clock and mains lost: %d boards in %v", len(boards), time.Since(began).Round(time.Second))
}
