package minglu_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The rules of the house. Each ban carries its reason, so that a failure explains itself.

const pureWhy = "the pure packages must give the same answer anywhere, at any time: a verifier and a replay depend on it"

// pure names the packages that decide and never act.
var pure = []string{"agent/room", "agent/evidence", "agent/fmp4", "agent/standard", "agent/report"}

// living names the packages under agent that run; they meet only in main.
var living = []string{"capture", "record", "record/recovery", "ledger", "identity", "notary", "timeserver", "store", "keep", "archive", "mirror", "doctor", "setup", "export", "access", "live", "health", "uplink", "web", "guard", "inventory", "lists", "amend", "unrecorded"}

// thirdParty says which packages may import a module from outside, and why there.
var thirdParty = []struct {
	module string
	by     []string
	why    string
}{
	{"github.com/bluenviron/gortsplib/v5", []string{"drivers/rtsp", "sim/rtsprelay"}, "RTSP lives in one driver; the relay plays the camera's side in tests"},
	{"github.com/bluenviron/mediacommon/v2", []string{"drivers/rtsp", "drivers/annexb"}, "decoding order of what RTSP delivers; picture sizes in parameter sets"},
	{"github.com/pion/rtp", []string{"drivers/rtsp", "sim/rtsprelay", "agent/live"}, "comes with gortsplib and with WebRTC"},
	{"github.com/pion/rtcp", []string{"drivers/rtsp", "sim/rtsprelay", "agent/live"}, "comes with gortsplib and with WebRTC"},
	{"github.com/pion/webrtc/v4", []string{"agent/live"}, "live pictures by WebRTC live in one package"},
	{"github.com/pion/ice/v4", []string{"agent/live"}, "one UDP socket for all viewers"},
	{"github.com/pion/dtls/v3", []string{"agent/live"}, "names the SRTP profiles to agree on"},
	{"github.com/pion/interceptor", []string{"agent/live"}, "retransmission for viewers"},
	{"github.com/pion/logging", []string{"agent/live"}, "what WebRTC logs goes to slog"},
	{"github.com/thesyncim/gopus", []string{"agent/capture"}, "sound is encoded once, in capture"},
	{"github.com/gen2brain/alsa", []string{"drivers/alsa"}, "sound cards, without C"},
	{"go.bug.st/serial", []string{"drivers/scanner", "drivers/modbus"}, "serial lines"},
	{"modernc.org/sqlite", []string{"agent/store", "provisioning/fleet", "provisioning/backup"}, "the catalogue is the only database of the agent, the fleet that of the office; a backup copies it through SQLite itself"},
	{"github.com/mochi-mqtt/server/v2", []string{"provisioning/broker"}, "the office's broker is fenced in one package"},
	{"golang.org/x/mod", []string{"agent/evidence"}, "tree proofs and notes of the evidence format"},
	{"github.com/emmansun/gmsm", []string{"agent/evidence", "agent/record", "agent/record/recovery", "provisioning/ca", "agent/identity"}, "SM3 digests of segments, SM2 signatures beside ours"},
	{"github.com/digitorus/pkcs7", []string{"agent/evidence"}, "the signature inside RFC 3161 tokens"},
	{"github.com/eclipse/paho.mqtt.golang", []string{"agent/uplink", "provisioning/bridge"}, "MQTT is fenced in: the library loses, reorders and hangs"},
	{"github.com/google/go-tpm", []string{"agent/identity"}, "the device key may live in a TPM 2.0"},
	{"github.com/goccy/go-yaml", []string{"agent/config", "agent/standard", "provisioning/config", "boards"}, "configuration is read in one place of a program; a profile and a board are YAML files of their own"},
	{"github.com/alecthomas/kong", []string{"agent", "provisioning", "sim"}, "command lines belong to main"},
	{"github.com/facebook/time", []string{"agent/clock"}, "chrony's protocol"},
	{"github.com/xuri/excelize/v2", []string{"provisioning/registry", "provisioning/annual"}, "people keep their lists in spreadsheets, and take the year out as one"},
	{"golang.org/x/text", []string{"provisioning/registry"}, "spreadsheets in China save CSV in GB 18030"},
	{"golang.org/x/crypto", []string{"agent/access", "provisioning/users"}, "password hashing"},
	{"github.com/digitorus/timestamp", []string{"sim/tsa"}, "a time-stamping authority for tests; the product reads and asks for tokens with its own code"},
	{"golang.org/x/sys", []string{"agent/clock", "agent/durable", "agent", "agent/live", "drivers/gpioline", "drivers/i2cbus", "drivers/rtsp", "drivers/alsa", "drivers/scanner", "drivers/modbus", "drivers/driverstest", "drivers/v4l2", "sim/scenario", "provisioning", "drivers/watchdog", "drivers/rtc"}, "system calls; what the CPU can"},
	{"golang.org/x/image", []string{"drivers/overlay"}, "outlines of characters become pixels; the standard library reads no font"},
	{"golang.org/x/sync", []string{"agent", "agent/capture", "provisioning", "provisioning/witness"}, "errgroup, where something is started and awaited"},
	{"periph.io/x/conn/v3", []string{"agent", "drivers/gpioline", "drivers/input", "drivers/lamp", "drivers/i2cbus", "drivers/climate", "drivers/tmp117", "drivers/rtc", "drivers/power", "drivers/buzzer"}, "pins, buses and units that other people's drivers speak too"},
	{"github.com/minio/minio-go/v7", []string{"agent/archive"}, "the S3 protocol: signatures, parts and the errors of many stores"},
	{"github.com/johannesboyne/gofakes3", []string{"agent/archive"}, "a store for tests, in the process"},
	{"golang.org/x/net", []string{"agent/archive"}, "a WebDAV server for tests"},
	{"github.com/skip2/go-qrcode", []string{"agent/web"}, "the digest on the session sheet as a QR code"},
	{"github.com/prometheus/client_golang", []string{"agent/web"}, "/metrics in the text format collectors read"},
}

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	TestImports,
	XTestImports []string
}

