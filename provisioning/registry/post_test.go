package registry

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/report"
)

func TestARoomGetsWhatConcernsIt(t *testing.T) {
	r := filled(t)
	apply(t, r, csvRows([]string{"案号", "单位代码", "结案日期"}, []string{"老案", exampleA, "2020-01-01"}, []string{"卫案", exampleB, ""}))
	apply(t, r, csvRows([]string{"预约编号", "设备名称", "单位代码", "开始", "结束"}, []string{"far", "room-3", exampleA, "2026-12-30 09:00", "2026-12-30 10:00"}, []string{"over", "room-3", exampleA, "2026-11-20 09:00", "2026-11-20 10:00"}))
	d := r.Data()
	own := d.For("room-3", []string{"某市监罚〔2025〕3号", "卫案"}, day1)
	if len(own.Bodies) != 1 || len(own.Officers) != 2 || len(own.Matters) != 2 || len(own.Bookings) != 1 || own.Bookings[0].ID != "b-2026-001" {
		t.Errorf("room 3 gets %+v", own)
	}
	if len(own.Cases) != 2 || own.Cases[0].Case != "某市监罚〔2025〕3号" || own.Cases[1].Closed != "" {
		t.Errorf("cases %+v: want the closed one that has sessions here first, then the open ones, none of another body", own.Cases)
	}
	shared := d.For("room-4", nil, day1)
	if len(shared.Bodies) != 2 || shared.Bodies[0].USCC != exampleA || len(shared.Cases) != 2 {
		t.Errorf("the shared room gets %+v", shared)
	}
	if no := d.For("room-9", nil, day1); len(no.Bodies)+len(no.Officers)+len(no.Matters) > 0 || no.Version == "" {
		t.Errorf("a room nobody knows gets %+v", no)
	}
	if a, b := d.For("room-3", nil, day1), d.For("room-3", nil, day1.Add(time.Hour)); a.Version != b.Version {
		t.Error("the same content has two versions")
	}
	if _, err := report.Marshal(own); err != nil {
		t.Error(err)
	}
}

// TestListsFitAMessage: a county with more cases than a message holds sends what fits and says what is left out.
func TestListsFitAMessage(t *testing.T) {
	r := filled(t)
	rows := [][]string{{"案号", "单位代码", "案由"}}
	for i := range 3000 {
		rows = append(rows, []string{fmt.Sprintf("某市监罚〔2026〕%05d号", i), exampleA, "某某商行涉嫌销售超过保质期食品一案的案由"})
	}
	apply(t, r, csvRows(rows...))
	l := r.Data().For("room-3", []string{"某市监罚〔2026〕00007号"}, day1)
	b, err := report.Marshal(l)
	if err != nil || len(l.Cases) < 1000 || len(l.Cases)+l.LeftOut != 3001 || l.Cases[0].Case != "某市监罚〔2026〕00007号" {
		t.Errorf("%d bytes, %d cases, %d left out, first %q: %v", len(b), len(l.Cases), l.LeftOut, l.Cases[0].Case, err)
	}
}

func TestListsAreSentUntilTheRoomHoldsThem(t *testing.T) {
	r := filled(t)
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		online := []Held{}
		held := func(device, version, since string) { online = []Held{{device, version, since}} }
		begun := time.Now()
		p := NewPost(PostOptions{Registry: r, Now: func() time.Time { return day1.Add(time.Since(begun)) }, Online: func() []Held { return slices.Clone(online) },
			Send: func(device string, payload []byte) error {
				l, err := report.ParseLists(payload)
				if err != nil || l.Device != device {
					t.Errorf("sent to %s: %v", device, err)
				}
				sent = append(sent, l.Version)
				return nil
			}})
		pass := func(d time.Duration) {
			for range d / postEvery {
				time.Sleep(postEvery)
				p.look()
			}
		}
		pass(time.Minute)
		if len(sent) > 0 {
			t.Errorf("%d messages to nobody", len(sent))
		}
		held("room-3", "", "1")
		pass(2 * time.Second)
		if len(sent) != 1 {
			t.Fatalf("%d messages after a birth, want one", len(sent))
		}
		pass(2 * time.Minute)
		if n := len(sent); n < 3 || n > 5 {
			t.Errorf("%d messages in two minutes without acknowledgement, want a few", n)
		}
		held("room-3", sent[0], "1")
		sent = nil
		pass(4 * time.Minute)
		if len(sent) > 0 {
			t.Errorf("%d messages to a room that holds them", len(sent))
		}
		if x := p.Deliveries(nil); len(x) != 2 || !x[1].Done || x[1].Device != "room-3" || x[0].Done {
			t.Errorf("deliveries %+v", x)
		}
		apply(t, r, csvRows([]string{"姓名", "证号", "单位代码"}, []string{"新人", "9", exampleA}))
		pass(2 * time.Second)
		if len(sent) != 1 {
			t.Errorf("%d messages after a change, want one at once", len(sent))
		}
		sent = nil
		held("room-9", "", "1")
		pass(time.Minute)
		if len(sent) > 0 {
			t.Errorf("%d messages to a device that is not in the sheet of rooms: what it holds came by file", len(sent))
		}
		held("room-3", "", "2")
		pass(time.Second)
		if len(sent) != 1 {
			t.Errorf("%d messages after another birth, want one at once", len(sent))
		}
	})
}
