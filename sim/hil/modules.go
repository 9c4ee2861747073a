package hil

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ownModules are kernel modules of ours.
//
//go:embed kmod/*.c
var ownModules embed.FS

// leftOut are the modules that Debian's arm64 kernel leaves out, with their sources in the kernel's tree: of a
// folder only what is named. They are built against its headers when a guest first asks for one of them.
var leftOut = map[string][]string{
	"irq_sim":      {"kernel/irq/irq_sim.c"},
	"gpio-sim":     {"drivers/gpio/gpio-sim.c", "drivers/gpio/*.h"},
	"i2c-hil":      {}, // kmod/i2c-hil.c
	"vicodec":      {"drivers/media/test-drivers/vicodec/*.[ch]"},
	"snd-dummy":    {"sound/drivers/dummy.c"},
	"rtc-test":     {"drivers/rtc/rtc-test.c"},
	"tpm_tis_core": {"drivers/char/tpm/tpm.h", "drivers/char/tpm/tpm_tis_core.[ch]"},
	"tpm_tis":      {"drivers/char/tpm/tpm_tis.c"},
}

// objects says of what a module is made that is not made of one file with its name.
const objects = "snd-dummy-objs := dummy.o\nvicodec-objs := vicodec-core.o codec-fwht.o codec-v4l2-fwht.o\n"

// module returns a module's path below the modules' folder with those it needs before it, first to be
// loaded first; none where the kernel has it built in. A name has - and _ alike. What Debian leaves out is
// built first.
func (k *Kernel) module(name string) ([]string, error) {
	if plain := func(s string) string { return strings.ReplaceAll(s, "-", "_") }; slices.ContainsFunc(slices.Collect(maps.Keys(leftOut)), func(s string) bool { return plain(s) == plain(name) }) {
		if err := k.buildLeftOut(); err != nil {
			return nil, err
		}
	}
	return k.find(name)
}

