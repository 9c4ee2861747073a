package main

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/agent/config"
	"minglu/agent/durable"
	"minglu/agent/room"
)

// gate holds back what opens files of sessions other than one, as a slow disk may.
type gate struct {
	durable.Layer
	session string
	reached chan struct{} // gets a value as somebody waits at the gate
	open    chan struct{} // closed: the gate is open
}

func (g *gate) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	if strings.Contains(name, "/sessions/") && !strings.Contains(name, g.session) {
		select {
		case g.reached <- struct{}{}:
		default:
		}
		<-g.open
	}
	return g.Layer.OpenFile(name, flag, perm)
}

// TestRecordOnBeforeRepair: after a cut the session that was cut is sealed only when its continuation is signed
// on a disk. Otherwise a second cut between the two leaves a room that was recording and does not know.
func TestRecordOnBeforeRepair(t *testing.T) {
	dir := t.TempDir()
	cfg, disk := microphoneRoom(t, dir), filepath.Join(dir, "disk")
	a, stop := runAgent(t, cfg, nil)
	a.awaitRecorder(t.Context())
	if _, err := a.loop.Ask(t.Context(), room.Start{By: room.ByPage}); err != nil {
		t.Fatal(err)
	}
	c := a.running()
	if c == nil {
		t.Fatal("no session was opened")
	}
	<-c.session.Opened()
	image := filepath.Join(t.TempDir(), "image") // what is on the disks at the cut
	if out, err := exec.Command("cp", "-a", dir, image).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	stop()
	for _, name := range []string{"disk", "state"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(image, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}

	seal := filepath.Join(disk, "sessions", c.id, "manifest.json.p7s")
	g := &gate{durable.OS{}, c.id, make(chan struct{}, 1), make(chan struct{})}
	a, stop = runAgent(t, cfg, g)
	defer stop()
	<-g.reached
	select {
	case <-a.repaired:
		t.Error("the session that was cut was repaired before its continuation was on a disk")
	case <-time.After(time.Second): // a repair takes some ten milliseconds
	}
	if _, err := os.Stat(seal); err == nil {
		t.Error("the session that was cut was sealed before its continuation was on a disk")
	}
	close(g.open)
	<-a.repaired
	if _, err := os.Stat(seal); err != nil {
		t.Errorf("the session that was cut was not sealed: %v", err)
	}
	if c := a.running(); c == nil || c.continues == "" {
		t.Errorf("the room does not record on: %+v", c)
	}
}

// microphoneRoom is the configuration of a room with one disk and a simulated microphone.
func microphoneRoom(t *testing.T, dir string) *config.Config {
	t.Helper()
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agent.yaml")
	text := "device: {name: room-t, room: 测试室}\nbody: {name: 测试局}\nboard: sim\nweb: {listen: \"127.0.0.1:0\", auth: none}\nchannels:\n  - {id: voice, microphone: {sim: {}}}\nstorage: {disks: [disk], preroll: 0s, postroll: 0s}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// runAgent runs an agent until stop, which waits.
func runAgent(t *testing.T, cfg *config.Config, under durable.Layer) (a *agent, stop func()) {
	t.Helper()
	a, err := open(cfg, slog.New(slog.DiscardHandler), under)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return a, func() {
		cancel()
		<-ended
	}
}

// TestEndsOnceIdle: what waits for an idle room (an upgrade, SIGHUP) is let go as soon as nothing is recorded.
func TestEndsOnceIdle(t *testing.T) {
	a, stop := runAgent(t, microphoneRoom(t, t.TempDir()), nil)
	defer stop()
	a.awaitRecorder(t.Context())
	if _, err := a.loop.Ask(t.Context(), room.Start{By: room.ByPage}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*tickEvery)
	defer cancel()
	if a.awaitIdle(ctx); ctx.Err() == nil {
		t.Error("a room that records is idle")
	}
	if _, err := a.loop.Ask(t.Context(), room.Stop{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if a.awaitIdle(ctx); ctx.Err() != nil {
		t.Errorf("an idle room is not idle: %+v", a.loop.State())
	}
}
