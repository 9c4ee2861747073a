package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"minglu/agent/config"
	"minglu/agent/doctor"
	"minglu/agent/durable"
	"minglu/agent/ledger"
	"minglu/agent/store"
)

// offline is what a command works with while no agent runs: the same parts, opened by hand, without a
// recorder, a room or pages.
type offline struct {
	*agent
	disks []offlineDisk
}

// offlineDisk is a disk found in its folder.
type offlineDisk struct {
	id, dir string
	lock    *os.File // another agent with another state folder must not write to it meanwhile
}

// openOffline takes the state folder and the disks that are there and this device's own. Close it.
func openOffline(cfg *config.Config, log *slog.Logger) (o *offline, err error) {
	o = &offline{agent: &agent{cfg: cfg, log: log, layer: durable.NewCounting(nil), closing: map[string]*current{}, unsealed: map[string]unsealed{}, foreign: map[string]bool{}, strange: map[string]bool{}}}
	opened := o
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	for _, dir := range cfg.Storage.Disks {
		id, err := doctor.ReadDiskID(dir)
		if err != nil {
			continue // a new disk has nothing to work on
		}
		f, err := os.Open(filepath.Join(dir, "ledger", "disk.json"))
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			lock, lerr := lockState(cfg.State)
			if lerr != nil {
				return nil, lerr // it is this room's own agent that runs
			}
			lock.Close()
			return nil, fmt.Errorf("磁盘 %s 正被另一个代理使用 / another agent uses the disk %s", dir, dir)
		}
		o.disks = append(o.disks, offlineDisk{id, dir, f})
	}
	if err := o.openState(); err != nil {
		return o, err
	}
	o.disks = slices.DeleteFunc(o.disks, func(d offlineDisk) bool {
		other := foreignDisk(cfg.State, o.id.D, d.dir, d.id)
		if other {
			d.lock.Close()
		}
		return other
	})
	return o, nil
}

// Close copies the ledger to the disks and lets go of everything.
func (o *offline) Close() error {
	var errs []error
	for _, d := range o.disks {
		if o.ledger != nil {
			if _, err := o.ledger.Copy(d.dir).Sync(); err != nil {
				errs = append(errs, err)
			}
		}
		d.lock.Close()
	}
	o.close()
	return errors.Join(errs...)
}

// append adds a line to the device ledger, durably.
func (o *offline) append(line any) error {
	return o.ledgerLine(func(l *ledger.Ledger) error { _, err := l.Append(line); return err })
}

func (o *offline) folders() (disks []store.Disk) {
	for _, d := range o.disks {
		disks = append(disks, store.Disk{ID: d.id, Dir: d.dir})
	}
	return disks
}

// withOffline runs a command that needs the room to itself and says why if it cannot.
func withOffline(path, command string, stderr io.Writer, do func(ctx context.Context, o *offline) (int, error)) int {
	cfg := load(path, stderr)
	if cfg == nil {
		return exitUsage
	}
	return withoutAgent(cfg, command, stderr, do)
}

// withoutAgent is withOffline of a configuration, of which disks and files may be missing.
func withoutAgent(cfg *config.Config, command string, stderr io.Writer, do func(ctx context.Context, o *offline) (int, error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := openOffline(cfg, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if errors.As(err, new(takenError)) {
		fmt.Fprintf(stderr, "%s: 代理正在运行，请先停止它，或在本机页面上操作 / the agent is running: stop it first, or use its pages\n", command)
		return exitUsage
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", command, err)
		return exitFailed
	}
	code, err := do(ctx, o)
	if err = errors.Join(err, o.Close()); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", command, err)
		return max(code, exitFailed)
	}
	return code
}