func (k *Kernel) find(name string) ([]string, error) {
	same := func(p string) bool {
		base, _, _ := strings.Cut(path.Base(p), ".ko")
		return strings.ReplaceAll(base, "-", "_") == strings.ReplaceAll(name, "-", "_")
	}
	deps, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("hil: modules: %w", err)
	}
	for l := range strings.Lines(string(deps)) {
		file, needs, ok := strings.Cut(strings.TrimSpace(l), ":")
		if !ok || !same(file) {
			continue
		}
		order := []string{file}
		for _, n := range strings.Fields(needs) { // the nearest need comes first
			order = append([]string{n}, order...)
		}
		return order, nil
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("hil: modules: %w", err)
	}
	for l := range strings.Lines(string(builtin)) {
		if same(strings.TrimSpace(l)) {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("hil: kernel %s has no module %s", k.Version, name)
}

// read returns a module as the kernel loads it.
func (k *Kernel) read(file string) ([]byte, error) {
	full := filepath.Join(k.modules, file)
	switch filepath.Ext(file) {
	case ".xz":
		out, err := exec.Command("xz", "-dc", full).Output()
		if err != nil {
			return nil, fmt.Errorf("hil: xz %s: %w", file, err)
		}
		return out, nil
	default:
		b, err := os.ReadFile(full)
		if err != nil {
			return nil, fmt.Errorf("hil: module: %w", err)
		}
		return b, nil
	}
}

// depmod makes modules.dep: a package leaves that to the machine it is installed on.
func (k *Kernel) depmod() error {
	if out, err := exec.Command("/sbin/depmod", "-b", filepath.Dir(filepath.Dir(filepath.Dir(k.modules))), k.Version).CombinedOutput(); err != nil {
		return fmt.Errorf("hil: depmod: %w: %s: run tools/install --hil", err, out)
	}
	return nil
}

// buildLeftOut builds the modules that Debian leaves out, unless they are there. It fetches 150 MB the first
// time and takes a minute or two.
func (k *Kernel) buildLeftOut() error {
	unlock, err := lock(k.cache)
	if err != nil {
		return err
	}
	defer unlock()
	sum, err := sourcesSum()
	if err != nil {
		return err
	}
	stamp := filepath.Join(k.modules, "updates", "built-"+sum)
	if _, err := os.Stat(stamp); err == nil {
		return nil
	}
	dir := filepath.Join(k.cache, "build")
	if err := k.fetchSources(dir); err != nil {
		return err
	}
	updates := filepath.Join(k.modules, "updates")
	if err := os.RemoveAll(updates); err != nil {
		return fmt.Errorf("hil: cache: %w", err)
	}
	if err := os.MkdirAll(updates, 0o755); err != nil {
		return fmt.Errorf("hil: cache: %w", err)
	}
	if err := k.compile(dir, updates); err != nil {
		return err
	}
	if err := k.depmod(); err != nil {
		return err
	}
	return os.WriteFile(stamp, nil, 0o644)
}

// sourcesSum tells one set of modules from another.
func sourcesSum() (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		fmt.Fprintln(h, name, leftOut[name])
	}
	names, err := ownModules.ReadDir("kmod")
	if err != nil {
		return "", err
	}
	for _, n := range names {
		b, err := ownModules.ReadFile("kmod/" + n.Name())
		if err != nil {
			return "", err
		}
		h.Write(b)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// fetchSources unpacks the kernel's headers, its build tools and the sources named in leftOut into dir,
// unless that was done.
func (k *Kernel) fetchSources(dir string) error {
	done := filepath.Join(dir, "unpacked-"+k.Version)
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	var debs []string
	var source string
	err := again(func() (err error) {
		debs, source, err = k.fetchPackages()
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return fmt.Errorf("hil: cache: %w", err)
	}
	for _, deb := range debs {
		if out, err := exec.Command("dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
			return fmt.Errorf("hil: unpack %s: %w: %s", deb, err, out)
		}
	}
	// The package holds one archive; of its 80 000 files a few are wanted.
	var wanted []string
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		for _, f := range leftOut[name] {
			wanted = append(wanted, "'*/"+f+"'")
		}
	}
	script := `set -e; dpkg-deb --fsys-tarfile "$1" | tar -x -O --wildcards './usr/src/linux-source-*.tar.xz' | xz -dc | tar -x -C "$2" --strip-components=1 --wildcards ` +
		strings.Join(wanted, " ")
	if out, err := exec.Command("sh", "-c", script, "sh", source, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("hil: unpack %s: %w: %s", source, err, out)
	}
	return os.WriteFile(done, nil, 0o644)
}

// fetchPackages downloads what modules are built from, at exactly the version of the kernel's package.
func (k *Kernel) fetchPackages() (debs []string, source string, err error) {
	p, err := openPackages(k.cache)
	if err != nil {
		return nil, "", err
	}
	image, err := filepath.Glob(filepath.Join(k.cache, "linux-image-*_arm64.deb"))
	if err != nil || len(image) != 1 {
		return nil, "", fmt.Errorf("hil: %d kernel packages in %s, want one: remove the folder to fetch it anew", len(image), k.cache)
	}
	out, err := exec.Command("dpkg-deb", "-f", image[0], "Version").Output()
	if err != nil {
		return nil, "", fmt.Errorf("hil: %s: %w", image[0], err)
	}
	version := strings.TrimSpace(string(out))
	fmt.Fprintf(os.Stderr, "hil: fetching headers and sources of %s %s\n", k.Version, version)
	if _, err := p.run("apt-get", "-qq", "update"); err != nil {
		return nil, "", err
	}
	headers := "linux-headers-" + k.Version
	needs, err := p.field(headers+":arm64="+version, "Depends")
	if err != nil {
		return nil, "", fmt.Errorf("%w: Debian may have gone on to a newer kernel: remove %s to fetch that", err, k.cache)
	}
	want := []string{headers + ":arm64=" + version}
	for _, n := range strings.Split(needs, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(n), " ")
		if strings.HasPrefix(name, "linux-headers-") {
			want = append(want, name+"="+version)
		}
		if strings.HasPrefix(name, "linux-kbuild-") {
			want = append(want, name+":"+hostArch()+"="+version)
		}
	}
	for _, w := range want {
		name, _, _ := strings.Cut(w, "=")
		name, _, _ = strings.Cut(name, ":")
		deb, err := p.download(w, name+"_*.deb")
		if err != nil {
			return nil, "", err
		}
		debs = append(debs, deb)
	}
	series := strings.Join(strings.SplitN(version, ".", 3)[:2], ".")
	source, err = p.download("linux-source-"+series+"="+version, "linux-source-"+series+"_*.deb")
	return debs, source, err
}

// compile builds the modules with the kernel's own makefiles, and puts them into the folder to.
func (k *Kernel) compile(dir, to string) error {
	work := filepath.Join(dir, "modules")
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return fmt.Errorf("hil: cache: %w", err)
	}
	kbuild := objects
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		kbuild += "obj-m += " + name + ".o\n"
		for _, pattern := range leftOut[name] {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return fmt.Errorf("hil: %s: %w", pattern, err)
			}
			for _, f := range files {
				if err := linkOrCopy(f, filepath.Join(work, filepath.Base(f))); err != nil {
					return fmt.Errorf("hil: sources: %w", err)
				}
			}
		}
	}
	own, err := ownModules.ReadDir("kmod")
	if err != nil {
		return err
	}
	for _, f := range own {
		b, err := ownModules.ReadFile("kmod/" + f.Name())
		if err == nil {
			err = os.WriteFile(filepath.Join(work, f.Name()), b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("hil: sources: %w", err)
		}
	}
	if err := asModule(filepath.Join(work, "irq_sim.c")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "Kbuild"), []byte(kbuild), 0o644); err != nil {
		return fmt.Errorf("hil: sources: %w", err)
	}
	headers := filepath.Join(dir, "usr/src/linux-headers-"+k.Version)
	compiler, err := relocate(dir, headers)
	if err != nil {
		return err
	}
	args := []string{"-s", "-C", headers, "M=" + work, "ARCH=arm64", "CONFIG_DEBUG_INFO_BTF_MODULES=", "-j2", "modules"}
	strip := "strip"
	if hostArch() != "arm64" {
		const cross = "aarch64-linux-gnu-"
		args, strip = append(args, "CROSS_COMPILE="+cross), cross+strip
		compiler = cross + compiler
	}
	if _, err := exec.LookPath(compiler); err != nil {
		return fmt.Errorf("hil: %s is missing: run tools/install --hil: %w", compiler, err)
	}
	if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("hil: modules do not build: %w: %s", err, out[max(0, len(out)-4000):])
	}
	for name := range leftOut {
		ko := name + ".ko"
		if out, err := exec.Command(strip, "--strip-debug", "-o", filepath.Join(to, ko), filepath.Join(work, ko)).CombinedOutput(); err != nil {
			return fmt.Errorf("hil: strip %s: %w: %s", ko, err, out)
		}
	}
	return nil
}

