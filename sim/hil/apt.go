package hil

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// attempts are made to fetch a package.
const attempts = 4

// packages fetches Debian packages with an apt state of its own: this machine's sources and keys, but for
// arm64 too. Nothing is installed.
type packages struct {
	dir  string // where the packages come to lie
	conf string
}

// hostArch is what Debian calls this machine.
func hostArch() string {
	if a := map[string]string{"arm": "armhf", "386": "i386"}[runtime.GOARCH]; a != "" {
		return a
	}
	return runtime.GOARCH
}

func openPackages(dir string) (*packages, error) {
	state := filepath.Join(dir, "apt")
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, d), 0o755); err != nil {
			return nil, fmt.Errorf("hil: cache: %w", err)
		}
	}
	p := &packages{dir: dir, conf: filepath.Join(state, "apt.conf")}
	conf := fmt.Sprintf(`Dir::State::lists "%[1]s/lists"; Dir::State::status "%[1]s/status"; Dir::Cache "%[1]s/cache";
APT::Architecture "%[2]s"; APT::Architectures { "%[2]s"; "arm64"; }; APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";
`, state, hostArch())
	for name, text := range map[string]string{filepath.Join(state, "status"): "", p.conf: conf} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("hil: cache: %w", err)
		}
	}
	return p, nil
}

func (p *packages) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+p.conf, "LC_ALL=C")
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("hil: %s %s: %w: %s (this machine's apt sources must be Debian's and offer arm64; or put the .deb into %s by hand)",
			name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()), p.dir)
	}
	return out.String(), nil
}

// field returns a field of a package's newest version, or of the version named (name=version).
func (p *packages) field(pkg, field string) (string, error) {
	show, err := p.run("apt-cache", "show", "--no-all-versions", pkg)
	if err != nil {
		return "", err
	}
	_, after, ok := strings.Cut("\n"+show, "\n"+field+": ")
	if !ok {
		return "", fmt.Errorf("hil: package %s has no field %s", pkg, field)
	}
	line, _, _ := strings.Cut(after, "\n")
	return line, nil
}

// download fetches a package, unless it is there, and returns its file. The pattern is of the file's name.
func (p *packages) download(pkg, pattern string) (string, error) {
	find := func() ([]string, error) { return filepath.Glob(filepath.Join(p.dir, pattern)) }
	if by, err := find(); err == nil && len(by) == 1 {
		return by[0], nil
	}
	if _, err := p.run("apt-get", "-qq", "download", pkg); err != nil {
		return "", err
	}
	by, err := find()
	if err != nil || len(by) != 1 {
		return "", fmt.Errorf("hil: %d files %s in %s after the download, want one", len(by), pattern, p.dir)
	}
	return by[0], nil
}

// again tries what needs the mirror more than once: it may be renewed just now.
func again(what func() error) error {
	err := what()
	for n := 1; err != nil && n < attempts; n++ {
		fmt.Fprintf(os.Stderr, "%v; once more\n", err)
		time.Sleep(time.Duration(n) * 10 * time.Second)
		err = what()
	}
	return err
}
