package setup

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"minglu/agent/config"
)

var found = Found{
	Host: "Room_3.local", Board: "generic",
	Cameras:     []Device{{"Minglu test camera", `rtsp: "rtsp://192.0.2.7/usb"`}, {"second", `rtsp: "rtsp://192.0.2.8/usb"`}},
	Microphones: []Device{{"USB mic", `alsa: "hw:CARD=Mic"`}},
	Parts: []Part{
		{"SHT3x", "thermometer", "thermometer: {i2c: {bus: /dev/i2c-1, chip: sht3x, address: 0x44}}"}, {"another SHT3x", "thermometer", "thermometer: {i2c: {bus: /dev/i2c-1, chip: sht3x, address: 0x45}}"},
		{"DS3231", "rtc", "rtc: {i2c: {bus: /dev/i2c-1, chip: ds3231, address: 0x68}}"},
	},
	Pins: []Pin{{11, "GPIO17", "pinctrl-bcm2711", "17"}, {13, "GPIO27", "pinctrl-bcm2711", "27"}, {16, "GPIO23", "pinctrl-bcm2711", "23"}, {18, "GPIO24", "pinctrl-bcm2711", "24"}, {22, "GPIO25", "pinctrl-bcm2711", "25"}},
	Disks: []Disk{
		{Source: "LABEL=minglu-a", Label: "minglu-a", Type: "ext4", Bytes: 1_000_000_000_000},
		{Source: "LABEL=minglu-b", Label: "minglu-b", Type: "ext4", Bytes: 1_000_000_000_000, Dir: "/mnt/b"},
	},
}

// say answers question after question; the key of each must be the one expected.
func say(t *testing.T, i *Interview, talk [][2]string) {
	t.Helper()
	for _, qa := range talk {
		q := i.Question()
		if q == nil || q.Key != qa[0] {
			t.Fatalf("asked %+v, want %s", q, qa[0])
		}
		if err := i.Answer(qa[1]); err != nil {
			t.Fatalf("%s: %q: %v", qa[0], qa[1], err)
		}
	}
}

func TestInterview(t *testing.T) {
	i := &Interview{Found: found}
	say(t, i, [][2]string{
		{"name", ""}, {"room", "询问室三"}, {"kind", "hearing"}, {"body", "某县市场监督管理局"}, {"uscc", ""},
		{"use.0", ""}, {"seat.0", ""}, {"use.1", "n"}, {"use.2", "y"}, {"seat.1", "桌面"},
		{"rtsp.2", "rtsp://admin:p%22w@192.0.2.11/1"}, {"seat.2", "全景"}, {"rtsp.3", ""},
		{"part.0", "y"}, {"part.2", ""}, {"pin.button", "11"}, {"pin.door", ""}, {"pin.presence", "13"}, {"lamp", "16 18 22"}, {"lamp.low", "y"},
		{"disks", "2，1"}, {"listen", "0.0.0.0:8443"}, {"user", "wang"}, {"password", "correct horse"},
		{"office", "office.example:8093"}, {"code", "AAAAA-BBBBB"}, {"drill", "y"},
	})
	if q := i.Question(); q != nil {
		t.Fatalf("asked %+v, want nothing more", q)
	}
	want := []Source{
		{"cam1", "被询问人", false, `rtsp: "rtsp://192.0.2.7/usb"`}, {"mic1", "桌面", true, `alsa: "hw:CARD=Mic"`}, {"cam2", "全景", false, `rtsp: "rtsp://admin:p%22w@192.0.2.11/1"`},
	}
	if !reflect.DeepEqual(i.A.Sources, want) {
		t.Errorf("sources %+v\nwant %+v", i.A.Sources, want)
	}
	yaml := i.A.Config("/var/lib/minglu")
	c, err := config.Parse("/etc/minglu/agent.yaml", yaml)
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	if c.Device.Name != "room-3-local" || c.Device.Kind != "hearing" || len(c.Channels) != 3 || !reflect.DeepEqual(c.Storage.Disks, []string{"/mnt/b", "/srv/minglu/b"}) || c.Web.TLS == nil ||
		c.Inputs.Button == nil || c.Inputs.Button.GPIO.Line != "17" || c.Inputs.Door != nil || c.Inputs.Presence == nil || c.Lamp == nil || c.Lamp.GPIO.Amber != "24" || !c.Lamp.GPIO.ActiveLow || c.Thermometer == nil || c.RTC == nil {
		t.Errorf("configuration %+v\n%s", c, yaml)
	}
	if strings.Contains(string(yaml), "correct horse") || strings.Contains(string(yaml), "AAAAA") {
		t.Errorf("the configuration holds a secret of the office's or the user's:\n%s", yaml)
	}
	if got := string(i.A.DropIn()); got != "[Service]\nReadWritePaths=-/mnt/b\n" {
		t.Errorf("drop-in %q", got)
	}
}

