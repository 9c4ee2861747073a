package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/doctor"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/identity"
	"minglu/agent/ledger"
	"minglu/agent/report"
)

type rotateCommand struct {
	Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
}

// run gives the device another signing key, announced in its ledger by the key so far.
func (c *rotateCommand) run(stdout, stderr io.Writer) int {
	cfg := load(c.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	fail := func(err error) int {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	lock, err := lockState(cfg.State)
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	if err := allSealed(cfg); err != nil {
		return fail(err)
	}
	files := durable.In(filepath.Join(cfg.State, tmpFolder))
	build, err := time.Parse(time.RFC3339, buildDate)
	if err != nil {
		panic("BUG: build date: " + err.Error())
	}
	now, err := clock.New(clock.Options{FloorFile: filepath.Join(cfg.State, floorFile), Build: build, Replace: files.Replace})
	if err != nil {
		return fail(err)
	}
	boot, err := clock.BootID()
	if err != nil {
		return fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ids := identityOptions(cfg)
	next, err := identity.Rotate(ctx, ids, func(old *identity.Identity, line evidence.Key) error {
		signer, err := evidence.NewSigner(old.Key)
		if err != nil {
			return err
		}
		l, _, err := ledger.Open(ledger.Options{State: cfg.State, Device: old.D, Signer: signer, Earlier: old.Earlier, Now: now.Now, Boot: boot, Board: ids.Board})
		if err != nil {
			return err
		}
		_, err = l.Append(line)
		return errors.Join(err, l.Close())
	})
	if why := (*report.EnrolRefusal)(nil); errors.As(err, &why) {
		fmt.Fprintf(stderr, "minglu-agent: 管理端拒绝 · the office refuses: %s (%s)\n", why, why.Code)
		return exitRefused
	}
	if err != nil {
		return fail(err)
	}
	fmt.Fprintf(stdout, "密钥已更换，设备号不变 · another key, the same device: minglu:%s\n", next.D)
	return exitGood
}

// allSealed fails unless every session is sealed that the key so far must seal. A disk that is away may hold one.
func allSealed(cfg *config.Config) error {
	known := config.KnownDisks(cfg.State)
	for _, dir := range cfg.Storage.Disks {
		if id, err := doctor.ReadDiskID(dir); known[dir] != "" && id != known[dir] {
			return fmt.Errorf("磁盘 %s 不在：其中可能有尚未封存的会话，须由原密钥封存；请先接回磁盘，确已不存在的请从 storage.disks 中去掉 / the disk of %s is away, and a session on it may not be sealed, which only the key so far can do: bring the disk back first, or take it out of storage.disks if it is gone for good (%w)",
				dir, dir, cmp.Or(err, errOtherDisk))
		}
		switch open, err := unsealedOn(dir); {
		case err != nil:
			return fmt.Errorf("磁盘 %s 无法读取 / the disk of %s cannot be read: %w", dir, dir, err)
		case open != "":
			return fmt.Errorf("会话 %s 尚未封存，须由原密钥封存；请先启动 minglu-agent run 完成修复 / session %s on %s is not sealed, and only the key so far can seal it: let minglu-agent run repair it first", open, open, dir)
		}
	}
	return nil
}

var errOtherDisk = errors.New("another disk is in its folder")

// unsealedOn names a session on a disk that has no seal yet.
func unsealedOn(disk string) (string, error) {
	list, err := os.ReadDir(filepath.Join(disk, "sessions"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	for _, e := range list {
		if _, serr := os.Stat(filepath.Join(disk, "sessions", e.Name(), "manifest.json.p7s")); e.IsDir() && serr != nil {
			return e.Name(), nil
		}
	}
	return "", err
}
