package scenario

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"minglu/agent/evidence"
)

// Line is what tests read of one line of a log; fields that its type does not have are zero.
type Line struct {
	Type, Ch, Code, Cause, Reason string
	Seg, N, Off, Len              int64
	Head                          string
	Body                          any // a digest in fragment lines
	From, To, At, Step, Epoch     int64
	Size                          int64
	Samples                       []int64 // per track
}

// Lines reads the whole lines of a log file.
func Lines(t testing.TB, log []byte) []Line {
	t.Helper()
	var all []Line
	for l := range bytes.Lines(log) {
		if !bytes.HasSuffix(l, []byte("\n")) {
			break // torn
		}
		var v Line
		if err := json.Unmarshal(l, &v); err != nil {
			t.Fatalf("log line %d: %v", len(all), err)
		}
		all = append(all, v)
	}
	return all
}

// Signed returns the part of a log that its last sign line covers, that line included; nil if there is none.
func Signed(log []byte) []byte {
	log = log[:bytes.LastIndexByte(log, '\n')+1]
	for len(log) > 0 {
		begin := bytes.LastIndexByte(log[:len(log)-1], '\n') + 1
		if bytes.Contains(log[begin:], []byte(`"type":"sign"`)) {
			return log
		}
		log = log[:begin]
	}
	return nil
}

// CheckFragments holds the media of a session folder against the fragment lines of a log, without any
// code of the product but its names of the fields.
func CheckFragments(folder string, lines []Line) (n int, err error) {
	for i, l := range lines {
		if l.Type != "fragment" {
			continue
		}
		name := filepath.Join(folder, fmt.Sprintf("%s-%05d.mp4", l.Ch, l.Seg))
		f, err := os.Open(name)
		if err != nil {
			return n, fmt.Errorf("line %d: %w", i, err)
		}
		b := make([]byte, l.Len)
		_, err = f.ReadAt(b, l.Off)
		f.Close()
		if err != nil {
			return n, fmt.Errorf("line %d: %s at %d, %d bytes: %w", i, name, l.Off, l.Len, err)
		}
		moof := min(int64(binary.BigEndian.Uint32(b)), l.Len)
		if sum(b[:moof]) != l.Head || sum(b[moof:]) != l.Body {
			return n, fmt.Errorf("line %d: %s at %d: not the bytes that were signed", i, name, l.Off)
		}
		n++
	}
	return n, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// VerifyJSON runs "minglu-agent verify --json" and returns what it found.
func (l *Lab) VerifyJSON(t testing.TB, args ...string) evidence.Result {
	t.Helper()
	cmd := exec.Command(l.Agent, append([]string{"verify", "--json"}, args...)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var r evidence.Result
	if e := json.Unmarshal(out, &r); e != nil {
		t.Fatalf("verify --json %q: %v, %v: %s%s", args, err, e, out, complaint.String())
	}
	if code := cmd.ProcessState.ExitCode(); code != r.Exit {
		t.Errorf("verify exits %d and says %d", code, r.Exit)
	}
	return r
}

// Text is a result as a test shows it.
func Text(r evidence.Result) string {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// figure prints one measured value, in the log of the test and where a script finds it.
func figure(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format, args...)
	fmt.Printf("figure: "+format+"\n", args...)
}