// TestWrongAnswers: each is refused in words, and the question stands.
func TestWrongAnswers(t *testing.T) {
	good := map[string]string{"pin.button": "11", "lamp": "16", "body": "局", "rtsp.0": "rtsp://192.0.2.11/1", "password": "long enough", "rtsp.1": "", "office": "office:8093", "code": "X"}
	bad := map[string][]string{
		"name": {"Room 3", "房间", strings.Repeat("a", 65)}, "room": {strings.Repeat("长", 60)}, "kind": {"0", "5", "cell"}, "body": {""}, "uscc": {"123"},
		"rtsp.0": {"", "http://192.0.2.11", "192.0.2.11", "rtsp://", "a\x00b", "a\xffb"}, "pin.button": {"1", "x", "GPIO17"}, "pin.door": {"11"}, "lamp": {"16 18", "11", "16 16 18"}, "lamp.low": {"x"}, "disks": {"3", "1 1", "1 2 1", "x"}, "listen": {"8080", "http://x:1"},
		"user": {"Wang", "王"}, "password": {"", "short"}, "office": {"office", ":8093", "https://office:8093"}, "code": {""}, "drill": {"maybe"},
	}
	f := found
	f.Cameras, f.Microphones, f.Parts = nil, nil, nil
	i := &Interview{Found: f}
	for q := i.Question(); q != nil; q = i.Question() {
		for _, b := range bad[q.Key] {
			if b == "" && q.Default != "" {
				continue
			}
			if err := i.Answer(b); !errors.As(err, new(*Wrong)) {
				t.Errorf("%s: %.20q gives %v, want words on what is wrong", q.Key, b, err)
			}
			if now := i.Question(); now == nil || now.Key != q.Key {
				t.Fatalf("%s: after %.20q asked %+v", q.Key, b, now)
			}
		}
		if err := i.Answer(good[q.Key]); err != nil {
			t.Fatalf("%s: %v", q.Key, err)
		}
	}
}

func TestNoDisk(t *testing.T) {
	i := &Interview{Found: Found{Host: "x", Board: "sim"}}
	say(t, i, [][2]string{{"name", ""}, {"room", ""}, {"kind", ""}, {"body", "局"}, {"uscc", ""}, {"rtsp.0", ""}})
	if err := i.Answer("relative"); err == nil {
		t.Error("a relative folder was taken")
	}
	say(t, i, [][2]string{{"disks", ""}})
	if d := i.A.Disks; len(d) != 1 || d[0].Dir != "/srv/minglu/a" || d[0].Source != "" {
		t.Errorf("disks %+v", d)
	}
	if got := Fstab([]byte("x"), i.A.Disks); string(got) != "x" {
		t.Errorf("fstab %q: a folder is no file system", got)
	}
}

func TestFstab(t *testing.T) {
	a, b := Disk{Source: "LABEL=minglu a", Dir: "/srv/minglu/a", Type: "ext4"}, Disk{Source: "UUID=1", Dir: "/srv/minglu/b", Type: "xfs"}
	old := "# LABEL=minglu\\040a in words\nUUID=0 / ext4 defaults 0 1"
	got := string(Fstab([]byte(old), []Disk{a, b}))
	want := old + "\nLABEL=minglu\\040a /srv/minglu/a ext4 " + fstabOptions + " 0 2 # minglu\nUUID=1 /srv/minglu/b xfs " + fstabOptions + " 0 2 # minglu\n"
	if got != want {
		t.Errorf("fstab\n%s\nwant\n%s", got, want)
	}
	if again := string(Fstab([]byte(got), []Disk{a, b})); again != got {
		t.Errorf("a second time\n%s", again)
	}
	if mine := "UUID=9 /srv/minglu/b btrfs defaults 0 0\n"; string(Fstab([]byte(mine), []Disk{b})) != mine {
		t.Error("a line for the folder was not respected")
	}
}

func TestParseDisks(t *testing.T) {
	const lsblk = `{"blockdevices": [
	 {"name":"mmcblk0","fstype":null,"label":null,"uuid":null,"size":31914983424,"mountpoints":[null],"ro":false,"children":[
	   {"name":"mmcblk0p1","fstype":"vfat","label":"bootfs","uuid":"51DA","size":536870912,"mountpoints":["/boot/firmware"],"ro":false},
	   {"name":"mmcblk0p2","fstype":"ext4","label":"rootfs","uuid":"56f8","size":31373918208,"mountpoints":["/"],"ro":false}]},
	 {"name":"sda","fstype":"ext4","label":"minglu-a","uuid":"aaaa","size":1000204886016,"mountpoints":[null],"ro":false},
	 {"name":"sdb","fstype":null,"label":null,"uuid":null,"size":1000204886016,"mountpoints":[null],"ro":false,"children":[
	   {"name":"sdb1","fstype":"ext4","label":null,"uuid":"bbbb","size":1000203837440,"mountpoints":["/mnt/b"],"ro":false},
	   {"name":"sdb2","fstype":"ntfs","label":"win","uuid":"cccc","size":1,"mountpoints":[null],"ro":false},
	   {"name":"sdb3","fstype":"ext4","label":"ro","uuid":"dddd","size":1,"mountpoints":[null],"ro":true},
	   {"name":"sdb4","fstype":"ext4","label":"home","uuid":"eeee","size":1,"mountpoints":["/home"],"ro":false}]}]}`
	got, err := ParseDisks([]byte(lsblk))
	want := []Disk{{"LABEL=minglu-a", "minglu-a", "ext4", 1000204886016, ""}, {"UUID=bbbb", "", "ext4", 1000203837440, "/mnt/b"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if _, err := ParseDisks([]byte("{")); err == nil {
		t.Error("half an answer was taken")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("询问室\n1\n局\n\n")
	f.Add("y\nrtsp://a:b@c/d\n1 2\n0.0.0.0:1\nadmin\npassword 10\n\ny\n")
	f.Fuzz(func(t *testing.T, talk string) {
		i := &Interview{Found: found}
		for l := range strings.SplitSeq(talk, "\n") {
			_ = i.Answer(l)
		}
		if i.Question() == nil {
			if _, err := config.Parse("/etc/minglu/agent.yaml", i.A.Config("/var/lib/minglu")); err != nil {
				t.Errorf("the answers make a configuration that is refused: %v", err)
			}
		}
	})
}
