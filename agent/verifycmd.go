package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"minglu/agent/evidence"
)

// runVerify verifies the paths (session folders, disks, ledgers; several belong together), writes the
// answer to stdout and returns the exit code of docs/evidence-format.md section 5. trust is a folder of
// trust anchors, "" for none; require a grade from 0 to 3; window how far apart the outside times before and
// after a moment may lie for grades 2 and 3. Wrong usage and unreadable paths are told on
// stderr, where long work also shows how far it is, and give 2.
func runVerify(paths []string, trust string, require int, window time.Duration, asJSON bool, stdout, stderr io.Writer) int {
	fail := func(format string, args ...any) int {
		fmt.Fprintf(stderr, "verify: "+format+"\n", args...)
		return evidence.ExitUnchecked
	}
	const help = "\n参见 see: minglu-agent verify --help"
	if len(paths) == 0 {
		return fail("没有给出路径：请给出会话文件夹、磁盘或台账文件夹 / no path given: name a session folder, a disk or a ledger folder" + help)
	}
	if require < 0 || require > 3 {
		return fail("--require %d: 应为 0 到 3 / want 0 to 3"+help, require)
	}
	if window <= 0 {
		return fail("--window %s: 应大于 0，例如 24h / want more than 0, for example 24h"+help, window)
	}
	o := evidence.VerifyOptions{Require: require, Window: window, Progress: progressLine(stderr)}
	if trust != "" {
		t, err := evidence.ReadTrust(os.DirFS(trust))
		if err != nil {
			return fail("--trust %s: %v"+help, trust, err)
		}
		o.Trust = t
	}
	var places []evidence.Place
	for _, p := range paths {
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return fail("%s: 路径不存在 / there is no such file or folder"+help, p)
		}
		if err != nil {
			return fail("%v", err)
		}
		if !info.IsDir() {
			return fail("%s: 是文件，请给出文件夹 / is a file: name the folder that holds it"+help, p)
		}
		full, err := filepath.Abs(p)
		if err != nil {
			return fail("%s: %v", p, err)
		}
		places = append(places, evidence.Place{Path: filepath.ToSlash(full), FS: os.DirFS(full)})
	}
	r := evidence.VerifyPlaces(places, o)
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(r); err != nil {
			return fail("%v", err)
		}
		return r.Exit
	}
	if err := writeVerdict(stdout, r); err != nil {
		return fail("%v", err)
	}
	return r.Exit
}

// progressLine shows, at most once a second, how far a long verification is.
func progressLine(w io.Writer) func(evidence.Progress) {
	next := time.Now().Add(time.Second)
	return func(p evidence.Progress) {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			fmt.Fprintf(w, "verify: %s %s: %d of %d MB\n", p.Session, p.File, p.Done>>20, p.Total>>20)
		}
	}
}
