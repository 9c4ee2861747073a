package health

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/standard"
	"minglu/drivers"
)

func TestTheBoard(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		files   map[string]string
		celsius float64 // 0 unknown
		low     string  // "true", "false", "" unknown
	}{
		{"nothing there", nil, 0, ""},
		{"the hottest zone counts", map[string]string{"class/thermal/thermal_zone0/temp": "41000", "class/thermal/thermal_zone1/temp": "52500\n"}, 52.5, ""},
		{"nonsense does not", map[string]string{"class/thermal/thermal_zone0/temp": "-2147483648", "class/thermal/thermal_zone1/temp": "hot"}, 0, ""},
		{"a supply monitor that is content", map[string]string{"class/hwmon/hwmon0/in0_lcrit_alarm": "0"}, 0, "false"},
		{"one alarm is enough", map[string]string{"class/hwmon/hwmon0/in0_lcrit_alarm": "0", "class/hwmon/hwmon3/in1_min_alarm": "1"}, 0, "true"},
	} {
		dir := t.TempDir()
		for name, data := range tt.files {
			put(t, dir, name, data)
		}
		p := newProbes(dir, nil)
		p.probe()
		f := p.latest()
		got := ""
		if f.underVolt != nil {
			got = fmt.Sprint(*f.underVolt)
		}
		if (f.celsius == nil) != (tt.celsius == 0) || f.celsius != nil && *f.celsius != tt.celsius || got != tt.low {
			t.Errorf("%s: %v, %q", tt.rule, f.celsius, got)
		}
	}
}

