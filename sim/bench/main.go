// Command bench tells what recording costs: it records the same cameras with the agent and, beside
// it, with ffmpeg copying into fragmented MP4, and prints one table.
//
// The cameras are one clip, encoded before anything is measured, sent in real time by ffmpeg through
// sim/rtsprelay. Both are processes of their own and not counted. Each line of the table is a
// process (for ffmpeg one per stream) that is watched over a window after it has settled:
//
//   - CPU is utime+stime of /proc/PID/stat, in steps of 10 ms; that of its children stands beside it.
//   - write() is wchar of /proc/PID/io: what goes through write(2), sockets and pipes included.
//   - block is write_bytes: pages made dirty for a block device, 4 KiB each, counted anew after each sync.
//     What the file system adds of its own (its journal) is not in it. Read back is read_bytes: what
//     did not come from the page cache.
//   - read() is what the agent reads of its own files, from the page cache or the disk: each file once, when
//     it is closed. A file is half a window long, so that this is in it; ffmpeg's files are as long.
//   - All are held against media bytes: the frames the relay passed on in the window, by its frame log.
//   - Peak RSS is VmHWM since the start; the pre-roll and mapped pages of the program are in it.
//   - Allocations, fsyncs and read() come from the agent's /metrics.
//
// The signing cycle is what "minglu-agent doctor" measures these disks to be good for, unless -cycle says
// otherwise; it stands above the table. Every recording of the agent is verified after
// its window; one that is not sound gives no figures. Figures of a machine that does other things are
// no figures: the load average stands above the table. Rows of a repetition take turns, so that a slow
// quarter of an hour is shared by all of them.
//
// Use, in the folder of go.mod: go run ./sim/bench [-for 120s] [-times 3] [-streams 1,4] [-short].
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What a run without flags does, and the short form.
const (
	defaultFor   = 120 * time.Second
	defaultTimes = 3
	shortFor     = 10 * time.Second
	maxStreams   = 16
)

type options struct {
	window  time.Duration
	times   int
	streams []int
	rows    []row
	cycle   string // of storage.cycle; "auto": ask doctor
	agent   string // "": build it
	relay   string
	dir     string // where disks and clip go
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	load := loadAverage() // before our own building and encoding
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "minglu-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, dir: dir, progress: stderr}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	results, err := b.all(ctx)
	if err != nil {
		return err
	}
	head(stdout, b, args, load)
	table(stdout, results)
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&o.window, "for", defaultFor, "length of the window of one measurement")
	flags.IntVar(&o.times, "times", defaultTimes, "measurements of each row; the median is shown")
	streams := flags.String("streams", "1,4", "numbers of cameras")
	rows := flags.String("rows", "", "rows to measure: "+strings.Join(rowNames(), ",")+"; default all")
	short := flags.Bool("short", false, "one camera, once, the plain rows, "+shortFor.String()+" each: does it work and is it about right")
	flags.StringVar(&o.cycle, "cycle", "auto", "signing cycle, 500ms to 2s; auto: what doctor measures")
	flags.StringVar(&o.agent, "agent", "", "minglu-agent to measure; default: built from this tree")
	flags.StringVar(&o.relay, "relay", "", "rtsprelay; default: built from this tree")
	flags.StringVar(&o.dir, "dir", "", "folder for disks and clip; default: that for temporary files")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *short {
		o.window, o.times, *streams, *rows = shortFor, 1, "1", "ffmpeg,one,two"
	}
	if o.window < time.Second || o.times < 1 {
		return o, fmt.Errorf("-for %v -times %d: at least 1s and 1", o.window, o.times)
	}
	for s := range strings.SplitSeq(*streams, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxStreams {
			return o, fmt.Errorf("-streams %q: numbers from 1 to %d", *streams, maxStreams)
		}
		o.streams = append(o.streams, n)
	}
	var err error
	o.rows, err = chooseRows(*rows)
	return o, err
}

// bench holds what all measurements share.
type bench struct {
	options
	dir      string
	clip     string
	chosen   string // who chose the cycle
	progress io.Writer
}

// segment is how long a file is: two of them are closed in a window.
func (o *options) segment() time.Duration { return min(max(o.window/2, 10*time.Second), 5*time.Minute) }

