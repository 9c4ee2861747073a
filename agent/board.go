package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"minglu/agent/config"
	"minglu/boards"
)

// anyBoard in agent.yaml is the generic board of the machine's kind.
const anyBoard = "generic"

// recognise returns the board's name: as configured, or what the device tree shows. A name that nobody
// knows is an error; a board that nobody knows is not.
func recognise(cfg *config.Config, log *slog.Logger) (string, error) {
	switch cfg.Board {
	case config.BoardSim:
		return cfg.Board, nil
	case anyBoard:
		return boards.Generic(runtime.GOARCH).Name, nil
	case boardAuto, "":
		b, seen := boards.Detect(boards.Running{FS: os.DirFS("/proc/device-tree")}, runtime.GOARCH)
		log.Info("board", "name", b.Name, "model", seen.Model, "compatible", strings.Join(seen.Compatible, " "))
		return b.Name, nil
	}
	if boards.Find(cfg.Board) == nil {
		return "", fmt.Errorf("board: 没有板型 %q；请写 auto，或其中之一 · no such board: write auto, or one of %s", cfg.Board, strings.Join(boardNames(), ", "))
	}
	return cfg.Board, nil
}

// boardAuto lets the board be recognised.
const boardAuto = "auto"