func packages(t *testing.T, flags ...string) []pkg {
	t.Helper()
	args := append([]string{"list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports"}, append(flags, "./...")...)
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ps []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

func short(importPath string) string { return strings.TrimPrefix(importPath, "minglu/") }

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := short(p.ImportPath)
		for _, imp := range p.Imports {
			if why := banned(name, imp); why != "" {
				t.Errorf("%s must not import %s: %s", name, imp, why)
			}
		}
	}
}

func banned(name, imp string) string {
	local := strings.HasPrefix(imp, "minglu/")
	other := short(imp)
	switch {
	case slices.Contains(pure, name):
		switch {
		case slices.Contains([]string{"os", "net", "net/http", "os/exec", "syscall", "log", "log/slog", "math/rand", "crypto/rand"}, imp):
			return pureWhy
		case local && !slices.Contains(pure, other):
			return pureWhy
		}
	case name == "agent/clock" || name == "agent/durable" || name == "agent/config":
		if local && !(name == "agent/clock" && other == "agent/durable") {
			return "leaves stand on the standard library alone, so that everything may stand on them"
		}
	case name == "boards":
		if local {
			return "facts about boards are data: they know no driver and no program"
		}
	case name == "drivers":
		if local {
			return "the vocabulary of devices knows no device"
		}
	case strings.HasPrefix(name, "drivers/"):
		if local && other != "drivers" && other != "drivers/pcm" && other != "drivers/annexb" && other != "drivers/overlay" && !strings.HasPrefix(other, name+"/") {
			return "a driver is a library others can import: it knows its own kind only"
		}
	case strings.HasPrefix(name, "agent/") && slices.Contains(living, strings.TrimPrefix(name, "agent/")):
		if other == "agent/config" {
			return "configuration stops at main; take Options"
		}
		if local && strings.HasPrefix(other, "agent/") && slices.Contains(living, strings.TrimPrefix(other, "agent/")) && !strings.HasPrefix(name, other+"/") {
			return "living packages meet in main; declare the interface you need"
		}
		if local && strings.HasPrefix(other, "drivers/") {
			return "only main knows which device is behind an interface"
		}
	}
	if strings.HasPrefix(name, "provisioning") && local && !strings.HasPrefix(other, "provisioning/") && !slices.Contains(pure, other) && other != "agent/clock" && other != "agent/durable" {
		return "the office shares with the agent what is pure, the clock and durable files: it must build and run without the rest"
	}
	if local && strings.HasPrefix(other, "sim") && !strings.HasPrefix(name, "sim") {
		return "the product does not depend on its simulation"
	}
	if !local && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
		for _, tp := range thirdParty {
			if imp == tp.module || strings.HasPrefix(imp, tp.module+"/") {
				if !slices.Contains(tp.by, name) {
					return tp.module + " is for " + strings.Join(tp.by, ", ") + " (" + tp.why + ")"
				}
				return ""
			}
		}
		return "a module from outside needs a row with a reason in house_test.go"
	}
	return ""
}

// TestHILImports: the tests with the tag hil run in a guest of sim/hil, and play the other side of their devices
// by its packages. They know no more of the tree than the driver itself does.
func TestHILImports(t *testing.T) {
	plain := map[string][]string{}
	for _, p := range packages(t) {
		plain[p.ImportPath] = append(p.TestImports, p.XTestImports...)
	}
	for _, p := range packages(t, "-tags=hil") {
		name := short(p.ImportPath)
		for _, imp := range append(p.TestImports, p.XTestImports...) {
			switch lab := strings.HasPrefix(imp, "minglu/sim/hil"); {
			case lab && !strings.HasPrefix(name, "sim/") && slices.Contains(plain[p.ImportPath], imp):
				t.Errorf("tests of %s must not import %s without the tag hil: it needs a guest's kernel", name, imp)
			case lab && !strings.HasPrefix(name, "sim/") && !strings.HasPrefix(name, "drivers/"):
				t.Errorf("tests of %s must not import %s: only drivers are tested against kernel drivers", name, imp)
			case !lab && strings.HasPrefix(name, "drivers/") && !slices.Contains(plain[p.ImportPath], imp) && banned(name, imp) != "":
				t.Errorf("hil tests of %s must not import %s: %s", name, imp, banned(name, imp))
			}
		}
	}
	run(t, nil, "go", "vet", "-tags=hil", "./drivers/...", "./sim/hil/...")
}

