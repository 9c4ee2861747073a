package main

import (
	"log/slog"
	"strings"
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
