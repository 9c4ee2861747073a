package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	settle     = 3 * time.Second  // pre-roll is written, the heap has its size
	stopWithin = 20 * time.Second // a session is sealed
	wholeShare = 0.9              // of the media bytes must be in the files: else what was measured is not recording
)

// measurement is what one window came to.
type measurement struct {
	cpu, children float64 // CPU-seconds per stream and minute
	peak          float64 // bytes
	childRSS      float64 // bytes, largest seen
	written       float64 // by write(), per media byte and disk
	block         float64 // per media byte and disk
	readBack      float64 // from the block device, per media byte and disk
	files         float64 // growth of the files, per media byte and disk
	counted       bool    // what follows is known
	allocs        float64 // per second and stream
	fsyncs        float64 // per second and disk
	read          float64 // by read() of its own files, per media byte and disk
}

// recording is something that records all cameras until it is stopped.
type recording struct {
	procs  []*process
	files  string                   // folder of what it records
	counts func() (counters, error) // since its start; nil: nobody knows
	finish func() error             // stops it, and tells whether the recording is sound
}

func (r *recording) kill() {
	for _, p := range r.procs {
		p.kill()
	}
}

// measure records all cameras in one way and watches it for a window.
func (b *bench) measure(ctx context.Context, in *cameras, w row) (m measurement, err error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	begin := b.beginAgent
	if w.disks == 0 {
		begin = b.beginFFmpeg
	}
	r, err := begin(ctx, in, w, dir)
	if r != nil {
		defer r.kill()
	}
	if err != nil {
		return m, err
	}
	if err := pause(ctx, settle); err != nil {
		return m, err
	}
	if m, err = b.watch(ctx, in, r, max(w.disks, 1)); err != nil {
		return m, err
	}
	return m, r.finish()
}

// watch reads what a recording uses over one window.
func (b *bench) watch(ctx context.Context, in *cameras, r *recording, disks int) (m measurement, err error) {
	var counts [2]counters
	if r.counts != nil {
		if counts[0], err = r.counts(); err != nil {
			return m, err
		}
	}
	sizeBefore, err := size(r.files)
	if err != nil {
		return m, err
	}
	from := time.Now()
	before, err := read(r.procs)
	if err != nil {
		return m, err
	}
	for left := b.window; left > 0; left = b.window - time.Since(from) {
		if err := pause(ctx, min(left, time.Second)); err != nil {
			return m, err
		}
		if u, err := read(r.procs); err != nil {
			return m, err
		} else if rss := float64(u.childRSS); rss > m.childRSS {
			m.childRSS = rss
		}
	}
	to := time.Now()
	after, err := read(r.procs)
	if err != nil {
		return m, err
	}
	sizeAfter, err := size(r.files)
	if err != nil {
		return m, err
	}
	media, err := in.media(from, to)
	if err != nil {
		return m, err
	}
	if media == 0 {
		return m, errors.New("the cameras sent nothing in the window")
	}
	streamMinutes := to.Sub(from).Minutes() * float64(len(in.urls))
	perByte := func(n int64) float64 { return float64(n) / float64(media) / float64(disks) }
	m.cpu = (after.cpu - before.cpu).Seconds() / streamMinutes
	m.children = (after.children - before.children).Seconds() / streamMinutes
	m.peak = float64(after.peak)
	m.written, m.block = perByte(after.written-before.written), perByte(after.block-before.block)
	m.readBack = perByte(after.readBack - before.readBack)
	m.files = perByte(sizeAfter - sizeBefore)
	if m.counted = r.counts != nil; m.counted {
		if counts[1], err = r.counts(); err != nil {
			return m, err
		}
		m.allocs = (counts[1].mallocs - counts[0].mallocs) / (streamMinutes * 60)
		m.fsyncs = (counts[1].fsyncs - counts[0].fsyncs) / to.Sub(from).Seconds() / float64(disks)
		m.read = perByte(int64(counts[1].read - counts[0].read))
	}
	if m.files < wholeShare && to.Sub(from) > 5*time.Second { // a shorter one ends within what is still held back
		return m, fmt.Errorf("only %.0f %% of what the cameras sent is in the files", 100*m.files)
	}
	return m, nil
}

// size adds up the files below a folder.
func size(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a temporary file
		} else if err != nil {
			return err
		}
		n += info.Size()
		return nil
	})
	return n, err
}