// TestThirdPartyRowsAreUsed: a right nobody uses is a hole in the table.
func TestThirdPartyRowsAreUsed(t *testing.T) {
	used := map[string]bool{}
	for _, p := range packages(t, "-tags=hil") {
		for _, imp := range append(append(p.Imports, p.TestImports...), p.XTestImports...) {
			for _, tp := range thirdParty {
				if imp == tp.module || strings.HasPrefix(imp, tp.module+"/") {
					used[tp.module+" in "+short(p.ImportPath)] = true
				}
			}
		}
	}
	for _, tp := range thirdParty {
		for _, by := range tp.by {
			if !used[tp.module+" in "+by] {
				t.Errorf("%s does not import %s: take it out of the table", by, tp.module)
			}
		}
	}
}

func TestEachPackageHasOneComment(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		for _, f := range p.GoFiles {
			ast, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if ast.Doc != nil {
				with = append(with, f)
			}
		}
		if len(p.GoFiles) > 0 && len(with) != 1 {
			t.Errorf("%s: want exactly one package comment, found %d %v", short(p.ImportPath), len(with), with)
		}
	}
}

// noDevice are packages below drivers that drive nothing by themselves, and why.
var noDevice = map[string]string{"annexb": "a byte format", "pcm": "a sound format", "driverstest": "tests", "sim": "twins, started by a configuration"}

// TestEachDriverHasAnExample: who imports a driver sees how.
func TestEachDriverHasAnExample(t *testing.T) {
	dirs, err := os.ReadDir("drivers")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !d.IsDir() || noDevice[d.Name()] != "" {
			continue
		}
		tests, err := filepath.Glob(filepath.Join("drivers", d.Name(), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(tests, func(f string) bool {
			b, err := os.ReadFile(f)
			return err == nil && strings.Contains(string(b), "\nfunc Example")
		}) {
			t.Errorf("drivers/%s has no example", d.Name())
		}
	}
}

func TestGofmt(t *testing.T) {
	out, err := exec.Command("gofmt", "-l", ".").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("gofmt -w these: %s %v", out, err)
	}
}

func TestVet(t *testing.T) { run(t, nil, "go", "vet", "./...") }

func TestStaticcheck(t *testing.T) {
	if testing.Short() {
		t.Log("make lint runs staticcheck")
		return
	}
	run(t, nil, "go", "tool", "staticcheck", "./...")
}

// TestCross builds all programs for each kind of board, without C.
func TestCross(t *testing.T) {
	if testing.Short() {
		t.Log("make cross builds for all boards")
		return
	}
	for _, target := range [][]string{{"GOARCH=arm64"}, {"GOARCH=arm", "GOARM=7"}, {"GOARCH=amd64"}} {
		run(t, append(target, "GOOS=linux", "CGO_ENABLED=0"), "go", "build", "-o", t.TempDir()+"/", "./agent", "./provisioning", "./sim")
	}
}

func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", strings.Join(env, " "), strings.Join(c.Args, " "), err, out)
	}
}

// TestNothingIsSkipped: a test that can skip proves nothing on the machine where it matters.
func TestNothingIsSkipped(t *testing.T) {
	walk(t, func(path, text string) {
		for i, line := range strings.Split(text, "\n") {
			if strings.HasSuffix(path, "_test.go") && path != "house_test.go" && (strings.Contains(line, ".Skip(") || strings.Contains(line, ".Skipf(") || strings.Contains(line, ".SkipNow(")) {
				t.Errorf("%s:%d: a skipped test is no test; install what it needs (make test does) or take it out", path, i+1)
			}
		}
	})
}

// TestFilesHaveOneSubject: look twice at a long file, and say here why it may be long.
func TestFilesHaveOneSubject(t *testing.T) {
	long := map[string]string{}
	walk(t, func(path, text string) {
		if n := strings.Count(text, "\n"); n > 500 && !strings.HasSuffix(path, "_test.go") && long[path] == "" {
			t.Errorf("%s has %d lines: split it by subject, or give the reason in this test", path, n)
		}
	})
}

func walk(t *testing.T, visit func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			if d != nil && d.IsDir() && slices.Contains([]string{".git", "node_modules", "var", "out", "bin"}, d.Name()) {
				return filepath.SkipDir
			}
			return err
		}
		b, err := os.ReadFile(path)
		visit(filepath.ToSlash(path), string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
