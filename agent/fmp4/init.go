package fmp4

import (
	"errors"
	"fmt"
)

// unity is the transformation matrix of mvhd and tkhd that changes nothing (ISO 14496-12 8.2.2).
var unity = [9]uint32{0x00010000, 0, 0, 0, 0x00010000, 0, 0, 0, 0x40000000}

// Init returns ftyp and moov of a fragmented file with these tracks. It has no samples and no edit
// list: the fragments' times are the times. Width and Height are taken from the SPS. An error says
// which track cannot be written and why.
func Init(tracks []Track) ([]byte, error) {
	if len(tracks) == 0 || len(tracks) > MaxTracks {
		return nil, fmt.Errorf("fmp4: init: %d tracks, want 1 to %d", len(tracks), MaxTracks)
	}
	w := &writer{}
	at := w.begin("ftyp")
	w.str("iso6") // default-base-is-moof, tfdt and sidx as of 14496-12:2012
	w.u32(0)
	w.str("iso6mp41")
	w.end(at)

	moov := w.begin("moov")
	w.mvhd(tracks)
	for i := range tracks {
		if tracks[i].ID == 0 || tracks[i].Timescale == 0 {
			return nil, fmt.Errorf("fmp4: init: track %d: id %d, timescale %d: want neither to be 0", i, tracks[i].ID, tracks[i].Timescale)
		}
		for j := range i {
			if tracks[j].ID == tracks[i].ID {
				return nil, fmt.Errorf("fmp4: init: track %d: id %d is taken", i, tracks[i].ID)
			}
		}
		if err := w.trak(tracks[i]); err != nil {
			return nil, fmt.Errorf("fmp4: init: track %d (%s): %w", tracks[i].ID, tracks[i].Codec, err)
		}
	}
	mvex := w.begin("mvex")
	for i := range tracks {
		trex := w.full("trex", 0, 0)
		w.u32(tracks[i].ID)
		w.u32(1) // sample description
		w.zero(12)
		w.end(trex)
	}
	w.end(mvex)
	w.end(moov)
	if len(w.b) > MaxInit {
		return nil, fmt.Errorf("fmp4: init: %d bytes, most are %d", len(w.b), MaxInit)
	}
	return w.b, nil
}

func (w *writer) matrix() {
	for _, v := range unity {
		w.u32(v)
	}
}

func (w *writer) mvhd(tracks []Track) {
	next := uint32(1)
	for i := range tracks {
		if id := tracks[i].ID; id >= next && id < 1<<32-1 {
			next = id + 1
		}
	}
	at := w.full("mvhd", 0, 0)
	w.zero(8) // no dates: the log tells
	w.u32(1000)
	w.u32(0)          // duration: in the fragments
	w.u32(0x00010000) // rate 1
	w.u16(0x0100)     // volume 1
	w.zero(10)
	w.matrix()
	w.zero(24)
	w.u32(next)
	w.end(at)
}

func (w *writer) trak(t Track) error {
	video := t.Codec.Video()
	if video {
		sps, err := ParseSPS(t.Codec, t.SPS)
		if err != nil {
			return err
		}
		t.Width, t.Height = sps.Width, sps.Height
	}
	trak := w.begin("trak")
	tkhd := w.full("tkhd", 0, 3) // enabled, in movie
	w.zero(8)
	w.u32(t.ID)
	w.zero(4 + 4 + 8 + 2 + 2) // duration, layer and group
	if video {
		w.u16(0)
	} else {
		w.u16(0x0100)
	}
	w.zero(2)
	w.matrix()
	w.u32(uint32(t.Width) << 16)
	w.u32(uint32(t.Height) << 16)
	w.end(tkhd)

	mdia := w.begin("mdia")
	mdhd := w.full("mdhd", 0, 0)
	w.zero(8)
	w.u32(t.Timescale)
	w.u32(0)
	w.u16(0x55C4) // language "und"
	w.u16(0)
	w.end(mdhd)
	hdlr := w.full("hdlr", 0, 0)
	w.u32(0)
	if video {
		w.str("vide")
	} else {
		w.str("soun")
	}
	w.zero(12 + 1)
	w.end(hdlr)
	minf := w.begin("minf")
	if video {
		at := w.full("vmhd", 0, 1)
		w.zero(8)
		w.end(at)
	} else {
		at := w.full("smhd", 0, 0)
		w.zero(4)
		w.end(at)
	}
	dinf := w.begin("dinf")
	dref := w.full("dref", 0, 0)
	w.u32(1)
	w.end(w.full("url ", 0, 1)) // this file
	w.end(dref)
	w.end(dinf)
	if err := w.stbl(t); err != nil {
		return err
	}
	w.end(minf)
	w.end(mdia)
	w.end(trak)
	return nil
}

// stbl writes the sample description and empty tables: all samples are in fragments.
func (w *writer) stbl(t Track) error {
	stbl := w.begin("stbl")
	stsd := w.full("stsd", 0, 0)
	w.u32(1)
	if err := w.sampleEntry(t); err != nil {
		return err
	}
	w.end(stsd)
	for _, kind := range [...]string{"stts", "stsc", "stsz", "stco"} {
		at := w.full(kind, 0, 0)
		if kind == "stsz" {
			w.u32(0)
		}
		w.u32(0)
		w.end(at)
	}
	w.end(stbl)
	return nil
}

func (w *writer) sampleEntry(t Track) error {
	switch t.Codec {
	case H264, H265:
		return w.visual(t)
	case AAC, Opus, PCM:
		return w.audio(t)
	}
	return errors.New("a codec this package does not write")
}
