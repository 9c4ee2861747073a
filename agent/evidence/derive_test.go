package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// lineLog builds a log by hand; t is 1000 s and a second more with each line.
type lineLog struct {
	t    *testing.T
	tree Tree
	data bytes.Buffer
}

func (l *lineLog) add(vs ...any) *lineLog {
	l.t.Helper()
	for _, v := range vs {
		p := reflect.New(reflect.TypeOf(v))
		p.Elem().Set(reflect.ValueOf(v))
		if f := p.Elem().FieldByName("Common"); f.IsValid() {
			c := f.Addr().Interface().(*Common)
			if c.Type == "" {
				c.Type = TypeOf(v)
			}
			c.Seq, c.T, c.TE, c.Up = l.tree.Size(), 1_000_000_000+1_000_000*l.tree.Size(), 7, l.tree.Size()
			if c.Type != "fragment" {
				c.Salt = strings.Repeat("5", 32)
			}
		}
		line, err := MarshalLine(p.Interface())
		if err != nil {
			l.t.Fatal(err)
		}
		l.tree.Append(line)
		l.data.Write(append(line, '\n'))
	}
	return l
}

func (l *lineLog) sign(origin string) *lineLog {
	l.t.Helper()
	line, err := testSigner(l.t, 1).SignLine(origin, &l.tree)
	if err != nil {
		l.t.Fatal(err)
	}
	l.tree.Append(line)
	l.data.Write(append(line, '\n'))
	return l
}

func pause(typ string, at int64, reason string) Pause {
	return Pause{Common: Common{Type: typ}, At: at, Reason: reason, Who: "王"}
}

func frag(ch string, seg, n int64) Fragment {
	return Fragment{Ch: ch, Seg: seg, N: n, From: n * 500_000, To: (n + 1) * 500_000, Samples: []int64{12}}
}

var (
	testOpen = Open{
		V: 1, Session: "20260101T000000Z-00112233", Origin: testOrigin + "/20260101T000000Z-00112233", Device: Device{ID: "d", Name: "room-3"},
		Body: Body{Name: "b"}, Trigger: "button", Ledger: LedgerRef{testOrigin, 3, "r3"}, Disks: []string{"a", "b"}, Src: "unverified",
	}
	openFace  = SegmentOpen{Ch: "face", Seg: 1, File: "face-00001.mp4", Init: "i", InitLen: 9, Reserve: 8, Codec: []string{"avc1.640028", "opus"}, Camera: "ACME"}
	openFace2 = SegmentOpen{Ch: "face", Seg: 2, File: "face-00002.mp4", Init: "i", InitLen: 9, Reserve: 8, Codec: []string{"avc1.64001f", "opus"}, Camera: "ACME"}
	openVoice = SegmentOpen{Ch: "voice", Seg: 1, File: "voice-00001.mp4", Codec: []string{"opus"}}
	certFiles = []FileDigest{{"device.pem", "c"}}
)

