// Package driverstest holds what each kind of device must do, as tests that the real drivers and their
// simulated twins share: one function a kind. A driver's own tests call it with a device to test and a way to
// move it from outside.
//
// It tests behaviour of the interface in package drivers, not data sheets: those are the driver's own tests.
package driverstest

import (
	"testing"
	"time"
)

// within bounds what a device may take to show a change; it is far longer than any needs.
const within = 5 * time.Second

// eventually waits for ok, which is asked again and again.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, within)
		}
		time.Sleep(time.Millisecond)
	}
}