// asModule makes a module of irq_sim.c, which never was one: it has no licence, and asks the kernel for a
// symbol that is not exported to modules.
func asModule(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("hil: sources: %w", err)
	}
	b = bytes.ReplaceAll(b, []byte("irq_to_desc(irqnum)"), []byte("irq_data_to_desc(irq_get_irq_data(irqnum))"))
	b = append([]byte("#include <linux/module.h>\n"), append(b, "\nMODULE_LICENSE(\"GPL\");\n"...)...)
	_ = os.Remove(file) // a link to the source
	return os.WriteFile(file, b, 0o644)
}

// relocate makes the headers' makefiles find each other in dir instead of /usr/src, and returns the name of
// the compiler that the kernel was built with, such as gcc-12.
func relocate(dir, headers string) (compiler string, err error) {
	name := filepath.Join(headers, "Makefile")
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("hil: headers: %w", err)
	}
	var out []byte
	for l := range bytes.Lines(b) {
		if at, ok := bytes.CutPrefix(l, []byte("include /usr/src/")); ok {
			l = append([]byte("include "+dir+"/usr/src/"), at...)
		}
		out = append(out, l...)
	}
	if err := os.WriteFile(name, out, 0o644); err != nil {
		return "", fmt.Errorf("hil: headers: %w", err)
	}
	vars := filepath.Join(headers, ".kernelvariables")
	b, err = os.ReadFile(vars)
	if err != nil {
		return "", fmt.Errorf("hil: headers: %w", err)
	}
	out = nil
	for l := range strings.Lines(string(b)) {
		if at := strings.Index(l, "gcc-"); at >= 0 && compiler == "" {
			compiler, _, _ = strings.Cut(strings.TrimSpace(l[at:]), " ")
			l = "CC = $(CROSS_COMPILE)" + compiler + "\n"
		}
		out = append(out, l...)
	}
	if compiler == "" {
		return "", fmt.Errorf("hil: %s names no gcc: %q", vars, b)
	}
	return compiler, os.WriteFile(vars, out, 0o644)
}

// archive writes files as a cpio archive of the "newc" kind, which the kernel unpacks at boot
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func archive(w io.Writer, files []file) error {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for i, f := range append(files, file{name: "TRAILER!!!"}) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i+1, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0)
		b.WriteString(f.name)
		b.WriteByte(0)
		pad()
		b.Write(f.data)
		pad()
	}
	_, err := w.Write(b.Bytes())
	return err
}

// file is one file of an archive.
type file struct {
	name string
	mode uint32 // of st_mode
	data []byte
}
