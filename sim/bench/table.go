package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// calm is the load average beyond which figures are not clean.
const calm = 1.0

// result is a line of the table.
type result struct {
	row
	streams int
	took    []measurement
}

// median of one figure over the repetitions; each figure has its own.
func (r result) median(of func(measurement) float64) float64 {
	var v []float64
	for _, m := range r.took {
		v = append(v, of(m))
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func cpuOf(m measurement) float64 { return m.cpu }

// head says on what, how and when.
func head(w io.Writer, b *bench, args []string, load float64) {
	fmt.Fprintf(w, "$ bench %s\n", strings.Join(args, " "))
	fmt.Fprintf(w, "%s; %d × %s, %s/%s, Linux %s; disks are folders on %s\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, kernel(), fileSystem(b.dir))
	fmt.Fprintf(w, "load average %.2f at the start, %.2f at the end; windows of %v, median of %d; 1080p25 H.264 4 Mbit/s + AAC over RTSP/TCP; files of %v; signing cycle %s (%s)\n", load, loadAverage(), b.window, b.times, b.segment(), b.cycle, b.chosen)
	if load > calm {
		fmt.Fprintf(w, "WARNING: the load average was over %.0f: other programs ran, these figures are not clean\n", calm)
	}
	if shaSwitch() == "" {
		fmt.Fprintln(w, "no line without SHA instructions: this processor has none, or Go has no switch for them")
	}
	fmt.Fprintln(w)
}

// table prints one line for each result.
func table(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "streams\tCPU-s per\t× ffmpeg\tits children\tpeak RSS\tchildren\twrite() per\tblock per\tread back per\tread() per\tfiles per\tfsyncs per s\tallocs per s\t  recorded by")
	fmt.Fprintln(t, "\tstream-min\t\tCPU-s\tMB\tMB\tmedia B, disk\tmedia B, disk\tmedia B, disk\tmedia B, disk\tmedia B, disk\tand disk\tand stream\t")
	for _, r := range results {
		num := func(format string, of func(measurement) float64) string { return fmt.Sprintf(format, r.median(of)) }
		times, allocs, fsyncs, read := "-", "-", "-", "-"
		for _, f := range results {
			if f.disks == 0 && f.streams == r.streams && f.median(cpuOf) > 0 {
				times = fmt.Sprintf("%.2f", r.median(cpuOf)/f.median(cpuOf))
			}
		}
		if r.disks > 0 {
			allocs = num("%.0f", func(m measurement) float64 { return m.allocs })
			fsyncs = num("%.1f", func(m measurement) float64 { return m.fsyncs })
			read = num("%.3f", func(m measurement) float64 { return m.read })
		}
		fmt.Fprintln(t, strings.Join([]string{fmt.Sprint(r.streams), num("%.3f", cpuOf), times,
			num("%.3f", func(m measurement) float64 { return m.children }),
			num("%.1f", func(m measurement) float64 { return m.peak / 1e6 }),
			num("%.1f", func(m measurement) float64 { return m.childRSS / 1e6 }),
			num("%.3f", func(m measurement) float64 { return m.written }),
			num("%.3f", func(m measurement) float64 { return m.block }),
			num("%.3f", func(m measurement) float64 { return m.readBack }),
			read,
			num("%.3f", func(m measurement) float64 { return m.files }),
			fsyncs, allocs, "  " + r.title}, "\t"))
	}
	_ = t.Flush()
}

// processor is its name as Linux knows it.
func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, v, ok := strings.Cut(line, ":"); ok && slices.Contains([]string{"model name", "Model", "Hardware"}, strings.TrimSpace(name)) {
			return strings.TrimSpace(v)
		}
	}
	return "unknown processor"
}

func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}

// fileSystem names the kind: a sync costs nothing on a tmpfs. Numbers are those of statfs(2).
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return err.Error()
	}
	names := map[int64]string{0xef53: "ext4", 0x1021994: "tmpfs: syncs and block bytes mean nothing", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x794c7630: "overlayfs", 0xf2f52010: "f2fs"}
	if n, ok := names[int64(uint32(s.Type))]; ok {
		return n
	}
	return fmt.Sprintf("file system %#x", uint32(s.Type))
}
