package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minglu/agent/config"
)

func TestLockState(t *testing.T) {
	dir := t.TempDir()
	first, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(dir); err == nil || !strings.Contains(err.Error(), "another minglu-agent") {
		t.Errorf("second agent: %v", err)
	}
	first.Close()
	again, err := lockState(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
	if _, err := lockState(dir + "/none"); err == nil {
		t.Error("a folder that is not there was locked")
	}
}

// TestOfflineTellsWhoseAgentRuns: a command that needs the room to itself names this room's own agent, and another one
// that holds the disk alone.
func TestOfflineTellsWhoseAgentRuns(t *testing.T) {
	cfg := &config.Config{State: t.TempDir()}
	cfg.Storage.Disks = []string{t.TempDir()}
	name := filepath.Join(cfg.Storage.Disks[0], "ledger", "disk.json")
	if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(`{"id":"`+strings.Repeat("a", 32)+`"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	disk, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := syscall.Flock(int(disk.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	if _, err := openOffline(cfg, quiet); err == nil || errors.As(err, new(takenError)) || !strings.Contains(err.Error(), "uses the disk") {
		t.Errorf("another agent holds the disk: %v", err)
	}
	lock, err := lockState(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := openOffline(cfg, quiet); !errors.As(err, new(takenError)) {
		t.Errorf("this room's agent runs: %v", err)
	}
}

func TestOpenTwice(t *testing.T) {
	cfg := &config.Config{State: t.TempDir()}
	lock, err := lockState(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := open(cfg, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "another minglu-agent") {
		t.Errorf("open: %v", err)
	}
}
