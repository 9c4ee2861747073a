package record_test

import (
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/record"
)

// TestTwoRecordersOneDisk: one writes, the other says so and uses the disk once it is free.
func TestTwoRecordersOneDisk(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		first := start(t, 1, nil)
		<-first.rec.Ready()
		share := func(o *record.Options) { o.Disks = first.disks }
		idle := start(t, 0, share)
		<-idle.rec.Ready()
		if st := idle.rec.Disks()[0]; !st.OK {
			t.Errorf("nobody writes, and the disk is %+v", st)
		}
		s := first.open(sessionID, "face")
		zero := first.up()
		first.play(s, zero, part{ch: "face", clip: cam, to: 3 * time.Second, run: 1})

		late := start(t, 0, share)
		<-late.rec.Ready()
		if st := late.rec.Disks()[0]; st.OK || st.Cause != "taken" {
			t.Errorf("another writes, and the disk is %+v", st)
		}
		if len(late.events) != 1 || late.events[0].Code() != "disk.taken" {
			t.Errorf("events %+v", late.events)
		}
		beside := idle.open("20260301T020000Z-0123abcd", "face")
		<-beside.Failed()
		if len(idle.events) != 1 || idle.events[0].Code() != "disk.taken" {
			t.Errorf("events %+v", idle.events)
		}

		// The lock lasts over a session of the same recorder that begins before the end of the one before.
		next := first.open("20260301T030000Z-0123abcd", "face")
		if sealed := first.seal(s, "button"); sealed.Err != nil {
			t.Errorf("sealed %+v\n%s", sealed, first.logs)
		}
		time.Sleep(3 * record.DefaultRetry)
		synctest.Wait()
		if st := late.rec.Disks()[0]; st.OK {
			t.Errorf("another still writes, and the disk is %+v", st)
		}
		if sealed := first.seal(next, "button"); sealed.Err != nil {
			t.Errorf("sealed %+v\n%s", sealed, first.logs)
		}
		time.Sleep(2 * record.DefaultRetry)
		synctest.Wait()
		if st := late.rec.Disks()[0]; !st.OK {
			t.Errorf("nobody writes any more, and the disk is %+v", st)
		}
		if sealed := late.seal(late.open("20260301T040000Z-0123abcd", "face"), "button"); sealed.Err != nil {
			t.Errorf("sealed %+v\n%s", sealed, late.logs)
		}
		for _, r := range []*room{first, idle, late} {
			r.stop()
		}
		first.check(first.disks[0], sessionID, 0)
	})
}
