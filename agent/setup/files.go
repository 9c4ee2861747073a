package setup

import (
	"fmt"
	"strconv"
	"strings"
)

// quote writes a string as YAML takes it (JSON's form is YAML too).
func quote(s string) string { return strconv.Quote(s) }

// The certificate of the pages and its key, beside agent.yaml.
const (
	PagesCert = "web.crt"
	PagesKey  = "web.key"
)

// Config is agent.yaml, with the state in folder state. It holds the cameras' passwords: 0640, for the
// agent's group alone.
func (a *Answers) Config(state string) []byte {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# 由 minglu-agent init 写成；minglu-agent example 列出全部键 / written by minglu-agent init; minglu-agent example prints every key")
	p("device: {name: %s, room: %s, kind: %s}", quote(a.Name), quote(a.Room), a.Kind)
	body := "name: " + quote(a.Body)
	if a.USCC != "" {
		body += ", uscc: " + quote(a.USCC)
	}
	p("body: {%s}", body)
	p("state: %s", quote(state))
	p("board: %s", a.Board)
	p("channels:")
	for _, s := range a.Sources {
		kind := "camera"
		if s.Microphone {
			kind = "microphone"
		}
		p("  - {id: %s, name: %s, %s: {%s}}", s.ID, quote(s.Name), kind, s.YAML)
	}
	p("storage:")
	p("  disks:")
	for _, d := range a.Disks {
		p("    - %s", quote(d.Dir))
	}
	if a.Speaker != "" {
		p("speaker: {%s}", a.Speaker)
	}
	for _, x := range a.Parts {
		p("%s", x.YAML)
	}
	if len(a.Inputs) > 0 {
		p("inputs: {%s}", strings.Join(a.Inputs, ", "))
	}
	if a.Lamp != "" {
		p("lamp: {gpio: {%s}}", a.Lamp)
	}
	web := "listen: " + quote(a.Listen)
	if !a.Local() {
		web += fmt.Sprintf(", tls: {cert: %s, key: %s}", quote(PagesCert), quote(PagesKey))
	}
	p("web: {%s}", web)
	p("access: {approval: others}")
	return []byte(b.String())
}

// fstabOptions: a disk that is missing or dead must not keep the board from starting, nor wait for it
// longer than 10 s; one barrier for a cycle of signatures is what the recorder was measured with.
const fstabOptions = "nofail,x-systemd.device-timeout=10s,noatime,nodev,nosuid,noexec"

// Fstab adds the disks to the text of /etc/fstab. A line that names the folder or the file system already
// is left alone: whoever wrote it knew why.
func Fstab(old []byte, disks []Disk) []byte {
	text := string(old)
	for _, d := range disks {
		if d.Source == "" {
			continue
		}
		known := false
		for l := range strings.Lines(text) {
			f := strings.Fields(l)
			known = known || len(f) > 1 && !strings.HasPrefix(f[0], "#") && (f[0] == fstabField(d.Source) || f[1] == fstabField(d.Dir))
		}
		if known {
			continue
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += fmt.Sprintf("%s %s %s %s 0 2 # minglu\n", fstabField(d.Source), fstabField(d.Dir), d.Type, fstabOptions)
	}
	return []byte(text)
}

// fstabField writes spaces as fstab(5) wants them.
func fstabField(s string) string {
	return strings.NewReplacer("\\", `\134`, " ", `\040`, "\t", `\011`).Replace(s)
}

// DropIn is a file for minglu-agent.service.d that lets the agent write to disks outside /srv/minglu, nil
// if there are none.
func (a *Answers) DropIn() []byte {
	var b strings.Builder
	for _, d := range a.Disks {
		if !strings.HasPrefix(d.Dir, folderOf) {
			fmt.Fprintf(&b, "ReadWritePaths=-%s\n", d.Dir)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return []byte("[Service]\n" + b.String())
}
