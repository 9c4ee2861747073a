package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/token"
)

var update = flag.Bool("update", false, "rewrite testdata/errors.golden")

const minimal = `device: {name: room-3, room: 询问室三}
board: sim
channels:
  - {id: face, camera: {sim: {}}}
storage: {disks: [a]}
`

// swap replaces one line (by its beginning) of the minimal file.
func swap(begin, line string) string {
	var out []string
	for _, l := range strings.Split(minimal, "\n") {
		if strings.HasPrefix(l, begin) {
			l = line
		}
		out = append(out, l)
	}
	return strings.Join(out, "\n")
}

// errorCases are files with something wrong. What is said of each stands in testdata/errors.golden.
var errorCases = []struct{ rule, file string }{
	{"unknown key at the top", minimal + "chanels: []\n"},
	{"unknown key inside", swap("storage", "storage: {disks: [a], prerol: 10s}")},
	{"unknown key without a likeness", swap("storage", "storage: {disks: [a], colour: red}")},
	{"unknown key where there are none", swap("  - ", "  - {id: face, camera: {sim: {}}}\n  - {id: voice, microphone: {sim: {gain: 3}}}")},
	{"a key in capitals is another key", minimal + "Web: {}\n"},
	{"the same key twice", minimal + "board: auto\n"},
	{"duplicate channel id", swap("  - ", "  - {id: face, camera: {sim: {}}}\n  - {id: face, microphone: {sim: {}}}")},
	{"channel id with a capital", swap("  - ", "  - {id: Face, camera: {sim: {}}}")},
	{"channel id too long", swap("  - ", "  - {id: a23456789012345678901234567890123, camera: {sim: {}}}")},
	{"channel id missing", swap("  - ", "  - {camera: {sim: {}}}")},
	{"channel with neither", swap("  - ", "  - {id: face}")},
	{"channel with both", swap("  - ", "  - {id: face, camera: {sim: {}}, microphone: {sim: {}}}")},
	{"camera that is none", swap("  - ", "  - {id: face, camera: {}}")},
	{"camera that is two", swap("  - ", `  - {id: face, camera: {sim: {}, rtsp: "rtsp://h/1"}}`)},
	{"no channels", "device: {name: room-3, room: r}\nstorage: {disks: [a]}\n"},
	{"empty channels", swap("  - ", "  []")},
	{"rtsp address of another kind, its password unsaid", swap("  - ", `  - {id: face, camera: {rtsp: "http://u:hunter2@h/1"}}`)},
	{"rtsp address that does not parse, its password unsaid", swap("  - ", `  - {id: face, camera: {rtsp: "rtsp://u:hunter2%@h/1"}}`)},
	{"rtsp address left empty", swap("  - ", `  - {id: face, camera: {rtsp: ""}}`)},
	{"simulated camera too small", swap("  - ", "  - {id: face, camera: {sim: {width: 640, height: 361, fps: 1000}}}")},
	{"simulated device in a real room", swap("board", "board: auto")},
	{"fragment too long", swap("storage", "storage: {disks: [a], fragment: 501ms}")},
	{"fragment too short", swap("storage", "storage: {disks: [a], fragment: 10ms}")},
	{"cycle too short", swap("storage", "storage: {disks: [a], cycle: 100ms}")},
	{"cycle too long", swap("storage", "storage: {disks: [a], cycle: 3s}")},
	{"cycle that is none", swap("storage", "storage: {disks: [a], cycle: fast}")},
	{"zero is not left out", swap("storage", "storage: {disks: [a], fragment: 0}")},
	{"negative duration", swap("storage", "storage: {disks: [a], preroll: -1s}")},
	{"duration without unit", swap("storage", "storage: {disks: [a], segment: 300}")},
	{"duration with a strange unit", swap("storage", "storage: {disks: [a], segment: 5 min}")},
	{"duration that is a list", swap("storage", "storage: {disks: [a], segment: [5m]}")},
	{"no disks", swap("storage", "storage: {}")},
	{"three disks", swap("storage", "storage: {disks: [a, b, c]}")},
	{"the same disk twice", swap("storage", "storage: {disks: [a, ./a/]}")},
	{"a disk inside another", swap("storage", "storage: {disks: [a, a/b]}")},
	{"an empty disk", swap("storage", `storage: {disks: [""]}`)},
	{"state inside a disk", minimal + "state: a/state\n"},
	{"state is a disk", minimal + "state: a\n"},
	{"a text instead of a list", swap("storage", "storage: {disks: a}")},
	{"a list instead of keys", swap("storage", "storage: [a]")},
	{"a list instead of a text", minimal + "state: [a]\n"},
	{"a text instead of a number", swap("  - ", "  - {id: face, camera: {sim: {fps: fast}}}")},
	{"a number far too large", swap("  - ", "  - {id: face, camera: {sim: {fps: 99999999999999999999}}}")},
	{"device name with a blank", swap("device", "device: {name: room 3, room: r}")},
	{"device without name and room", swap("device", "device: {}")},
	{"unknown kind of room", swap("device", "device: {name: r, room: r, kind: kitchen}")},
	{"body's code too short", minimal + "body: {name: b, uscc: 123}\n"},
	{"auth none in a real room", "device: {name: r, room: r}\nchannels: [{id: a, microphone: {alsa: 'hw:0,0'}}]\nstorage: {disks: [a]}\nweb: {auth: none}\n"},
	{"auth none beyond loopback", minimal + "web: {auth: none, listen: \"0.0.0.0:8080\", tls: {cert: c, key: k}}\n"},
	{"unknown auth", minimal + "web: {auth: maybe}\n"},
	{"listen to all without tls", minimal + "web: {listen: \":8080\"}\n"},
	{"listen without port", minimal + "web: {listen: 127.0.0.1}\n"},
	{"listen on a port there is not", minimal + "web: {listen: \"127.0.0.1:70000\"}\n"},
	{"tls without key", minimal + "web: {tls: {cert: c}}\n"},
	{"start by what is not there", minimal + "room: {start: [door, bell]}\n"},
	{"limits that cross", minimal + "room: {limit: 10m, limit_warn: 10m}\n"},
	{"a lamp that is none", minimal + "lamp: {}\n"},
	{"a lamp both real and simulated", minimal + "lamp: {sim: {}, gpio: {line: GPIO17}}\n"},
	{"lights that make no lamp", minimal + "lamp: {gpio: {red: A, blue: B}}\n"},
	{"two lights on one line", minimal + "lamp: {gpio: {red: A, amber: B, green: A}}\n"},
	{"a light by number without chip", minimal + "lamp: {gpio: {line: 17}}\n"},
	{"an input without line, bias and debounce of another kind", minimal + "inputs: {door: {gpio: {chip: c, bias: up, debounce: 5s}}}\n"},
	{"a thermometer without bus, at another address", minimal + "thermometer: {i2c: {address: 0x76}}\n"},
	{"a thermometer there is no driver for", minimal + "thermometer: {i2c: {bus: /dev/i2c-1, chip: bme280}}\n"},
	{"a battery nothing is known of", minimal + "power: {i2c: {bus: /dev/i2c-1}, seal_at: 1s}\n"},
	{"a battery full when empty", minimal + "power: {i2c: {bus: b}, shunt_mohm: 10, battery: {full_mv: 9000, empty_mv: 9000, capacity_mah: 5000}}\n"},
	{"a clock that is none", minimal + "rtc:\n"},
	{"a clock at another address", minimal + "rtc: {i2c: {bus: b, address: \"0x57\"}}\n"},
	{"a watchdog that is no device, fed too seldom", minimal + "watchdog: {device: dog, timeout: 1h}\n"},
	{"mqtt of another kind", minimal + "mqtt: {url: \"ftp://u:hunter2@x\"}\n"},
	{"time-stamp service without host", minimal + "timestamp: {urls: [\"http:///x\"]}\n"},
	{"tokens through an office there is none of", minimal + "timestamp: {via: office}\n"},
	{"the office chooses, and services of our own", minimal + "mqtt: {url: \"mqtts://o\"}\ntimestamp: {via: office, urls: [\"http://t/\"]}\n"},
	{"tokens by another way", minimal + "timestamp: {via: pigeon, urls: [\"http://t/\"]}\n"},
	{"tokens from nowhere", minimal + "timestamp: {via: direct}\n"},
	{"a witness by another scheme", minimal + "witness: {urls: [\"ftp://w\"]}\n"},
	{"a time server without port", minimal + "ntp: {listen: 192.168.9.1}\n"},
	{"a key without value", minimal + "state:\n"},
	{"a list entry without value", swap("storage", "storage:\n  disks:\n    - a\n    -")},
	{"not YAML", "device: {name: [}\n"},
	{"tab for indentation", "device:\n\tname: r\n"},
	{"empty", ""},
	{"only a comment", "# nothing\n"},
	{"two documents", minimal + "---\n" + minimal},
	{"a word", "hello\n"},
	{"an alias", "device: &d {name: r, room: r}\nbody: *d\n"},
	{"a control character", minimal + "state: \"a\\u0007b\"\n"},
	{"nested too deep", strings.Repeat("[", 1000)},
	{"several at once, in order of place", "device: {name: R, room: r, colour: 1}\nchannels:\n  - {id: a, camera: {sim: {}}}\n  - {id: a, camera: {sim: {}}}\nstorage: {disks: [x, x], fragment: 1s}\nweb: {listen: nowhere}\n"},
}