// prepare builds the programs that were not given and encodes the clip.
func (b *bench) prepare(ctx context.Context) error {
	for bin, pkg := range map[*string]string{&b.agent: "minglu/agent", &b.relay: "minglu/sim/rtsprelay"} {
		if *bin != "" {
			continue
		}
		*bin = filepath.Join(b.dir, filepath.Base(pkg))
		c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", *bin, pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	b.clip = filepath.Join(b.dir, "clip.nut")
	if err := encode(ctx, b.clip); err != nil {
		return err
	}
	if b.chosen = "by -cycle"; b.cycle == "auto" {
		return b.askDoctor(ctx)
	}
	return nil
}

// askDoctor takes the cycle that suits the folder the disks will be in.
func (b *bench) askDoctor(ctx context.Context) error {
	dir := filepath.Join(b.dir, "doctor")
	if err := os.MkdirAll(filepath.Join(dir, "disk"), 0o755); err != nil {
		return err
	}
	config := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(config, []byte(configuration("127.0.0.1:0", []string{filepath.Join(dir, "disk")}, "auto", b.segment(), []string{"rtsp://127.0.0.1:9/none"})), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, b.agent, "doctor", "--config", config, "--json").Output() // exits 1: there is no such camera
	var found struct {
		CycleMS int64 `json:"cycle_ms"`
	}
	if jerr := json.Unmarshal(out, &found); jerr != nil || found.CycleMS <= 0 {
		return fmt.Errorf("doctor chooses no cycle: %w", errors.Join(err, jerr))
	}
	b.cycle, b.chosen = fmt.Sprintf("%dms", found.CycleMS), "doctor's choice"
	return nil
}

// all measures every row for every number of streams, times over.
func (b *bench) all(ctx context.Context) ([]result, error) {
	var all []result
	for _, n := range b.streams {
		for _, r := range b.rows {
			all = append(all, result{row: r, streams: n})
		}
	}
	for time := range b.times {
		for _, n := range b.streams {
			if err := b.group(ctx, n, time, all); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// group measures each row once, with n cameras that run through.
func (b *bench) group(ctx context.Context, n, time int, all []result) error {
	in, err := b.cameras(ctx, n)
	if err != nil {
		return err
	}
	defer in.stop()
	for i := range all {
		r := &all[i]
		if r.streams != n {
			continue
		}
		fmt.Fprintf(b.progress, "bench: %d of %d, %d streams, %s\n", time+1, b.times, n, r.title)
		m, err := b.measure(ctx, in, r.row)
		if err != nil {
			return fmt.Errorf("%d streams, %s: %w", n, r.title, err)
		}
		r.took = append(r.took, m)
	}
	return nil
}

// row is one way of recording.
type row struct {
	name, title string
	disks       int  // 0: ffmpeg
	decoder     bool // ffmpeg is in the agent's PATH: it looks at a picture now and then
	noSHA       bool // SHA-256 without the processor's instructions for it
}

var rows = []row{
	{name: "ffmpeg", title: "ffmpeg -c copy, fMP4, 1 disk"},
	{name: "one", title: "agent, 1 disk", disks: 1},
	{name: "two", title: "agent, 2 disks", disks: 2},
	{name: "one-checks", title: "agent, 1 disk, picture checks", disks: 1, decoder: true},
	{name: "two-checks", title: "agent, 2 disks, picture checks", disks: 2, decoder: true},
	{name: "one-nosha", title: "agent, 1 disk, SHA instructions off", disks: 1, noSHA: true},
}

func rowNames() (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

// chooseRows picks rows by their names, "" for all that this processor has.
func chooseRows(list string) (chosen []row, err error) {
	names := strings.Split(list, ",")
	for _, n := range names {
		if list != "" && !slices.Contains(rowNames(), n) {
			return nil, fmt.Errorf("-rows: no row %q; there are %s", n, strings.Join(rowNames(), ", "))
		}
	}
	for _, r := range rows {
		switch {
		case list == "" && r.noSHA && shaSwitch() == "":
		case list == "" || slices.Contains(names, r.name):
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}

// shaSwitch is the GODEBUG setting that takes the SHA instructions away (internal/cpu), "" where there
// are none to take.
func shaSwitch() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	words := strings.Fields(string(info))
	switch {
	case runtime.GOARCH == "amd64" && slices.Contains(words, "sha_ni"):
		return "cpu.sha=off"
	case runtime.GOARCH == "arm64" && slices.Contains(words, "sha2"):
		return "cpu.sha2=off"
	}
	return ""
}
