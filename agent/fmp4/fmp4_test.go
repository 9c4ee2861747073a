package fmp4

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
)

// Parameter sets as libx264 and libx265 wrote them: 322×182 at 25 pictures a second, cropped.
var (
	avcSPS = unhex("6764000dacd94150cf9e1000000300100000030320f14299 60")
	avcPPS = unhex("68ebecb22c")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return b
}

func tracks() []Track {
	return []Track{
		{ID: 1, Timescale: 90000, Codec: H264, SPS: avcSPS, PPS: avcPPS},
		{ID: 2, Timescale: 48000, Codec: Opus, SampleRate: 48000, Channels: 2},
		{ID: 3, Timescale: 16000, Codec: AAC, SampleRate: 16000, Channels: 1, AudioConfig: []byte{0x14, 0x08}},
		{ID: 7, Timescale: 8000, Codec: PCM, SampleRate: 8000, Channels: 1},
	}
}

func someRuns() []Run {
	return []Run{
		{Track: 1, Time: 1 << 40, Samples: []Sample{{3600, 7200, true, []byte("key")}, {3600, -3600, false, []byte("p")}}},
		{Track: 2, Time: 960, Samples: []Sample{{960, 0, true, []byte("opus one")}, {960, 0, true, []byte("opus two")}}},
	}
}

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func fragment(t testing.TB, runs []Run) []byte {
	t.Helper()
	b, _, err := AppendFragment(nil, 9, runs)
	return must(t, b, err)
}

func TestInitReadsAsWritten(t *testing.T) {
	b, err := Init(tracks())
	info, err := ParseInit(must(t, b, err))
	if err != nil {
		t.Fatal(err)
	}
	want := tracks()
	sps, err := ParseSPS(H264, avcSPS)
	if err != nil {
		t.Fatal(err)
	}
	want[0].Width, want[0].Height = sps.Width, sps.Height
	if !reflect.DeepEqual(info.Tracks, want) {
		t.Errorf("ParseInit(Init(t)) = %+v, want %+v", info.Tracks, want)
	}
	for i, codec := range []string{"avc1.64000D", "opus", "mp4a.40.2", "ipcm"} {
		if got := want[i].CodecString(); got != codec {
			t.Errorf("codec %q, want %q", got, codec)
		}
	}
}

func TestInitRefuses(t *testing.T) {
	for rule, f := range map[string]func(t *[]Track){
		"no track":                  func(t *[]Track) { *t = nil },
		"a track without id":        func(t *[]Track) { (*t)[0].ID = 0 },
		"an id twice":               func(t *[]Track) { (*t)[1].ID = 1 },
		"no timescale":              func(t *[]Track) { (*t)[1].Timescale = 0 },
		"no SPS":                    func(t *[]Track) { (*t)[0].SPS = nil },
		"PPS for SPS":               func(t *[]Track) { (*t)[0].SPS = avcPPS },
		"no PPS":                    func(t *[]Track) { (*t)[0].PPS = nil },
		"an unknown codec":          func(t *[]Track) { (*t)[0].Codec = "vp9" },
		"AAC without configuration": func(t *[]Track) { (*t)[2].AudioConfig = nil },
		"no channels":               func(t *[]Track) { (*t)[3].Channels = 0 },
	} {
		ts := tracks()
		f(&ts)
		if _, err := Init(ts); err == nil {
			t.Errorf("%s: accepted", rule)
		}
	}
}