func TestWear(t *testing.T) {
	dir := t.TempDir()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev := uint64(info.Sys().(*syscall.Stat_t).Dev)
	node := fmt.Sprintf("dev/block/%d:%d", dev>>8&0xfff|dev>>32&^0xfff, dev&0xff|dev>>12&^0xff)
	for _, tt := range []struct {
		rule, life string
		want       float64 // -1 unknown
	}{
		{"an eMMC counts in tenths, the worse of its two kinds", "0x01 0x04\n", 0.4},
		{"worn out and more", "0x0B 0x01", 1.1},
		{"not defined is unknown", "0x00 0x00", -1},
		{"nonsense is unknown", "worn", -1},
		{"out of range is unknown", "0x7f 0x01", -1},
	} {
		sys := t.TempDir()
		put(t, sys, "devices/mmc0/block/mmcblk0/mmcblk0p2/partition", "2")
		put(t, sys, "devices/mmc0/block/mmcblk0/device/life_time", tt.life)
		if err := os.MkdirAll(filepath.Join(sys, "dev/block"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(sys, "devices/mmc0/block/mmcblk0/mmcblk0p2"), filepath.Join(sys, node)); err != nil {
			t.Fatal(err)
		}
		got, why := newProbes(sys, nil).wear(dev)
		if (got == nil) != (tt.want < 0) || got != nil && *got != tt.want || got == nil && why.Zh == "" {
			t.Errorf("%s: %v %v", tt.rule, got, why)
		}
	}
	if got, why := newProbes(t.TempDir(), nil).wear(dev); got != nil || !strings.Contains(why.En, "no block device") {
		t.Errorf("a disk the kernel does not show: %v %v", got, why)
	}
}

func TestWhoMayDelete(t *testing.T) {
	for _, tt := range []struct {
		rule string
		mode map[string]os.FileMode
		open string
	}{
		{"nothing recorded yet", map[string]os.FileMode{}, ""},
		{"only the agent", map[string]os.FileMode{"sessions": 0o755, "sessions/S1": 0o755, "sessions/S1/log.jsonl": 0o644}, ""},
		{"anybody may write the folder", map[string]os.FileMode{"sessions": 0o777}, "sessions"},
		{"anybody may write a file of the newest session", map[string]os.FileMode{"sessions": 0o755, "sessions/S1": 0o755, "sessions/S1/log.jsonl": 0o666}, "log.jsonl"},
	} {
		dir := t.TempDir()
		for _, name := range []string{"sessions", "sessions/S1", "sessions/S1/log.jsonl"} {
			mode, ok := tt.mode[name]
			if !ok {
				continue
			}
			path := filepath.Join(dir, name)
			var err error
			if strings.HasSuffix(name, "jsonl") {
				err = os.WriteFile(path, nil, 0o600)
			} else {
				err = os.Mkdir(path, 0o700)
			}
			if err == nil {
				err = os.Chmod(path, mode)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		d := newProbes(t.TempDir(), nil).disk(dir)
		if d.err != nil || (d.open == "") != (tt.open == "") || !strings.HasSuffix(d.open, tt.open) {
			t.Errorf("%s: %+v", tt.rule, d)
		}
	}
	if d := newProbes(t.TempDir(), nil).disk(filepath.Join(t.TempDir(), "gone")); d.err == nil {
		t.Error("a disk that is not there has no error")
	}
}

// find returns one measurement of a list.
func find(ms []standard.Measurement, measure, subject string) standard.Measurement {
	for _, m := range ms {
		if m.Measure == measure && m.Subject == subject {
			return m
		}
	}
	return standard.Measurement{}
}

// TestFactsBecomeMeasurements: what main tells, and what it does not know.
func TestFactsBecomeMeasurements(t *testing.T) {
	r, _ := shoot(t)
	for _, tt := range []struct {
		rule             string
		set              func(*world)
		measure, subject string
		want             any    // nil: unknown
		why              string // then
		atLeast          bool
	}{
		{"one file system is one copy", func(w *world) {}, "storage.copies", "", 1.0, "", false},
		{"a disk that came back during a session holds no copy of it", func(w *world) { w.facts.Session.Disks = []string{} }, "storage.copies", "", 0.0, "", false},
		{"a failed disk has no room", func(w *world) { w.facts.Disks[1].OK = false }, "storage.hours_left", "B", 0.0, "", false},
		{"users cannot delete", func(w *world) {}, "storage.user_deletable", "A", false, "", false},
		{"unless the pages let them", func(w *world) { w.facts.APIDeletes = true }, "storage.user_deletable", "A", true, "", false},
		{"a notice not given yet takes at least as long", func(w *world) { w.facts.Session.NoticeAfter = nil }, "session.notice_after", "", 10.0, "", true},
		{"the last session tells how soon it records", func(w *world) { w.after = func() { w.facts.Session = nil } }, "session.trigger_to_record", "", 0.5, "", false},
		{"a room that never recorded does not", func(w *world) { w.facts.Session = nil }, "session.trigger_to_record", "", nil, "no session", false},
		{"a notice that was given", func(w *world) {}, "session.notice_after", "", 8.0, "", false},
		{"the longest run so far is a lower bound", func(w *world) {}, "recorder.longest_run", "", 9.0, "", true},
		{"nothing recorded yet", func(w *world) { w.facts.LongestRun = nil }, "recorder.longest_run", "", nil, "never", false},
		{"no lamp", func(w *world) { w.facts.Session.LampLag = nil }, "lamp.lag", "", nil, "no lamp", false},
		{"no thermometer", func(w *world) { w.facts.HasThermometer, w.facts.Climate = false, nil }, "climate.temperature", "", nil, "no sensor", false},
		{"a thermometer that is silent", func(w *world) { w.facts.Climate = nil }, "climate.age", "", nil, "does not answer", false},
		{"a thermometer without humidity", func(w *world) { w.facts.Climate.Humidity = nil }, "climate.humidity", "", nil, "humidity", false},
		{"no office", func(w *world) { w.facts.Uplink.Configured = false }, "uplink.offline_for", "", nil, "no office", false},
		{"no stamps", func(w *world) {}, "evidence.untimestamped_for", "", nil, "no time-stamp service", false},
		{"stamps that are late", func(w *world) { w.facts.Stamps = StampFact{true, ptr(2 * time.Hour)} }, "evidence.untimestamped_for", "", 7200.0, "", false},
		{"stamps nobody knows of", func(w *world) { w.facts.Stamps = StampFact{true, nil} }, "evidence.untimestamped_for", "", nil, "not known", false},
		{"an unverified clock", func(w *world) { w.err = -1 }, "clock.error", "", nil, "vouches", false},
		{"a clock that cannot be right says nothing of the certificate", func(w *world) { w.floor = true }, "device.certificate_days_left", "", nil, "cannot be right", false},
		{"before the build date", func(w *world) { w.floor = true }, "clock.before_build", "", true, "", false},
		{"nobody knows the certificate", func(w *world) { w.facts.CertDaysLeft = nil }, "device.certificate_days_left", "", nil, "validity", false},
		{"gaps nobody summed up", func(w *world) { w.facts.Session.GapTotal = nil }, "record.gap_total", "face", nil, "how long", false},
		{"a raw microphone whose rate is not told", func(w *world) { w.facts.Channels[2].SourceHz = 0 }, "audio.sample_rate", "voice", nil, "before encoding", false},
		{"a raw microphone whose level is not told", func(w *world) { w.facts.Channels[2].Level = Level{} }, "audio.silent_for", "voice", nil, "level", false},
		{"quiet before the session does not count", func(w *world) { w.facts.Channels[2].Level.Quiet = time.Hour }, "audio.silent_for", "voice", 10.0, "", false},
		{"two cameras deliver", func(w *world) {}, "room.camera_views", "", 2.0, "", false},
		{"one of them does not", func(w *world) { w.silent["wide"] = true }, "room.camera_views", "", 1.0, "", false},
		{"25 pictures a second", func(w *world) {}, "video.fps", "face", 25.0, "", false},
		{"a keyframe a second", func(w *world) {}, "video.keyframe_interval", "wide", 1.0, "", false},
		{"a camera that keeps its clock", func(w *world) { w.ntp = -1500 * time.Millisecond }, "camera.clock_offset", "face", 1.5, "", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := begin(t, r, nil)
			w.set(func() { tt.set(w) })
			w.run(10)
			if w.after != nil {
				w.set(w.after)
			}
			f := w.snapshot()
			m := find(w.h.measure(&f, w.now()), tt.measure, tt.subject)
			if m.Value.Any() != tt.want || !strings.Contains(m.Unknown.En, tt.why) || m.AtLeast != tt.atLeast {
				t.Errorf("%s: %+v, want %v %q", tt.rule, m, tt.want, tt.why)
			}
			w.stop()
		})
	}
}

// TestAVoidRoom: without channels, disks and facts all is unknown, and nothing passes that needs them.
func TestAVoidRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, boot: time.Now(), err: -1}
		h, err := New(Options{Now: w.now, Facts: func() Facts { return Facts{Recording: true} }, Sys: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			h.look()
			time.Sleep(second)
		}
		for _, v := range h.Latest().Verdicts {
			if v.Result == standard.Pass && v.Item != "time.sane" && v.Item != "time.steps" && v.Item != "rec.signed" {
				t.Errorf("%+v passes in a void", v)
			}
		}
	})
}