func TestDeriveManifest(t *testing.T) {
	log := (&lineLog{t: t}).add(testOpen, openFace, frag("face", 1, 0), Details{Case: "old"}).sign(testOpen.Origin).
		add(Clock{Epoch: 1, At: 0, Src: "chrony"}, openVoice, frag("voice", 1, 0), frag("face", 1, 1), Mark{At: 5, Text: "质证"}).
		add(Details{Case: "2026-1", Matter: "m", Officers: []Officer{{"王", "1"}}, Flags: []string{"drill"}}).
		add(Event{Common: Common{Type: "new"}}).
		add(SegmentClose{Ch: "face", Seg: 1, Size: 100, SHA256: "f1", SM3: "s1"}, openFace2, frag("face", 2, 2)).
		add(pause("pause", 1_500_000, "adjourned"), pause("resume", 2_000_000, ""), Gap{Ch: "face", From: 1, To: 2, Cause: "lost"}).
		add(Anchor{Size: 9, Root: "r9", Token: "tok"}, Anchor{Size: 11, Root: "r11", Cosig: "cos"}).
		add(pause("pause", 3_000_000, "meal"), SegmentClose{Ch: "face", Seg: 2, Size: 200, SHA256: "f2"}, SegmentClose{Ch: "voice", Seg: 1, Size: 50, SHA256: "v1"}).
		add(Close{At: 4_000_000, Reason: "stop"}, Seal{}).sign(testOpen.Origin)
	m, err := DeriveManifest([]LogFile{{"log.jsonl", log.data.Bytes()}}, certFiles)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(log.data.Bytes())
	want := &Manifest{
		Type: "manifest", V: 1, Session: testOpen.Session, Origin: testOpen.Origin, Device: testOpen.Device, Body: testOpen.Body, Case: "2026-1", Matter: "m",
		Flags: []string{"drill"}, Officers: []Officer{{"王", "1"}}, Trigger: "button", Reason: "stop",
		Opened: Moment{1_000_000_000, 7, "unverified"}, Closed: Moment{1_023_000_000, 7, "chrony"},
		Channels: []ManifestChannel{
			{ID: "face", Kind: "camera", Codec: []string{"avc1.640028", "opus", "avc1.64001f"}, Identity: "ACME", Segments: []ManifestSegment{
				{1, "face-00001.mp4", 100, "f1", "s1", "i", 9, 8, 2, 0, 1_000_000},
				{2, "face-00002.mp4", 200, "f2", "", "i", 9, 8, 1, 1_000_000, 1_500_000},
			}},
			{ID: "voice", Kind: "microphone", Codec: []string{"opus"}, Segments: []ManifestSegment{{1, "voice-00001.mp4", 50, "v1", "", "", 0, 0, 1, 0, 500_000}}},
		},
		Breaks: []Break{{1_500_000, 2_000_000, "adjourned", "王"}, {3_000_000, 4_000_000, "meal", "王"}},
		Gaps:   []GapSpan{{"face", 1, 2, "lost"}}, Marks: []MarkPoint{{At: 5, Text: "质证"}},
		Clock:  []ClockPoint{{1, 0, 1_005_000_000, 7, "chrony"}},
		Logs:   []LogDigest{{"log.jsonl", testOpen.Origin, log.tree.Size(), log.tree.Root().String(), int64(log.data.Len()), hex.EncodeToString(sum[:])}},
		Ledger: LedgerRef{testOrigin, 11, "r11"}, Tokens: []TokenDigest{{9, "tok"}}, Certs: certFiles, Disks: DiskSets{Present: []string{"a", "b"}},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	checkManifestBytes(t, m)
}

func checkManifestBytes(t *testing.T, m *Manifest) {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	if b2, err := again.Marshal(); err != nil || !bytes.Equal(b, b2) || bytes.Contains(b, []byte("null")) {
		t.Errorf("manifest %s is read and written as %s, %v", b, b2, err)
	}
	if _, err := ParseManifest(append(b, '\n')); err == nil {
		t.Error("a line feed after the manifest is accepted")
	}
	if _, err := ParseManifest(bytes.Replace(b, []byte(`{"aside"`), []byte(`{"a":1,"aside"`), 1)); err == nil {
		t.Error("an unknown field is accepted")
	}
}

func TestDeriveManifestAfterPowerCut(t *testing.T) {
	log := (&lineLog{t: t}).add(testOpen, openFace, openVoice, frag("face", 1, 0), Clock{Src: "chrony"}, pause("pause", 500_000, "meal")).sign(testOpen.Origin)
	recovered := frag("face", 1, 1)
	recovered.Type = "recovered"
	rec := (&lineLog{t: t}).add(Recovery{Of: testOpen.Origin, Size: 5, Present: []string{"a"}, Absent: []string{"b"}, Cause: "power lost", Src: "kernel"}).
		add(recovered, Aside{File: "aside/x", Why: "torn"}, Gap{Ch: "face", From: 1_000_000, To: 9_000_000, Cause: "power lost"}).
		add(SegmentClose{Ch: "face", Seg: 1, Size: 7, SHA256: "f"}, Close{At: 9_000_000, Reason: "power lost"}, Seal{}).sign(testOpen.Origin + "/r1")
	m, err := DeriveManifest([]LogFile{{"log.jsonl", log.data.Bytes()}, {"recovery-1.jsonl", rec.data.Bytes()}}, certFiles)
	if err != nil {
		t.Fatal(err)
	}
	if s := m.Channels[0].Segments[0]; s.Fragments != 2 || s.To != 1_000_000 || s.SHA256 != "f" {
		t.Errorf("segment is %+v", s)
	}
	if s := m.Channels[1].Segments[0]; s.Size != 0 || s.SHA256 != "" || s.Fragments != 0 {
		t.Errorf("segment nobody closed is %+v", s)
	}
	if m.Reason != "power lost" || m.Closed != (Moment{1_005_000_000, 7, "kernel"}) || m.Logs[1].Origin != testOpen.Origin+"/r1" ||
		!reflect.DeepEqual(m.Breaks, []Break{{500_000, 9_000_000, "meal", "王"}}) || !reflect.DeepEqual(m.Aside, []AsideFile{{"aside/x", 0, "", "torn"}}) ||
		!reflect.DeepEqual(m.Disks, DiskSets{[]string{"a"}, []string{"b"}}) {
		t.Errorf("manifest is %+v", m)
	}
	checkManifestBytes(t, m)
}

func TestDeriveManifestRefuses(t *testing.T) {
	file := func(l *lineLog) []LogFile { return []LogFile{{"log.jsonl", l.data.Bytes()}} }
	for _, tt := range []struct {
		rule string
		logs []LogFile
		want string
	}{
		{"no log", nil, "no close line"},
		{"a session that has not ended", file((&lineLog{t: t}).add(testOpen)), "no close line"},
		{"another first line", file((&lineLog{t: t}).add(Seal{})), `log.jsonl: line 0: first line is "seal"`},
		{"a recovery file alone", []LogFile{{"recovery-1.jsonl", nil}}, "log.jsonl comes first"},
		{"a log twice", append(file((&lineLog{t: t}).add(testOpen)), LogFile{"log.jsonl", nil}), "log.jsonl comes first"},
		{"open in a recovery file", append(file((&lineLog{t: t}).add(testOpen)), LogFile{"recovery-1.jsonl", (&lineLog{t: t}).add(testOpen).data.Bytes()}), "recovery-1.jsonl: line 0"},
		{"a fragment of no segment", file((&lineLog{t: t}).add(testOpen, frag("face", 1, 0))), `line 1: segment 1 of "face" was never opened`},
		{"a pause in a pause", file((&lineLog{t: t}).add(testOpen, pause("pause", 0, ""), pause("pause", 1, ""))), "line 2: pause does not follow"},
		{"a resume alone", file((&lineLog{t: t}).add(testOpen, pause("resume", 0, ""))), "line 1: resume does not follow"},
		{"a torn line", []LogFile{{"log.jsonl", []byte("{}")}}, "2 bytes after the last line"},
		{"a line that is not canonical", []LogFile{{"log.jsonl", []byte("{ }\n")}}, "line 0: not canonical"},
		{"a field missing", []LogFile{{"log.jsonl", bytes.ReplaceAll((&lineLog{t: t}).add(testOpen).data.Bytes(), []byte(`"cycle_ms":0,`), nil)}}, `open: field "cycle_ms" is missing`},
	} {
		if _, err := DeriveManifest(tt.logs, nil); err == nil || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: %v, want %s", tt.rule, err, tt.want)
		}
	}
}
