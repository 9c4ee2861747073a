package hil

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"minglu/boards"
	"minglu/sim/hil/fdt"
)

var update = flag.Bool("update", false, "write the extracts of boards/testdata anew")

// TestBoards compares the facts of package boards with Debian's device trees themselves, and the extracts
// that `make test` reads with them. A package that Debian has replaced by a newer one is replaced here too:
// the facts must hold there, and the extracts wait for -update.
func TestBoards(t *testing.T) {
	debs := map[string]deviceTrees{}
	for _, b := range boards.All() {
		if b.Generic() {
			continue
		}
		d, ok := debs[b.Kernel.Package]
		if !ok {
			d = fetchDeviceTrees(t, b.Kernel)
			debs[b.Kernel.Package] = d
			t.Logf("device trees: %s", d.deb)
		}
		for _, name := range b.Kernel.DTBs {
			raw := d.read(t, name)
			tree, err := fdt.Parse(raw)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, bad := range b.Check(tree) {
				t.Errorf("%s: %s of %s: %s", b.Name, name, filepath.Base(d.deb), bad)
			}
			if !d.exact {
				t.Logf("%s: Debian offers %s now; its device tree bears the facts out", b.Name, filepath.Base(d.deb))
				continue
			}
			x := boards.NewExtract(b, tree)
			sum := sha256.Sum256(raw)
			x.DTB, x.SHA256 = name, hex.EncodeToString(sum[:])
			kept := filepath.Join("../../boards/testdata", strings.TrimSuffix(path.Base(name), ".dtb")+".txt")
			if *update {
				if err := os.WriteFile(kept, x.Marshal(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, x.Marshal()) {
				t.Errorf("%s is not what %s shows (%v): run this test with -update", kept, name, err)
			}
		}
	}
}

// deviceTrees is a package that holds them.
type deviceTrees struct {
	deb   string
	exact bool // the very version the facts name
}

// read takes one file out of the package.
func (d deviceTrees) read(t *testing.T, name string) []byte {
	t.Helper()
	unpack := exec.Command("dpkg-deb", "--fsys-tarfile", d.deb)
	pick := exec.Command("tar", "-xO", "--wildcards", "*/"+name)
	var out, complaint bytes.Buffer
	r, err := unpack.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	pick.Stdin, pick.Stdout, pick.Stderr = r, &out, &complaint
	if err := unpack.Start(); err != nil {
		t.Fatalf("dpkg-deb: %v", err)
	}
	err = pick.Run()
	if _, e := io.Copy(io.Discard, r); e != nil && err == nil {
		err = e
	}
	if e := unpack.Wait(); err == nil {
		err = e
	}
	if err != nil || out.Len() == 0 {
		t.Fatalf("%s: no %s in it: %v %s", d.deb, name, err, complaint.String())
	}
	return out.Bytes()
}

// fetchDeviceTrees gets the package from Debian with an apt state of its own, unless the cache has it.
func fetchDeviceTrees(t *testing.T, k boards.Kernel) deviceTrees {
	t.Helper()
	cache := filepath.Join(tree(t), "out/cache/dtb")
	want := fmt.Sprintf("%s_%s_arm64.deb", k.Package, strings.ReplaceAll(k.Version, ":", "%3a"))
	if _, err := os.Stat(filepath.Join(cache, want)); err == nil {
		return deviceTrees{filepath.Join(cache, want), true}
	}
	state := filepath.Join(cache, "apt")
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"status":       "",
		"sources.list": "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian " + k.Suite + " main\n",
		"apt.conf": fmt.Sprintf(`Dir::State::lists "%[1]s/lists"; Dir::State::status "%[1]s/status"; Dir::Cache "%[1]s/cache"; Dir::Etc::sourcelist "%[1]s/sources.list"; Dir::Etc::sourceparts "-";
APT::Architecture "arm64"; APT::Architectures { "arm64"; }; APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";
`, state),
	} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	apt := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = cache
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(state, "apt.conf"), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("the device trees of Debian %s could not be fetched; this test needs deb.debian.org, or %s in %s: %s %s: %v\n%s",
				k.Suite, want, cache, name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	apt("apt-get", "-qq", "update")
	name := k.Package
	if list := apt("apt-cache", "madison", name); !strings.Contains(list, k.Version) { // superseded: the newest of its kind
		show := apt("apt-cache", "show", "--no-all-versions", "linux-image-arm64")
		_, after, _ := strings.Cut(show, "\nDepends: ")
		abi, ok := strings.CutPrefix(strings.Fields(after + " ?")[0], "linux-image-")
		if !ok {
			t.Fatalf("linux-image-arm64 of %s names no linux-image: %q", k.Suite, after)
		}
		name = "linux-base-" + abi
	}
	apt("apt-get", "-qq", "download", name)
	got, _ := filepath.Glob(filepath.Join(cache, name+"_*_arm64.deb"))
	slices.Sort(got)
	if len(got) == 0 {
		t.Fatalf("no %s in %s after the download", name, cache)
	}
	deb := got[len(got)-1]
	return deviceTrees{deb, filepath.Base(deb) == want}
}
