package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// quiet asks for a password and turns the echo of a terminal off until done; anything but a terminal is left alone.
func quiet(stdin io.Reader, stderr io.Writer) (done func(), err error) {
	f, ok := stdin.(*os.File)
	if !ok {
		return func() {}, nil
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return func() {}, nil // no terminal
	}
	fmt.Fprint(stderr, "口令 password: ")
	q := *t
	q.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &q); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() {
		_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
		fmt.Fprintln(stderr)
	}, nil
}

func isTerminal(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