func TestParseInitRefuses(t *testing.T) {
	b, err := Init(tracks())
	must(t, b, err)
	edit := func(find string, at int, with string) []byte {
		c := slices.Clone(b)
		i := bytes.Index(c, []byte(find))
		copy(c[i+at:], with)
		return c
	}
	for rule, c := range map[string][]byte{
		"nothing":                         nil,
		"bytes after moov":                append(slices.Clone(b), 0),
		"a missing byte":                  b[:len(b)-1],
		"more than the limit":             append(slices.Clone(b), make([]byte, MaxInit)...),
		"moof for moov":                   edit("moov", 0, "moof"),
		"an edit list":                    edit("tkhd", 0, "edts"),
		"a size to the end of the file":   edit("moov", -4, "\x00\x00\x00\x00"),
		"a 64-bit size":                   edit("moov", -4, "\x00\x00\x00\x01"),
		"data in another file":            edit("url ", 7, "\x00"),
		"samples in moov":                 edit("stts", 11, "\x01"),
		"two sample descriptions":         edit("stsd", 11, "\x02"),
		"a trex of another track":         edit("trex", 11, "\x05"),
		"a zero timescale":                edit("mdhd", 16, "\x00\x00\x00\x00"),
		"a codec it does not know":        edit("avc1", 0, "av01"),
		"NAL lengths of two bytes":        edit("avcC", 8, "\xfd"),
		"another Opus mapping":            edit("dOps", 14, "\x01"),
		"big endian PCM":                  edit("pcmC", 8, "\x00"),
		"an esds without the right stuff": edit("esds", 8, "\x07"),
	} {
		if _, err := ParseInit(c); err == nil {
			t.Errorf("%s: accepted", rule)
		}
	}
}

func TestFragmentReadsAsWritten(t *testing.T) {
	dst := []byte("before")
	out, head, err := AppendFragment(dst, 9, someRuns())
	must(t, out, err)
	if string(out[:6]) != "before" {
		t.Error("AppendFragment changed what was there")
	}
	f, err := ParseFragment(out[6:], tracks())
	if err != nil {
		t.Fatal(err)
	}
	if f.Seq != 9 || f.HeadLen != head || !reflect.DeepEqual(f.Runs, someRuns()) {
		t.Errorf("ParseFragment(AppendFragment(r)) = %+v", f)
	}
	if string(out[6+head+4:6+head+8]) != "mdat" || string(out[len(out)-20:]) != "keypopus oneopus two"[:20] {
		t.Errorf("the runs are not in their order: %q", out[6+head:])
	}
}

func TestAppendFragmentDoesNotAllocate(t *testing.T) {
	runs, buf := someRuns(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := AppendFragment(buf, 1, runs); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a fragment", n)
	}
}

func TestAppendFragmentRefuses(t *testing.T) {
	for rule, runs := range map[string][]Run{
		"no run":                nil,
		"an empty run":          {{Track: 1}},
		"a sample without data": {{Track: 1, Samples: []Sample{{Duration: 1}}}},
		"a track twice":         {someRuns()[0], someRuns()[0]},
		"more than the limit":   {{Track: 1, Samples: []Sample{{Data: make([]byte, MaxFragment)}}}},
		"a time beyond bounds":  {{Track: 1, Time: math.MaxUint64, Samples: someRuns()[0].Samples}},
	} {
		if out, _, err := AppendFragment([]byte{1}, 1, runs); err == nil || len(out) != 1 {
			t.Errorf("%s: accepted", rule)
		}
	}
}

func TestStrictMoof(t *testing.T) {
	b := fragment(t, someRuns())
	edit := func(find string, nth, at int, with string) []byte {
		c := slices.Clone(b)
		i := 0
		for range nth {
			i += bytes.Index(c[i:], []byte(find)) + 1
		}
		copy(c[i-1+at:], with)
		return c
	}
	moofLen := binary.BigEndian.Uint32(b)
	u32 := func(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }
	for rule, c := range map[string][]byte{
		"nothing":                             nil,
		"a byte after mdat":                   append(slices.Clone(b), 0),
		"a byte missing":                      b[:len(b)-1],
		"moof size 0":                         edit("moof", 1, -4, u32(0)),
		"moof size 1":                         edit("moof", 1, -4, u32(1)),
		"mdat size 0: to the end of the file": edit("mdat", 1, -4, u32(0)),
		"mdat size 1: 64 bit":                 edit("mdat", 1, -4, u32(1)),
		"another box than moof":               edit("moof", 1, 0, "free"),
		"another box than mdat":               edit("mdat", 1, 0, "free"),
		"another box than traf":               edit("traf", 1, 0, "uuid"),
		"another box in traf":                 edit("tfdt", 1, 0, "sdtp"),
		"base-data-offset":                    edit("tfhd", 1, 5, "\x02\x00\x21"),
		"no default-base-is-moof":             edit("tfhd", 1, 5, "\x00\x00\x20"),
		"duration-is-empty":                   edit("tfhd", 1, 5, "\x03\x00\x20"),
		"an unknown track":                    edit("tfhd", 1, 8, u32(5)),
		"a track twice":                       edit("tfhd", 2, 8, u32(1)),
		"data in the moof":                    edit("trun", 1, 12, u32(moofLen-1)),
		"data in the header of mdat":          edit("trun", 1, 12, u32(moofLen+7)),
		"data before the moof":                edit("trun", 1, 12, u32(math.MaxUint32)),
		"data beyond mdat":                    edit("trun", 2, 12, u32(uint32(len(b))-15)),
		"data shared by two tracks":           edit("trun", 2, 12, u32(moofLen+8+3)),
		"no samples":                          edit("trun", 1, 8, u32(0)),
		"another count than samples":          edit("trun", 1, 8, u32(3)),
		"a sample of no bytes":                edit("trun", 1, 20, u32(0)),
		"sizes from trex":                     edit("trun", 2, 6, "\x01"),
		"an unknown trun version":             edit("trun", 1, 4, "\x02"),
		"a huge unsigned offset":              edit("trun", 1, 4, "\x00"),
		"an mfhd with flags":                  edit("mfhd", 1, 7, "\x01"),
	} {
		if _, err := ParseFragment(c, tracks()); err == nil {
			t.Errorf("%s: accepted", rule)
		}
	}
}