func TestErrors(t *testing.T) {
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, tt := range errorCases {
		_, err := Parse("agent.yaml", []byte(tt.file))
		fmt.Fprintf(&b, "== %s\n%s\n", tt.rule, strings.ReplaceAll(fmt.Sprint(err), dir+"/", "DIR/"))
		var e *Error
		if !errors.As(err, &e) || len(e.Problems) == 0 {
			t.Errorf("%s: accepted, or the wrong type: %v", tt.rule, err)
			continue
		}
		for _, p := range e.Problems {
			if p.Zh == "" || p.En == "" {
				t.Errorf("%s: not in both languages: %+v", tt.rule, p)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a password: %v", tt.rule, err)
		}
	}
	golden := filepath.Join("testdata", "errors.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, exp := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(exp)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(exp) {
			w = exp[i]
		}
		if g != w {
			t.Fatalf("%s:%d:\n got %s\nwant %s\n(go test -run TestErrors -update rewrites it)", golden, i+1, g, w)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse("/etc/minglu/agent.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Device:   Device{Name: "room-3", Room: "询问室三", Kind: "interview"},
		State:    "/etc/minglu/state",
		Board:    "sim",
		Watchdog: Watchdog{Device: "auto", Timeout: Duration(time.Minute)},
		Overlay:  Overlay{Text: []string{"time", "place", "climate", "case"}, Font: "auto"},
		Channels: []Channel{{ID: "face", Name: "face", Camera: &Camera{Sim: &SimCamera{Width: 1280, Height: 720, FPS: 25}}}},
		Storage: Storage{Disks: []string{"/etc/minglu/a"}, Segment: Duration(5 * time.Minute), Fragment: Duration(500 * time.Millisecond), Cycle: "auto",
			Preroll: Duration(10 * time.Second), Postroll: Duration(3 * time.Second)},
		Room: Room{PresenceHold: Duration(5 * time.Second), PauseLimit: Duration(10 * time.Minute), EmptyAsk: Duration(10 * time.Minute),
			EmptyStop: Duration(5 * time.Minute), NoticeWithin: Duration(2 * time.Minute), Limit: Duration(8 * time.Hour),
			LimitWarn: Duration(30 * time.Minute), ResumeWithin: Duration(10 * time.Minute)},
		Web:  Web{Listen: "127.0.0.1:8080", Auth: "login"},
		Keep: Keep{Local: Duration(30 * 24 * time.Hour), FreeBelow: 20, MinMonths: 6},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("Parse() =\n%v\nwant\n%v", c, want)
	}
}

func TestAccepted(t *testing.T) {
	for rule, file := range map[string]string{
		"no preroll by rule of the body": swap("storage", "storage: {disks: [a], preroll: 0s}"),
		"zero without unit":              swap("storage", "storage: {disks: [a], preroll: 0}"),
		"two disks on one file system":   swap("storage", "storage: {disks: [a, b]}"),
		"a disk with a like name":        swap("storage", "storage: {disks: [state-disk]}"),
		"sim without braces":             swap("  - ", "  - {id: face, camera: {sim: }}"),
		"a room called 3":                swap("device", "device: {name: \"3\", room: 3}"),
		"localhost":                      minimal + "web: {listen: \"localhost:0\", auth: none}\n",
		"IPv6 loopback":                  minimal + "web: {listen: \"[::1]:80\"}\n",
		"all addresses with tls":         minimal + "web: {listen: \":8443\", tls: {cert: c, key: k}}\n",
		"a lamp on a line":               minimal + "lamp: {gpio: {line: GPIO17}}\n",
		"a lamp by number":               minimal + "lamp: {gpio: {chip: gpio0, line: 17}}\n",
		"a lamp of colours":              minimal + "lamp: {gpio: {red: A, green: B, blue: C}}\n",
		"a thermometer":                  minimal + "thermometer: {i2c: {bus: /dev/i2c-1}}\n",
		"no limit":                       minimal + "room: {limit: 0s, limit_warn: 30m}\n",
		"mqtt":                           minimal + "mqtt: {url: \"mqtts://office.example:8883\"}\n",
		"JSON is YAML too":               `{"device": {"name": "r", "room": "r"}, "board": "sim", "channels": [{"id": "a", "microphone": {"sim": {}}}], "storage": {"disks": ["a"]}}`,
	} {
		if _, err := Parse("agent.yaml", []byte(file)); err != nil {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

func TestExampleLoadsAndNamesEveryKey(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"disk-a", "disk-b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string]string{"agent.yaml": Example(), "web.crt": "", "web.key": "", "office.pem": "", "archive.pem": "", "notice.wav": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(filepath.Join(dir, "agent.yaml")); err != nil {
		t.Fatal(err)
	}
	d := decoder{file: "example", at: map[string]*token.Position{}, wrong: map[string]bool{}}
	d.parse([]byte(Example()), &Config{})
	for _, other := range []string{"#", "#|"} { // what a simulated room has not, and what stands in its place
		d.parse([]byte(realDevices(Example(), other)), &Config{})
		if _, err := Parse("agent.yaml", []byte(strings.Replace(minimal+realDevices(Example(), other), "board: sim", "board: generic", 1))); !onlySimulated(err) {
			t.Errorf("the example's real devices %s: %v", other, err)
		}
	}
	for _, key := range allKeys(reflect.TypeFor[Config](), "") {
		found := false
		for at := range d.at {
			found = found || plain(at) == key
		}
		if !found {
			t.Errorf("example.yaml does not show %s", key)
		}
	}
}

// realDevices are the lines of the example that begin with mark and no space: devices a simulated room has not.
func realDevices(example, mark string) string {
	var b strings.Builder
	for l := range strings.Lines(example) {
		if rest, is := strings.CutPrefix(l, mark); is && !strings.HasPrefix(rest, "|") && (!strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "  ")) {
			b.WriteString(rest)
		}
	}
	return b.String()
}

// onlySimulated says that nothing is wrong but the simulated camera of the minimal file.
func onlySimulated(err error) bool {
	var e *Error
	return errors.As(err, &e) && len(e.Problems) == 1 && e.Problems[0].Key == "channels[0].camera.sim"
}

// plain is a key path without indices.
func plain(key string) string {
	var b strings.Builder
	for _, part := range strings.Split(key, "[") {
		_, rest, in := strings.Cut(part, "]")
		if !in {
			rest = part
		}
		b.WriteString(rest)
	}
	return b.String()
}

func allKeys(t reflect.Type, key string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return []string{key}
	}
	keys := []string{}
	if key != "" {
		keys = append(keys, key)
	}
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if name == "" {
			panic("BUG: " + t.String() + "." + t.Field(i).Name + " has no key")
		}
		keys = append(keys, allKeys(t.Field(i).Type, strings.TrimPrefix(key+"."+name, "."))...)
	}
	return keys
}

func TestDemoLoads(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "盘 \"A\": #1")
	if err := os.Mkdir(a, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(file, Demo(DemoOptions{Listen: "127.0.0.1:0", Disks: []string{a}}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Sim() || c.Storage.Disks[0] != a || c.Web.Listen != "127.0.0.1:0" || len(c.Channels) != 3 || len(c.Room.Start) != 3 {
		t.Errorf("Load(Demo()) = %v", c)
	}
}

func TestLoadLooksAtTheFolders(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ rule, file, want string }{
		{"two folders", swap("storage", "storage: {disks: [a, b]}"), ""},
		{"a missing disk", swap("storage", "storage: {disks: [a, c]}"), `agent.yaml:5:22: storage.disks[1]: 目录 "DIR/c" 不存在；请挂载磁盘或创建目录 / no such directory "DIR/c": mount the disk or create the directory`},
		{"a disk that is a file", swap("storage", "storage: {disks: [file]}"), `"DIR/file" is no directory`},
		{"the same disk by another name", swap("storage", "storage: {disks: [a, link]}"), `"DIR/link" is the same folder`},
		{"state inside a disk by another name", minimal + "state: link/state\n", `agent.yaml:6:8: state: `},
		{"tls file missing", minimal + "web: {tls: {cert: file, key: k}}\n", `web.tls.key: 文件 "DIR/k" 不存在`},
		{"announcement missing", minimal + "speaker: {sim: {}, announcement: x.wav}\n", `speaker.announcement: 文件 "DIR/x.wav" 不存在`},
	} {
		file := filepath.Join(dir, "agent.yaml")
		if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file)
		if got := strings.ReplaceAll(fmt.Sprint(err), dir+"/", "DIR/"); (err == nil) != (tt.want == "") || !strings.Contains(strings.ReplaceAll(got, "DIR/agent.yaml", "agent.yaml"), tt.want) {
			t.Errorf("%s: %s; want %s", tt.rule, got, tt.want)
		}
	}
	// A disk that was here before and is away is no mistake in the file.
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state", DisksFile), []byte(`{"`+dir+`/c": "0123456789abcdef0123456789abcdef"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for disks, want := range map[string]bool{"[a, c]": true, "[c]": true, "[c, d]": false, "[a, d]": false} {
		if err := os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(swap("storage", "storage: {disks: "+disks+"}")), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(filepath.Join(dir, "agent.yaml")); (err == nil) != want || err != nil && (!strings.Contains(err.Error(), `/d" 不存在`) || strings.Contains(err.Error(), `/c" 不存在`)) {
			t.Errorf("disks %s, c is known: %v", disks, err)
		}
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("Load() of no file = %v", err)
	}
}

