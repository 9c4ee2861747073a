package uplink

import (
	"slices"
	"strings"
	"testing"
	"time"

	"minglu/agent/report"
)

// TestExchange: the newest of a kind leaves, once, over the connection there is or the next one.
func TestExchange(t *testing.T) {
	inWorld(t, func(w *world) {
		var came []string
		var link []bool
		w.opts.Receive = func(k report.Kind, b []byte) {
			w.lock(func() { came = append(came, string(k)) })
		}
		w.opts.Connected = func(on bool) { w.lock(func() { link = append(link, on) }) }
		ask := func(id string) {
			t.Helper()
			if err := w.u.Send(report.Timestamp{ID: id, Request: "AAAA"}); err != nil {
				t.Fatal(err)
			}
		}
		sent := func() (list []string) {
			for _, s := range w.news() {
				if !strings.HasPrefix(s, "state") && s != "health" && s != "compliance" {
					list = append(list, s)
				}
			}
			return list
		}
		w.start()
		ask("one")
		ask("two")
		w.pass(time.Second)
		w.up()
		w.pass(DefaultRetryMax + time.Second)
		if got := sent(); !slices.Equal(got, []string{"timestamp two"}) {
			t.Errorf("after the connection %q came", got)
		}
		ask("three")
		w.pass(time.Second)
		note := "o\n1\n" + strings.Repeat("A", 44) + "\n\n— o x\n"
		if err := w.u.Send(report.Checkpoint{Device: device, T: w.now().T, Origin: "o", Size: 1, Root: strings.Repeat("A", 44), Note: note}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		if got := sent(); !slices.Equal(got, []string{"timestamp three", "checkpoint"}) {
			t.Errorf("sent %q", got)
		}
		if err := w.u.Send(report.Timestamp{ID: "no request"}); err == nil {
			t.Error("a message beyond its limits was taken")
		}
		w.lock(func() { came = nil })
		for _, k := range []report.Kind{report.KindCosignature, report.KindTimestamp} {
			w.send(k, []byte("{}"))
		}
		w.sendTo(report.Topic(device, report.KindCosignature), []byte("{}"), true) // a cache tells nothing
		w.pass(time.Second)
		w.cutAll()
		w.pass(time.Minute)
		w.lock(func() {
			if !slices.Equal(came[:2], []string{"cosignature", "timestamp"}) || slices.Contains(came[3:], "timestamp") {
				t.Errorf("received %q", came)
			}
			if !slices.Equal(link, []bool{true, false, true}) {
				t.Errorf("connected: %v", link)
			}
		})
		if got := sent(); len(got) > 0 {
			t.Errorf("a new connection sends %q again", got)
		}
	})
}
