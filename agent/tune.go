package main

import (
	"os"
	"runtime"
)

// useFewCores lets Go code run on half of the cores. What a room does comes in small pieces, many times a
// second; with more, each piece wakes a second thread that finds nothing to do, a fifth of all the CPU
// that recording takes (docs/cost.md). Waiting for disks and networks takes no core, and decoding is a
// process of its own. GOMAXPROCS in the environment goes before.
func useFewCores() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}