func TestSecretsStayInside(t *testing.T) {
	file := func(password string) []byte {
		return []byte(swap("  - ", `  - {id: face, camera: {rtsp: "rtsp://user:`+password+`@192.0.2.1:554/ch1?password=`+password+`&channel=2"}}`) + "mqtt: {url: \"mqtts://m:" + password + "@h:1\"}\n")
	}
	c, err := Parse("agent.yaml", file("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Channels[0].Camera.RTSP.Reveal(); got != "rtsp://user:hunter2@192.0.2.1:554/ch1?password=hunter2&channel=2" {
		t.Errorf("Reveal() = %q", got)
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{c.String(), fmt.Sprintf("%v %+v %#v %s", c.Channels[0].Camera, c.Channels[0].Camera, *c.Channels[0].Camera, c.MQTT), string(j), fmt.Sprint(c.MQTT.URL)} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("the password shows: %s", shown)
		}
	}
	if s := c.String(); !strings.Contains(s, "user:xxxxx@192.0.2.1") || !strings.Contains(s, "channel=2") {
		t.Errorf("too much is hidden: %s", s)
	}
	other, err := Parse("agent.yaml", file("other"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Digest() != other.Digest() {
		t.Error("the digest depends on a password")
	}
	if len(c.Digest()) != 64 {
		t.Errorf("Digest() = %q", c.Digest())
	}
}

func TestDigestIsOfTheSettingsNotTheText(t *testing.T) {
	digest := func(file string) string {
		c, err := Parse("agent.yaml", []byte(file))
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest()
	}
	if digest(minimal) != digest("# comment\n"+swap("storage", "storage: {segment: 300s, disks: [./a]}")) {
		t.Error("the digest depends on how it is written")
	}
	if digest(minimal) == digest(minimal+"room: {limit: 9h}\n") {
		t.Error("the digest does not depend on a setting")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add(Demo(DemoOptions{}))
	for _, tt := range errorCases {
		f.Add([]byte(tt.file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("agent.yaml", data)
		if err == nil {
			if c.Digest() == "" || len(c.Channels) == 0 {
				t.Error("accepted without channels")
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) || len(e.Problems) == 0 {
			t.Errorf("error of the wrong type: %v", err)
		}
	})
}

func TestSigningCycle(t *testing.T) {
	for _, c := range []struct {
		rule, cycle    string
		measured, want time.Duration
	}{
		{"nobody measured", "auto", 0, 500 * time.Millisecond},
		{"as measured", "auto", 1200 * time.Millisecond, 1200 * time.Millisecond},
		{"a measurement out of range counts for nothing", "auto", time.Minute, 500 * time.Millisecond},
		{"what is written down goes before what was measured", "1s", 2 * time.Second, time.Second},
	} {
		if got := (Storage{Cycle: c.cycle}).SigningCycle(c.measured); got != c.want {
			t.Errorf("%s: %s", c.rule, got)
		}
	}
}
