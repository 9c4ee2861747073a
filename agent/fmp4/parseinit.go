package fmp4

import (
	"errors"
	"fmt"
)

// ParseInit reads b, which must be exactly ftyp and moov of a fragmented file: the inverse of [Init].
// It refuses what could make a player show something else than the fragments say: edit lists, data
// in other files, samples outside of fragments, several sample descriptions. Boxes it does not know
// are passed over. Parameter sets share b.
func ParseInit(b []byte) (*InitInfo, error) {
	info, err := parseInit(b)
	if err != nil {
		return nil, fmt.Errorf("fmp4: init: %w", err)
	}
	return info, nil
}

func parseInit(b []byte) (*InitInfo, error) {
	if len(b) > MaxInit {
		return nil, fmt.Errorf("%d bytes, most are %d", len(b), MaxInit)
	}
	kind, _, rest, err := nextBox(b)
	if err != nil {
		return nil, err
	}
	kind2, moov, rest, err := nextBox(rest)
	if err != nil {
		return nil, err
	}
	if kind != "ftyp" || kind2 != "moov" || len(rest) != 0 {
		return nil, errors.New("not exactly ftyp and moov")
	}
	info := &InitInfo{}
	var mvhd, mvex int
	var extends []uint32
	err = each(moov, func(kind string, body []byte) error {
		switch kind {
		case "mvhd":
			mvhd++
		case "trak":
			if len(info.Tracks) == MaxTracks {
				return errors.New("too many")
			}
			t, err := parseTrak(body)
			info.Tracks = append(info.Tracks, t)
			return err
		case "mvex":
			mvex++
			return each(body, func(kind string, body []byte) error {
				if kind == "trex" {
					r := reader{b: body}
					r.u32()
					extends = append(extends, r.u32())
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case mvhd != 1 || mvex != 1 || len(info.Tracks) == 0 || len(extends) != len(info.Tracks):
		return nil, fmt.Errorf("%d mvhd, %d trak, %d mvex, %d trex", mvhd, len(info.Tracks), mvex, len(extends))
	}
	for i, t := range info.Tracks {
		if extends[i] != t.ID {
			return nil, fmt.Errorf("trex %d is of track %d, want %d", i, extends[i], t.ID)
		}
		for _, u := range info.Tracks[:i] {
			if u.ID == t.ID {
				return nil, fmt.Errorf("track %d: twice", t.ID)
			}
		}
	}
	return info, nil
}

// only finds the one box of each kind in b; anything else of these kinds is an error.
func only(b []byte, kinds ...string) ([][]byte, error) {
	out := make([][]byte, len(kinds))
	err := each(b, func(kind string, body []byte) error {
		if kind == "edts" {
			return errors.New("edit lists are not allowed")
		}
		for i, k := range kinds {
			if k != kind {
				continue
			}
			if out[i] != nil {
				return errors.New("twice")
			}
			out[i] = body
		}
		return nil
	})
	for i, body := range out {
		if err == nil && body == nil {
			err = fmt.Errorf("no %s", kinds[i])
		}
	}
	return out, err
}

func parseTrak(b []byte) (t Track, err error) {
	trak, err := only(b, "tkhd", "mdia")
	if err != nil {
		return t, err
	}
	mdia, err := only(trak[1], "mdhd", "minf")
	if err != nil {
		return t, err
	}
	minf, err := only(mdia[1], "dinf", "stbl")
	if err != nil {
		return t, err
	}
	stbl, err := only(minf[1], "stsd", "stts", "stsc", "stsz")
	if err != nil {
		return t, err
	}
	for i, n := range [...]int{0, 4, 4, 8} { // where each table tells its length
		if r := (reader{b: stbl[i]}); i > 0 && (r.take(n) == nil || r.u32() != 0 || r.bad) {
			return t, errors.New("samples outside of fragments are not allowed")
		}
	}
	if err := checkDinf(minf[0]); err != nil {
		return t, err
	}
	if t.ID, err = afterDates(trak[0]); err != nil || t.ID == 0 {
		return t, fmt.Errorf("tkhd: track id %d: %w", t.ID, errors.Join(err, errors.New("want one from 1")))
	}
	if t.Timescale, err = afterDates(mdia[0]); err != nil || t.Timescale == 0 {
		return t, fmt.Errorf("mdhd: timescale %d: %w", t.Timescale, errors.Join(err, errors.New("want one from 1")))
	}
	r := reader{b: stbl[0]}
	if r.u32() != 0 || r.u32() != 1 || r.bad {
		return t, errors.New("stsd: not exactly one sample description")
	}
	kind, entry, rest, err := nextBox(r.b)
	if err != nil || len(rest) != 0 {
		return t, fmt.Errorf("stsd: not exactly one entry: %w", errors.Join(err, errors.New("broken")))
	}
	if err := t.parseEntry(kind, entry); err != nil {
		return t, fmt.Errorf("stsd: %s: %w", kind, err)
	}
	return t, nil
}

// afterDates returns the number after the two dates with which tkhd and mdhd begin.
func afterDates(b []byte) (uint32, error) {
	r := reader{b: b}
	switch r.u32() >> 24 {
	case 0:
		r.take(8)
	case 1:
		r.take(16)
	default:
		return 0, errors.New("unknown version")
	}
	v := r.u32()
	if r.bad {
		return 0, errShort
	}
	return v, nil
}

// checkDinf checks that the data is in this file.
func checkDinf(b []byte) error {
	dref, err := only(b, "dref")
	if err != nil {
		return err
	}
	r := reader{b: dref[0]}
	version, count := r.u32(), r.u32()
	kind, url, rest, err := nextBox(r.b)
	here := reader{b: url}
	if err != nil || version != 0 || count != 1 || kind != "url " || len(rest) != 0 || here.u32() != 1 || here.done() != nil {
		return errors.New("dref: the data must be in this file")
	}
	return nil
}

func (t *Track) parseEntry(kind string, b []byte) error {
	r := reader{b: b}
	r.take(6)
	if r.u16() != 1 {
		return errors.New("data reference is not 1")
	}
	if kind == "avc1" || kind == "hvc1" {
		return t.parseVisual(kind, r)
	}
	t.Codec = map[string]Codec{"mp4a": AAC, "Opus": Opus, "ipcm": PCM}[kind]
	if t.Codec == "" {
		return errors.New("unknown codec")
	}
	r.take(8)
	t.Channels = int(r.u16())
	r.take(6)
	t.SampleRate = int(r.u32() >> 16)
	if r.bad {
		return errShort
	}
	config := map[Codec]string{AAC: "esds", Opus: "dOps", PCM: "pcmC"}[t.Codec]
	c, err := only(r.b, config)
	if err != nil {
		return err
	}
	if t.Channels < 1 || t.Channels > 8 || t.SampleRate < 1 || t.Codec == Opus && t.Channels > 2 {
		return fmt.Errorf("%d channels of %d Hz", t.Channels, t.SampleRate)
	}
	in := reader{b: c[0]}
	switch t.Codec {
	case AAC:
		t.AudioConfig, err = parseEsds(in)
	case Opus:
		version, channels := in.u8(), in.u8()
		in.take(2 + 4 + 2)
		if version != 0 || int(channels) != t.Channels || in.u8() != 0 || in.done() != nil {
			err = errors.New("dOps: not one plain stream")
		}
	case PCM:
		if in.u32() != 0 || in.u8() != 1 || in.u8() != 16 || in.done() != nil {
			err = errors.New("pcmC: not 16 bit little endian")
		}
	}
	return err
}

func (t *Track) parseVisual(kind string, r reader) error {
	r.take(16)
	r.take(4) // the size in the entry; what decodes is in the SPS
	r.take(50)
	if r.bad {
		return errShort
	}
	var err error
	if kind == "avc1" {
		t.Codec = H264
		err = t.parseAvcC(r.b)
	} else {
		t.Codec = H265
		err = t.parseHvcC(r.b)
	}
	if err != nil {
		return err
	}
	sps, err := ParseSPS(t.Codec, t.SPS)
	t.Width, t.Height = sps.Width, sps.Height
	return err
}

func (t *Track) parseAvcC(b []byte) error {
	c, err := only(b, "avcC")
	if err != nil {
		return err
	}
	r := reader{b: c[0]}
	version := r.u8()
	r.take(3)
	lengths, sets := r.u8(), r.u8()
	t.SPS = r.take(int(r.u16()))
	sets2 := r.u8()
	t.PPS = r.take(int(r.u16()))
	if r.bad || version != 1 || lengths&3 != 3 || sets&0x1F != 1 || sets2 != 1 {
		return errors.New("avcC: not one SPS and one PPS with 4-byte lengths")
	}
	return errors.Join(checkSet("SPS", t.SPS, 7, false), checkSet("PPS", t.PPS, 8, false))
}

func (t *Track) parseHvcC(b []byte) error {
	c, err := only(b, "hvcC")
	if err != nil {
		return err
	}
	r := reader{b: c[0]}
	version := r.u8()
	r.take(20)
	lengths, arrays := r.u8(), r.u8()
	if version != 1 || lengths&3 != 3 {
		return errors.New("hvcC: not version 1 with 4-byte lengths")
	}
	for range arrays {
		kind, count := r.u8()&0x3F, r.u16()
		set := r.take(int(r.u16()))
		for i, into := range [...]*[]byte{&t.VPS, &t.SPS, &t.PPS} {
			if kind != hvcArrays[i] {
				continue
			}
			if count != 1 || *into != nil {
				return errors.New("hvcC: several parameter sets of one kind")
			}
			*into = set
		}
		for n := 1; n < int(count) && !r.bad; n++ {
			r.take(int(r.u16()))
		}
	}
	if err := r.done(); err != nil {
		return fmt.Errorf("hvcC: %w", err)
	}
	return errors.Join(checkSet("VPS", t.VPS, 32, true), checkSet("SPS", t.SPS, 33, true), checkSet("PPS", t.PPS, 34, true))
}

// parseEsds finds the AudioSpecificConfig in the descriptors of ISO 14496-1 7.2.6.
func parseEsds(r reader) ([]byte, error) {
	version := r.u32()
	es := descriptor(&r, 0x03)
	es.take(2)
	plain := es.u8()
	dc := descriptor(&es, 0x04)
	kind := dc.u8()
	dc.take(12)
	config := descriptor(&dc, 0x05)
	if version != 0 || plain != 0 || kind != 0x40 || r.bad || es.bad || dc.bad || config.bad || len(config.b) < 2 || len(config.b) > 64 {
		return nil, errors.New("esds: no AudioSpecificConfig")
	}
	return config.b, nil
}

// descriptor takes one descriptor with this tag; its length is one to four bytes of seven bits.
func descriptor(r *reader, tag byte) reader {
	if r.u8() != tag {
		return reader{bad: true}
	}
	n := 0
	for i := range 4 {
		v := r.u8()
		n = n<<7 | int(v&0x7F)
		if v&0x80 == 0 {
			break
		}
		if i == 3 {
			return reader{bad: true}
		}
	}
	return reader{b: r.take(n), bad: r.bad}
}