func TestLostPicturesAreCounted(t *testing.T) {
	f := &drivers.Format{Codec: drivers.H264, ClockHz: 90000}
	for _, tt := range []struct {
		rule string
		skip func(i int) bool
		want int64
	}{
		{"none is missing", func(int) bool { return false }, 0},
		{"single ones", func(i int) bool { return i%20 == 7 }, 5},
		{"a second of them", func(i int) bool { return i >= 30 && i < 55 }, 25},
	} {
		tr := &track{}
		tr.setFormat(f)
		got := int64(0)
		for i := range 100 {
			if tt.skip(i) {
				continue
			}
			at := time.Duration(i) * 40 * time.Millisecond
			tr.count(&drivers.Sample{Format: f, DTS: int64(i) * 3600, Run: 1, Arrival: at, At: at, Keyframe: i%25 == 0, Data: []byte{1}})
		}
		for _, b := range tr.buckets {
			got += b.missing
		}
		if got != tt.want {
			t.Errorf("%s: %d, want %d", tt.rule, got, tt.want)
		}
	}
	// A camera that goes over to fewer pictures, as in the dark, loses none for long.
	tr := &track{}
	tr.setFormat(f)
	late := int64(0)
	for i := range 2000 {
		at := time.Duration(i) * 40 * time.Millisecond
		if i > 500 && i%2 == 1 {
			continue
		}
		tr.count(&drivers.Sample{Format: f, DTS: int64(i) * 3600, Run: 1, Arrival: at, At: at, Data: []byte{1}})
	}
	for _, b := range tr.buckets {
		late += b.missing
	}
	if late > 0 {
		t.Errorf("at half the rate for a minute, %d pictures still count as missing", late)
	}
}

func TestNewRefuses(t *testing.T) {
	w := &world{boot: time.Now()}
	facts := func() Facts { return Facts{} }
	for _, tt := range []struct {
		rule string
		o    Options
	}{
		{"no clock", Options{Facts: facts}},
		{"no facts", Options{Now: w.now}},
		{"a channel twice", Options{Now: w.now, Facts: facts, Channels: []Channel{{"a", true}, {"a", false}}}},
	} {
		if _, err := New(tt.o); err == nil {
			t.Errorf("%s: accepted", tt.rule)
		}
	}
}

func FuzzParseBase(f *testing.F) {
	b := base{N: 20, Luma: 90, Deviation: 40, Gradient: 9, Sharp: 0.3, Cells: make([]float64, cellsX*cellsY)}
	data, err := json.Marshal(&b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, ok := parseBase(data)
		if !ok {
			return
		}
		v := newView()
		v.base = b
		for i := range 3 {
			v.take(make([]byte, viewBytes), time.Duration(i)*second)
		}
	})
}