func TestMediaTime(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		tfdt  uint64
		base  int64
		scale uint32
		want  int64
	}{
		{"ticks of a second", 90000, 0, 90000, 1_000_000},
		{"a rest is cut off", 1, 0, 90000, 11},
		{"after a base", 90001, 90000, 90000, 11},
		{"before a base it is cut off downwards", 0, 1, 90000, -12},
		{"a year is exact", 90000*86400*365 + 45000, 0, 90000, 86400*365*1e6 + 500_000},
		{"no timescale is no panic", 5, 0, 0, 5_000_000},
	} {
		if got := MediaTime(tt.tfdt, tt.base, tt.scale); got != tt.want {
			t.Errorf("%s: MediaTime(%d, %d, %d) = %d, want %d", tt.rule, tt.tfdt, tt.base, tt.scale, got, tt.want)
		}
	}
}

func TestIndex(t *testing.T) {
	lead := Track{ID: 3, Timescale: 90000}
	frags := []IndexEntry{{Size: 1000, Time: 90000, CTO: 7200, Duration: 1, Sync: true}, {Size: 500, Time: 135000, Duration: 44000}}
	got, err := Index(lead, frags, 80)
	must(t, got, err)
	// ISO 14496-12 8.16.3, by hand.
	want := unhex("00000040 73696478 01000000 00000003 00015f90 0000000000017bb0 0000000000000010 0000 0002" +
		"000003e8 0000afc8 90000000 000001f4 0000abe0 00000000 00000010 66726565 0000000000000000")
	if !bytes.Equal(got, want) {
		t.Errorf("Index() =\n%x, want\n%x", got, want)
	}
	if got, err := Index(lead, frags, ReserveFor(2)); err != nil || len(got) != ReserveFor(2) {
		t.Errorf("a reserve just large enough: %v", err)
	}
	if _, err := Index(lead, frags, ReserveFor(2)-1); err == nil {
		t.Error("a full reserve is accepted")
	}
	// Sound that went on alone may end after the picture comes back: its fragment then lasts nothing.
	if got, err := Index(lead, []IndexEntry{frags[1], frags[0]}, 80); err != nil || !bytes.Equal(got[44:48], make([]byte, 4)) {
		t.Errorf("fragments that overlap: %x, %v", got, err)
	}
	if got, err := Index(lead, nil, 80); err != nil || !bytes.Equal(got, Reserve(80)) || len(got) != 80 {
		t.Errorf("without fragments: %x, %v", got, err)
	}
	ts := tracks()
	if e := EntryOf(someRuns()[1:], ts, 99); e != (IndexEntry{Size: 99, Time: 1800, Duration: 3600}) {
		t.Errorf("a fragment of sound only: %+v", e)
	}
}

