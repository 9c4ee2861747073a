package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestBench runs the real thing for a moment: each chosen row is measured and shown.
func TestBench(t *testing.T) {
	var out, progress bytes.Buffer
	if err := run(t.Context(), []string{"-for", "3s", "-times", "1", "-streams", "1", "-rows", "ffmpeg,two-checks", "-dir", t.TempDir()}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	t.Log("\n" + out.String())
	_, table, ok := strings.Cut(out.String(), "\n\n")
	if !ok || !strings.Contains(out.String(), "load average") {
		t.Fatalf("no head above the table:\n%s", out.String())
	}
	for _, title := range []string{"ffmpeg -c copy, fMP4, 1 disk", "agent, 2 disks, picture checks"} {
		var line []string
		for l := range strings.Lines(table) {
			if strings.HasSuffix(l, "  "+title+"\n") {
				line = strings.Fields(l)
			}
		}
		if len(line) < 10 || line[0] != "1" || line[1] == "0.000" || line[2] == "-" || line[4] == "0.0" {
			t.Errorf("%s: no figures in %q of\n%s", title, line, table)
		}
	}
}

func TestFlags(t *testing.T) {
	tests := []struct {
		rule, args string
		ok         bool
	}{
		{"without flags there are defaults", "", true},
		{"the short form", "-short", true},
		{"rows are chosen by name", "-rows one,two -streams 2", true},
		{"a row nobody knows", "-rows three", false},
		{"no cameras", "-streams 0", false},
		{"more cameras than are meant", "-streams 1,17", false},
		{"a window that is too short for a tick of 10 ms to be little", "-for 100ms", false},
		{"not measured at all", "-times 0", false},
	}
	for _, tt := range tests {
		var said bytes.Buffer
		if _, err := parse(strings.Fields(tt.args), &said); (err == nil) != tt.ok {
			t.Errorf("%s: %q: %v", tt.rule, tt.args, err)
		}
	}
}

func TestMedian(t *testing.T) {
	tests := []struct {
		rule string
		cpu  []float64
		want float64
	}{
		{"one value is its own", []float64{3}, 3},
		{"the middle one, whatever the order", []float64{9, 1, 4}, 4},
		{"between the two in the middle", []float64{1, 2, 4, 90}, 3},
		{"nothing measured", nil, 0},
	}
	for _, tt := range tests {
		var r result
		for _, v := range tt.cpu {
			r.took = append(r.took, measurement{cpu: v})
		}
		if got := r.median(cpuOf); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.rule, got, tt.want)
		}
	}
}

func TestStat(t *testing.T) {
	tail := " S 7 8 9 0 -1 4194560 1 2 3 4 250 50 30 10 20 0 1 0 99\n" // utime 250, stime 50, cutime 30, cstime 10 ticks
	want := stat{pid: 42, parent: 7, own: 3 * time.Second, waited: 400 * time.Millisecond}
	tests := []struct {
		rule, line string
		ok         bool
	}{
		{"as the kernel writes it", "42 (ffmpeg)" + tail, true},
		{"a name with spaces and parentheses", "42 (a) S 1 (b))" + tail, true},
		{"no name", "42 ffmpeg" + tail, false},
		{"cut off", "42 (ffmpeg) S 7 8", false},
		{"no number", "x (ffmpeg)" + tail, false},
		{"nothing", "", false},
	}
	for _, tt := range tests {
		got, err := parseStat([]byte(tt.line))
		if (err == nil) != tt.ok || tt.ok && got != want {
			t.Errorf("%s: %+v, %v", tt.rule, got, err)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("42 (ffmpeg) S 7 8 9 0 -1 4194560 1 2 3 4 250 50 30 10 20 0 1 0 99\n"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = parseStat(b) })
}
