package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"minglu/agent/identity"
	"minglu/agent/store"
)

// maxPassword bounds what is read for one.
const maxPassword = 1024

// readPassword takes one line from standard input; at a terminal it is typed without echo.
func readPassword(stdin io.Reader, stderr io.Writer) (string, error) {
	shown, err := hide(stdin, stderr)
	if err != nil {
		return "", err
	}
	defer shown()
	line, err := bufio.NewReader(io.LimitReader(stdin, maxPassword)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("no password on standard input: %w", err)
	}
	return line, nil
}

// hide keeps what is typed at a terminal from being shown, until shown is called.
func hide(stdin io.Reader, prompt io.Writer) (shown func(), err error) {
	f, ok := stdin.(*os.File)
	if !ok {
		return func() {}, nil
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return func() {}, nil // no terminal
	}
	fmt.Fprint(prompt, "口令 password: ")
	quiet := *t
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &quiet); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() {
		_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
		fmt.Fprintln(prompt)
	}, nil
}

// rebuild makes the catalogue anew from what the disks hold.
func (c *commands) rebuild(stdout, stderr io.Writer) int {
	cfg := load(c.Rebuild.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, _, err := store.Open(store.Options{Path: filepath.Join(cfg.State, catalogueFile)})
	if err == nil {
		defer s.Close()
		var disks []store.Disk
		for _, dir := range cfg.Storage.Disks {
			disks = append(disks, store.Disk{ID: dir, Dir: dir})
		}
		err = s.Rebuild(ctx, disks, nil, func(p store.Progress) { fmt.Fprintf(stderr, "\r%d/%d", p.N, p.Of) })
		fmt.Fprintln(stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	fmt.Fprintln(stdout, "目录库已重建 · the catalogue is rebuilt")
	return exitGood
}

// trust prints the certificate that a verifier elsewhere needs to believe this device.
func (c *commands) trust(stdout, stderr io.Writer) int {
	cfg := load(c.Trust.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	id, err := identity.Open(identityOptions(cfg))
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "# minglu:%s\n%s", id.D, id.DevicePEM)
	return exitGood
}
