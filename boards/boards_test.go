package boards

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func extract(t *testing.T, dtb string) *Extract {
	t.Helper()
	name := filepath.Join("testdata", strings.TrimSuffix(path.Base(dtb), ".dtb")+".txt")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v: make it with `go test ./sim/hil -run TestBoards -update`", err)
	}
	x, err := ParseExtract(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(x.Marshal()); got != string(b) {
		t.Errorf("%s is not as Marshal writes it", name)
	}
	return x
}

// TestFacts compares each fact with what Debian's device tree says. `make hil` compares with the .dtb files
// themselves, and these extracts with them.
func TestFacts(t *testing.T) {
	shown := 0
	for _, b := range All() {
		recognised := []string{}
		for _, dtb := range b.Kernel.DTBs {
			x := extract(t, dtb)
			if x.Package != b.Kernel.Package || x.Version != b.Kernel.Version || x.DTB != dtb {
				t.Errorf("%s: the extract is of %s %s %s, the facts of %s %s %s", b.Name, x.Package, x.Version, x.DTB, b.Kernel.Package, b.Kernel.Version, dtb)
			}
			for _, bad := range b.Check(x) {
				t.Errorf("%s: %s: %s", b.Name, dtb, bad)
			}
			got, seen := Detect(x, b.Arch[0])
			if got != b || seen.Model == "" {
				t.Errorf("%s: %s is recognised as %s, model %q", b.Name, dtb, got.Name, seen.Model)
			}
			recognised = append(recognised, seen.Compatible...)
		}
		for _, c := range b.Compatible {
			if !slices.Contains(recognised, c) {
				t.Errorf("%s: no device tree of it is compatible with %q", b.Name, c)
			}
		}
		for _, f := range b.Facts() {
			shown += len(f.Proof)
		}
	}
	t.Logf("%d proofs hold", shown)
	if shown < 165 {
		t.Errorf("only %d proofs: were facts lost?", shown)
	}
}

