// Command room runs in a hil guest: it keeps a minglu-agent recording, and says on stdout what is durable,
// one JSON object a line, so that the host knows it when the power is cut in the next instant.
//
// A sign line counts as durable once the next sign line can be read on the same disk: a disk carries out its
// batches in order, and a batch is written only after the barrier of the one before.
//
//	{"recording":"SESSION"}                                the room records
//	{"disk":0,"session":"SESSION","size":41,"root":"…","channels":2}   durable: 41 lines and the media they name
//	{"unsealed":["SESSION on disk 0"]}                     sessions that are not yet sealed, this one left out
//	{"idle":0.4}                                           share of the last second that the processors were idle
//	{"late_ms":812}                                        this machine stood still for so long
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	look  = 100 * time.Millisecond // how often the logs are read
	stall = 400 * time.Millisecond // a look so late is told
	asked = 10                     // looks at the logs to one at the folders
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: room AGENT CONFIG API DISK...")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, "room:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, agent, config, api string, disks []string) error {
	cmd := exec.CommandContext(ctx, agent, "run", "--config", config)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	r := &room{api: api, disks: disks, out: json.NewEncoder(os.Stdout), logs: map[string]*log{}}
	tick := time.NewTicker(look)
	defer tick.Stop()
	last := time.Now()
	for n := 1; ; n++ {
		select {
		case err := <-gone:
			return fmt.Errorf("the agent ended: %w", err)
		case <-tick.C:
		}
		if late := time.Since(last); late > stall {
			r.tell(map[string]any{"late_ms": late.Milliseconds()})
		}
		last = time.Now()
		if r.session == "" {
			r.begin()
			last = time.Now()
			continue
		}
		if err := r.durable(); err != nil {
			return err
		}
		if n%asked == 0 {
			r.unsealed()
			r.idle()
			last = time.Now()
		}
	}
}

type room struct {
	ticks   [2]int64 // idle and all, of the processors since boot
	api     string
	disks   []string
	out     *json.Encoder
	session string
	logs    map[string]*log
}

// log is how far the log of a session on a disk was read.
type log struct {
	at    int64
	lines int64
	part  []byte // of a line
	sign  map[string]any
	chs   map[string]bool // have a fragment
}

func (r *room) tell(v any) {
	if err := r.out.Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, "room:", err)
	}
}

// begin begins a session, unless one goes on; it does nothing while the agent or its cameras are not there.
func (r *room) begin() {
	var st struct {
		State    string
		Session  *struct{ ID string }
		Channels []struct{ State string }
	}
	if !r.call("GET", "/state", nil, &st) {
		return
	}
	if st.Session != nil {
		r.session = st.Session.ID
		r.tell(map[string]string{"recording": r.session})
		return
	}
	for _, c := range st.Channels {
		if c.State != "live" {
			return
		}
	}
	r.call("POST", "/session", map[string]any{"case": "断电试验", "matter": "询问", "officers": []string{"张三 A001", "李四 A002"}}, nil)
}

// unsealed tells which sessions of before are not sealed yet on a disk that has them. The catalogue does not
// know them before they are repaired.
func (r *room) unsealed() {
	open := []string{}
	for i, d := range r.disks {
		entries, err := os.ReadDir(filepath.Join(d, "sessions"))
		if err != nil {
			continue // not there yet
		}
		for _, e := range entries {
			if _, err := os.Stat(filepath.Join(d, "sessions", e.Name(), "manifest.json.p7s")); err != nil && e.Name() != r.session {
				open = append(open, fmt.Sprintf("%s on disk %d", e.Name(), i))
			}
		}
	}
	r.tell(map[string][]string{"unsealed": open})
}

// idle tells how much of their time the processors had nothing to do since the last time it was told.
func (r *room) idle() {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return
	}
	var v [5]int64 // user nice system idle iowait (proc(5))
	if _, err := fmt.Sscanf(string(b), "cpu %d %d %d %d %d", &v[0], &v[1], &v[2], &v[3], &v[4]); err != nil {
		return
	}
	now := [2]int64{v[3] + v[4], v[0] + v[1] + v[2] + v[3] + v[4]}
	if all := now[1] - r.ticks[1]; all > 0 {
		r.tell(map[string]float64{"idle": float64(now[0]-r.ticks[0]) / float64(all)})
	}
	r.ticks = now
}

func (r *room) call(method, path string, body, out any) bool {
	b, err := json.Marshal(body)
	if err != nil {
		return false
	}
	req, err := http.NewRequest(method, r.api+path, bytes.NewReader(b))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		text, _ := io.ReadAll(res.Body)
		fmt.Fprintf(os.Stderr, "room: %s %s: %s %s\n", method, path, res.Status, text)
		return false
	}
	return out == nil || json.NewDecoder(res.Body).Decode(out) == nil
}

// durable tells the sign lines that have become durable since the last look.
func (r *room) durable() error {
	for i, d := range r.disks {
		name := filepath.Join(d, "sessions", r.session, "log.jsonl")
		l := r.logs[name]
		if l == nil {
			l = &log{chs: map[string]bool{}}
			r.logs[name] = l
		}
		f, err := os.Open(name)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return err
		}
		b, err := io.ReadAll(io.NewSectionReader(f, l.at, 1<<40))
		f.Close()
		if err != nil {
			return err
		}
		l.at += int64(len(b))
		l.part = append(l.part, b...)
		for {
			end := bytes.IndexByte(l.part, '\n')
			if end < 0 {
				break
			}
			var v struct {
				Type, Ch, Root string
				Size           int64
			}
			if err := json.Unmarshal(l.part[:end], &v); err != nil {
				return fmt.Errorf("%s: line %d: %w", name, l.lines, err)
			}
			l.part = l.part[end+1:]
			l.lines++
			if v.Type == "fragment" {
				l.chs[v.Ch] = true
			}
			if v.Type != "sign" {
				continue
			}
			if l.sign != nil {
				r.tell(l.sign)
			}
			l.sign = map[string]any{"disk": i, "session": r.session, "size": v.Size, "root": v.Root, "channels": len(l.chs)}
		}
	}
	return nil
}