func TestScanStopsWhereTheFileIsTorn(t *testing.T) {
	one := fragment(t, someRuns())
	two := append(slices.Clone(one), one...)
	for _, tt := range []struct {
		rule string
		file []byte
		end  int
		torn bool
		ok   bool
	}{
		{"a whole file", two, len(two), false, true},
		{"half a fragment", two[:len(two)-1], len(one), true, false},
		{"a moof alone", two[:len(one)+140], len(one), true, false},
		{"half a header", two[:len(one)+3], len(one), true, false},
		{"zeros", append(slices.Clone(one), make([]byte, 4096)...), len(one), true, false},
		{"something else", append(slices.Clone(one), "0000freeabcd"...), len(one), false, false},
	} {
		n := 0
		end, err := Scan(bytes.NewReader(tt.file), 0, int64(len(tt.file)), tracks(), func(int64, []byte, *Fragment) error { n++; return nil })
		if end != int64(tt.end) || errors.Is(err, ErrTorn) != tt.torn || (err == nil) != tt.ok || n != tt.end/len(one) {
			t.Errorf("%s: Scan() = %d, %v, want %d, torn %v", tt.rule, end, err, tt.end, tt.torn)
		}
	}
}

// farAway has bytes at an offset beyond what 32 bits hold.
type farAway struct {
	*bytes.Reader
	off int64
}

func (f farAway) ReadAt(p []byte, off int64) (int, error) { return f.Reader.ReadAt(p, off-f.off) }

func TestScanBeyondFourGigabytes(t *testing.T) {
	one := fragment(t, someRuns())
	const off = 5<<30 + 3
	file := farAway{bytes.NewReader(append(slices.Clone(one), one...)), off}
	var at []int64
	end, err := Scan(file, off, off+int64(file.Len()), tracks(), func(off int64, _ []byte, _ *Fragment) error { at = append(at, off); return nil })
	if err != nil || end != off+2*int64(len(one)) || !slices.Equal(at, []int64{off, off + int64(len(one))}) {
		t.Errorf("Scan() = %d, %v, fragments at %d", end, err, at)
	}
}

func FuzzParseInit(f *testing.F) {
	b, _ := Init(tracks())
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ParseInit(b)
		if err != nil {
			return
		}
		again, err := Init(info.Tracks)
		if err != nil {
			t.Fatalf("Init refuses what ParseInit gave: %v", err)
		}
		info2, err := ParseInit(again)
		if err != nil || !reflect.DeepEqual(info, info2) {
			t.Fatalf("%+v reads as %+v, %v", info, info2, err)
		}
	})
}

func FuzzParseFragment(f *testing.F) {
	b, _, _ := AppendFragment(nil, 1, someRuns())
	f.Add(b)
	ts := tracks()
	f.Fuzz(func(t *testing.T, b []byte) {
		frag, err := ParseFragment(b, ts)
		if err != nil {
			return
		}
		again, _, err := AppendFragment(nil, frag.Seq, frag.Runs)
		if err != nil {
			t.Fatalf("AppendFragment refuses what ParseFragment gave: %v", err)
		}
		frag2, err := ParseFragment(again, ts)
		if err != nil || !reflect.DeepEqual(frag.Runs, frag2.Runs) {
			t.Fatalf("%+v reads as %+v, %v", frag, frag2, err)
		}
	})
}

func FuzzParseSPS(f *testing.F) {
	f.Add(true, avcSPS)
	f.Add(false, unhex("420101016000000300900000030000030078a00502016965959a4932bc05a80808082000000300200000030321"))
	f.Fuzz(func(t *testing.T, avc bool, b []byte) {
		c := H265
		if avc {
			c = H264
		}
		if s, err := ParseSPS(c, b); err == nil && (s.Width < 1 || s.Height < 1 || s.Width > maxSide || s.Height > maxSide) {
			t.Errorf("%d×%d", s.Width, s.Height)
		}
	})
}

func BenchmarkAppendFragment(b *testing.B) {
	runs := []Run{{Track: 1}, {Track: 2}}
	for i := range 13 {
		runs[0].Samples = append(runs[0].Samples, Sample{Duration: 3600, Sync: i == 0, Data: make([]byte, 20000)})
	}
	for range 25 {
		runs[1].Samples = append(runs[1].Samples, Sample{Duration: 960, Sync: true, Data: make([]byte, 100)})
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, _, err = AppendFragment(buf[:0], 1, runs); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}
