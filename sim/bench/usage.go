package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every Linux we build for (proc(5)).
const tick = 10 * time.Millisecond

// usage is what processes have used since their start.
type usage struct {
	cpu      time.Duration
	children time.Duration // of those that ended and those that run
	written  int64         // wchar
	block    int64         // write_bytes
	readBack int64         // read_bytes
	peak     int64         // VmHWM, bytes
	childRSS int64         // of children that run, at this moment
}

// read asks /proc about processes and adds them up.
func read(procs []*process) (u usage, err error) {
	stats := map[int]stat{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if s, err := readStat(dir); err == nil { // others come and go
			stats[s.pid] = s
		}
	}
	for _, p := range procs {
		s, ok := stats[p.pid()]
		if !ok {
			return u, fmt.Errorf("%s has ended\n%s", filepath.Base(p.cmd.Path), p.said())
		}
		u.cpu += s.own
		u.children += s.waited
		for _, c := range stats {
			if c.parent == s.pid {
				u.children += c.own + c.waited
				rss, _ := field(fmt.Sprintf("/proc/%d/status", c.pid), "VmRSS:")
				u.childRSS += rss << 10
			}
		}
		dir := fmt.Sprintf("/proc/%d/", s.pid)
		wchar, err := field(dir+"io", "wchar:")
		if err != nil {
			return u, err
		}
		block, err := field(dir+"io", "write_bytes:")
		if err != nil {
			return u, err
		}
		back, err := field(dir+"io", "read_bytes:")
		if err != nil {
			return u, err
		}
		kib, err := field(dir+"status", "VmHWM:")
		if err != nil {
			return u, err
		}
		u.written, u.block, u.readBack, u.peak = u.written+wchar, u.block+block, u.readBack+back, u.peak+kib<<10
	}
	return u, nil
}

// stat is what is needed of /proc/PID/stat.
type stat struct {
	pid, parent int
	own, waited time.Duration
}

func readStat(dir string) (s stat, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return s, err
	}
	return parseStat(b)
}

// parseStat reads one line of proc_pid_stat(5). The name of the program, in parentheses, may hold anything.
func parseStat(b []byte) (s stat, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("stat: no name in %q", b)
	}
	rest := strings.Fields(string(b[end+1:])) // from field 3, the state, on
	if len(rest) < 15 {
		return s, fmt.Errorf("stat: %d fields", len(rest))
	}
	var n [6]int64
	for i, v := range []string{strings.TrimSpace(string(b[:open])), rest[1], rest[11], rest[12], rest[13], rest[14]} {
		if n[i], err = strconv.ParseInt(v, 10, 64); err != nil {
			return s, fmt.Errorf("stat: %w", err)
		}
	}
	return stat{pid: int(n[0]), parent: int(n[1]), own: time.Duration(n[2]+n[3]) * tick, waited: time.Duration(n[4]+n[5]) * tick}, nil
}

// field is the number behind a name in a file of /proc.
func field(file, name string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", file, name)
}

// loadAverage is that of the last minute, -1 if unknown.
func loadAverage() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return v
}