// TestEveryBoardIsWhole: what issue 7 asks of each board is there.
func TestEveryBoardIsWhole(t *testing.T) {
	want := []string{"generic", "generic-arm64", "generic-arm7", "raspberrypi-3", "raspberrypi-4", "raspberrypi-400", "raspberrypi-5", "rock-3a", "rock-5b"}
	var got []string
	for _, b := range All() {
		got = append(got, b.Name)
		if b.Generic() {
			continue
		}
		if len(b.Header.Pins) != 40 || len(b.Chips) == 0 || len(b.Buses) == 0 || b.Watchdog == nil || b.Crypto == nil || len(b.Storage) == 0 {
			t.Errorf("%s: pins %d, chips %d, buses %d, watchdog %v, crypto %v, storage %d", b.Name, len(b.Header.Pins), len(b.Chips), len(b.Buses), b.Watchdog, b.Crypto, len(b.Storage))
		}
		for i, p := range b.Header.Pins {
			if p.Pin != i+1 {
				t.Errorf("%s: pin %d at place %d", b.Name, p.Pin, i+1)
			}
			if c := b.Chip(p.Chip); c != nil {
				if back := b.PinOf(c.Label, p.Line); back == nil || back.Pin != p.Pin {
					t.Errorf("%s: pin %d: its line %s %d leads to %v", b.Name, p.Pin, c.Label, p.Line, back)
				}
			}
		}
		if !b.Header.Unverified {
			t.Errorf("%s: no device tree shows where the pins are, and they are not marked", b.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("boards %q, want %q", got, want)
	}
}

// TestWrongFactIsFound: each proof is looked at. One value wrong, one mismatch.
func TestWrongFactIsFound(t *testing.T) {
	x := extract(t, "bcm2711-rpi-4-b.dtb")
	for i := range Find("raspberrypi-4").facts {
		b := *Find("raspberrypi-4")
		b.facts = slices.Clone(b.facts)
		f := &b.facts[i]
		for k := range f.Proof {
			f.Proof = slices.Clone(b.facts[i].Proof)
			f.Proof[k].Value += "x"
			if f.Proof[k].Cells != nil {
				f.Proof[k].Cells = []uint32{12345}
			}
			found := slices.ContainsFunc(b.Check(x), func(m Mismatch) bool { return m.Fact == f.Name })
			if !found && f.Proof[k].Property != "" {
				t.Errorf("%s: a wrong %s was not found", f.Name, f.Proof[k])
			}
		}
	}
}

func TestDetect(t *testing.T) {
	tree := func(model, compatible string) Tree {
		return Running{fstest.MapFS{
			"model":      {Data: []byte(model + "\x00")},
			"compatible": {Data: []byte(strings.ReplaceAll(compatible, ",,", "\x00") + "\x00")},
		}}
	}
	for _, tt := range []struct {
		rule, model, compatible, arch, want string
	}{
		{"a Pi 4 of any revision", "Raspberry Pi 4 Model B Rev 1.5", "raspberrypi,4-model-b,,brcm,bcm2711", "arm64", "raspberrypi-4"},
		{"the same in 32 bits", "Raspberry Pi 4 Model B Rev 1.5", "raspberrypi,4-model-b,,brcm,bcm2711", "arm", "raspberrypi-4"},
		{"both Pi 3", "Raspberry Pi 3 Model B Plus Rev 1.3", "raspberrypi,3-model-b-plus,,brcm,bcm2837", "arm64", "raspberrypi-3"},
		{"an old kernel's ROCK 3A", "Radxa ROCK3 Model A", "radxa,rock3a,,rockchip,rk3568", "arm64", "rock-3a"},
		{"another board with the same chip is not that board", "Banana Pi R2 Pro", "rockchip,rk3568-bpi-r2pro,,rockchip,rk3568", "arm64", "generic-arm64"},
		{"QEMU", "linux,dummy-virt", "linux,dummy-virt", "arm64", "generic-arm64"},
		{"arm/7", "linux,dummy-virt", "linux,dummy-virt", "arm", "generic-arm7"},
	} {
		b, seen := Detect(tree(tt.model, tt.compatible), tt.arch)
		if b.Name != tt.want || seen.Model != tt.model || seen.Compatible[0] != strings.Split(tt.compatible, ",,")[0] {
			t.Errorf("%s: Detect() = %s, %+v; want %s", tt.rule, b.Name, seen, tt.want)
		}
	}
	if b, seen := Detect(Running{fstest.MapFS{}}, "amd64"); b.Name != "generic" || seen.Model != "" || seen.Compatible != nil {
		t.Errorf("without a device tree: %s, %+v", b.Name, seen)
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "name: x\ntitle: {zh: x, en: x}\narch: [arm64]\n"
	for rule, file := range map[string]string{
		"an unknown key":              head + "watchdogs: 1\n",
		"a fact on nothing":           head + "watchdog: {identity: x}\n",
		"unverified without a source": head + "watchdog: {identity: x, unverified: true}\n",
		"a proof without value":       head + "watchdog: {proof: [\"/soc status\"]}\n",
		"a proof that is no path":     head + "watchdog: {proof: [\"soc status okay\"]}\n",
		"cells that are no number":    head + "watchdog: {proof: [\"/soc reg <a>\"]}\n",
		"a place that is no number":   head + "watchdog: {proof: [\"/soc reg[a] x\"]}\n",
		"a pin on a line that is not": head + "header: {unverified: true, source: x, pins: [{pin: 1, name: x, chip: no, line: 1}]}\n",
		"a bus on a pin that is not":  head + "buses: [{kind: i2c, name: x, pins: {sda: 3}, unverified: true, source: x}]\n",
		"a board without a name":      "title: {zh: x, en: x}\narch: [arm64]\n",
	} {
		if b, err := Parse([]byte(file)); err == nil {
			t.Errorf("%s: parsed as %+v", rule, b)
		}
	}
}
