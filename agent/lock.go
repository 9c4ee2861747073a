package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockState keeps a second agent out of a state folder. Two at once would each take the other's session
// for one that a crash cut, repair it and seal it while it is still being written. The lock is on the
// folder itself: no file is left behind, and the kernel lifts it with the process, however that ends.
func lockState(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, takenError(dir)
		}
		return nil, fmt.Errorf("state folder: lock %s: %w", dir, err)
	}
	return f, nil
}

// takenError means that an agent runs on the state folder it names.
type takenError string

func (e takenError) Error() string {
	return fmt.Sprintf("另一个 minglu-agent 正在使用 %s；请先停止它 / another minglu-agent is using the state folder %s: stop it first", string(e), string(e))
}