// beginFFmpeg starts one ffmpeg per camera, with fragments as long as the agent's.
func (b *bench) beginFFmpeg(ctx context.Context, in *cameras, _ row, dir string) (*recording, error) {
	r := &recording{files: dir}
	for i, url := range in.urls {
		p, err := start(nil, "ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url, "-c", "copy",
			"-f", "segment", "-segment_time", fmt.Sprint(b.segment().Seconds()), "-segment_format", "mp4", "-segment_format_options",
			"movflags=frag_keyframe+empty_moov+default_base_moof:frag_duration=500000", filepath.Join(dir, fmt.Sprintf("c%d-%%03d.mp4", i+1)))
		if err != nil {
			return r, err
		}
		r.procs = append(r.procs, p)
	}
	for i, p := range r.procs {
		file := filepath.Join(dir, fmt.Sprintf("c%d-000.mp4", i+1))
		if err := until(ctx, startWithin, "ffmpeg writes", p, func() bool {
			info, err := os.Stat(file)
			return err == nil && info.Size() > 100_000
		}); err != nil {
			return r, err
		}
	}
	r.finish = func() error {
		for _, p := range r.procs {
			p.stop(stopWithin) // its exit code after a signal tells nothing
		}
		return nil
	}
	return r, nil
}

// beginAgent starts an agent that has the cameras and nothing else, and a session.
func (b *bench) beginAgent(ctx context.Context, in *cameras, w row, dir string) (*recording, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	r := &recording{files: filepath.Join(dir, "disks")}
	var disks []string
	for i := range w.disks {
		disks = append(disks, filepath.Join(r.files, string(rune('a'+i))))
		if err := os.MkdirAll(disks[i], 0o755); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(config, []byte(configuration(listen, disks, b.cycle, b.segment(), in.urls)), 0o600); err != nil {
		return nil, err
	}
	var env []string
	if !w.decoder {
		env = append(env, "PATH="+filepath.Join(dir, "no-programs"))
	}
	if w.noSHA {
		env = append(env, "GODEBUG="+shaSwitch())
	}
	p, err := start(env, b.agent, "run", "--config", config)
	if err != nil {
		return nil, err
	}
	r.procs = []*process{p}
	base := "http://" + listen
	if err := until(ctx, startWithin, "all cameras are live", p, func() bool {
		state, err := call(ctx, http.MethodGet, base+"/api/v1/state", "")
		return err == nil && bytes.Count(state, []byte(`"state":"live"`)) == len(in.urls)
	}); err != nil {
		return r, err
	}
	if _, err := call(ctx, http.MethodPost, base+"/api/v1/session", `{"case":"bench"}`); err != nil {
		return r, err
	}
	r.counts = func() (counters, error) { return count(ctx, base) }
	r.finish = func() error {
		if code := p.stop(stopWithin); code != 0 {
			return fmt.Errorf("the agent ended with %d\n%s", code, p.said())
		}
		return b.verify(ctx, disks)
	}
	return r, nil
}

// configuration is that of an agent with some cameras. Board sim opens the pages on loopback without a
// login; no device of it is simulated.
func configuration(listen string, disks []string, cycle string, segment time.Duration, urls []string) string {
	var c strings.Builder
	fmt.Fprintf(&c, "device: {name: bench, room: bench}\nbody: {name: bench}\nboard: sim\nweb: {listen: %q, auth: none}\n", listen)
	fmt.Fprintf(&c, "storage: {disks: [%s], cycle: %s, segment: %s}\nchannels:\n", strings.Join(disks, ", "), cycle, segment)
	for i, url := range urls {
		fmt.Fprintf(&c, "  - {id: c%d, camera: {rtsp: %q}}\n", i+1, url)
	}
	return c.String()
}

// verify holds that what was recorded is worth something. Exit 3 (docs/evidence-format.md section 5) is
// a sound recording with something special; nobody here trusts the device.
func (b *bench) verify(ctx context.Context, disks []string) error {
	for _, d := range disks {
		c := exec.CommandContext(ctx, b.agent, "verify", "--require", "0", d)
		out, err := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); err != nil && code != 3 {
			return fmt.Errorf("verify %s: %w\n%s", d, err, out)
		}
	}
	return nil
}

// freeAddress is one nobody listens on at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// call does one request; a status of 400 and more is an error.
func call(ctx context.Context, method, url, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // no connection is kept that the agent would have to look after
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, res.Status, b)
	}
	return b, err
}

// counters are what an agent counts since its start.
type counters struct{ mallocs, fsyncs, read float64 }

func count(ctx context.Context, base string) (c counters, err error) {
	b, err := call(ctx, http.MethodGet, base+"/metrics", "")
	if err != nil {
		return c, err
	}
	for name, to := range map[string]*float64{"go_memstats_mallocs_total ": &c.mallocs, "minglu_fsyncs_total ": &c.fsyncs, "minglu_read_bytes_total ": &c.read} {
		_, rest, ok := strings.Cut("\n"+string(b), "\n"+name)
		if !ok {
			return c, fmt.Errorf("/metrics: no %s", name)
		}
		value, _, _ := strings.Cut(rest, "\n")
		if *to, err = strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil {
			return c, fmt.Errorf("/metrics: %s: %w", name, err)
		}
	}
	return c, nil
}
