package fmp4

import "fmt"

// Flags of tfhd, trun and samples: ISO 14496-12 8.8.7, 8.8.8, 8.8.3.1.
const (
	tfhdBaseOffset    = 0x000001
	tfhdDescription   = 0x000002
	tfhdDuration      = 0x000008
	tfhdSize          = 0x000010
	tfhdFlags         = 0x000020
	tfhdBaseIsMoof    = 0x020000
	trunDataOffset    = 0x000001
	trunFirstFlags    = 0x000004
	trunDuration      = 0x000100
	trunSize          = 0x000200
	trunFlags         = 0x000400
	trunCTO           = 0x000800
	sampleNonSync     = 0x00010000
	sampleSyncFlags   = 0x02000000 // depends on no other
	sampleOtherFlags  = 0x01000000 | sampleNonSync
	maxTime           = 1 << 62 // keeps sums of times inside 64 bit
	maxRunsOfFragment = MaxTracks
)

// AppendFragment appends one fragment to dst: a moof with one traf per run, and directly after it the
// mdat with the data of the runs in their order (put sound after pictures). headLen is the length of
// the moof. It allocates only to grow dst.
//
// It refuses what [ParseFragment] would refuse: no or empty runs, a track twice, a sample without
// data, more than [MaxFragment] bytes. After an error dst's bytes are unchanged.
func AppendFragment(dst []byte, seq uint32, runs []Run) (out []byte, headLen int, err error) {
	total, err := checkRuns(runs)
	if err != nil {
		return dst, 0, fmt.Errorf("fmp4: fragment %d: %w", seq, err)
	}
	w := writer{dst}
	moof := w.begin("moof")
	at := w.full("mfhd", 0, 0)
	w.u32(seq)
	w.end(at)
	headLen = 8 + 16
	for i := range runs {
		headLen += trafLen(&runs[i])
	}
	offset := headLen + 8
	for i := range runs {
		w.traf(&runs[i], offset)
		for j := range runs[i].Samples {
			offset += len(runs[i].Samples[j].Data)
		}
	}
	w.end(moof)
	if len(w.b)-moof != headLen {
		panic("BUG: fmp4: moof has another length than computed")
	}
	w.u32(uint32(8 + total))
	w.str("mdat")
	for i := range runs {
		for j := range runs[i].Samples {
			w.raw(runs[i].Samples[j].Data)
		}
	}
	return w.b, headLen, nil
}

// checkRuns returns the bytes of data.
func checkRuns(runs []Run) (int64, error) {
	if len(runs) == 0 || len(runs) > maxRunsOfFragment {
		return 0, fmt.Errorf("%d runs", len(runs))
	}
	var data, head int64
	for i := range runs {
		r := &runs[i]
		if len(r.Samples) == 0 || r.Track == 0 || r.Time >= maxTime {
			return 0, fmt.Errorf("track %d: %d samples at %d", r.Track, len(r.Samples), r.Time)
		}
		for j := range i {
			if runs[j].Track == r.Track {
				return 0, fmt.Errorf("track %d: twice", r.Track)
			}
		}
		for j := range r.Samples {
			if len(r.Samples[j].Data) == 0 {
				return 0, fmt.Errorf("track %d: sample %d has no data", r.Track, j)
			}
			data += int64(len(r.Samples[j].Data))
		}
		head += int64(trafLen(r))
	}
	if data+head+8+16+8 > MaxFragment {
		return 0, fmt.Errorf("%d bytes, most are %d: cut it sooner", data+head, MaxFragment)
	}
	return data, nil
}

// compact reports whether all samples are sync and presented when decoded: so is sound.
func (r *Run) compact() bool {
	for i := range r.Samples {
		if !r.Samples[i].Sync || r.Samples[i].CTO != 0 {
			return false
		}
	}
	return true
}

func trafLen(r *Run) int {
	perSample := 16
	if r.compact() {
		perSample = 8
	}
	return 8 + 20 + 20 + 20 + perSample*len(r.Samples)
}

// traf always has the same layout: tfhd with the flags of all samples, tfdt v1, trun v1.
func (w *writer) traf(r *Run, dataOffset int) {
	traf := w.begin("traf")
	at := w.full("tfhd", 0, tfhdBaseIsMoof|tfhdFlags)
	w.u32(r.Track)
	w.u32(sampleSyncFlags)
	w.end(at)
	at = w.full("tfdt", 1, 0)
	w.u64(r.Time)
	w.end(at)
	compact := r.compact()
	flags := uint32(trunDataOffset | trunDuration | trunSize)
	if !compact {
		flags |= trunFlags | trunCTO
	}
	at = w.full("trun", 1, flags)
	w.u32(uint32(len(r.Samples)))
	w.u32(uint32(dataOffset))
	for i := range r.Samples {
		s := &r.Samples[i]
		w.u32(s.Duration)
		w.u32(uint32(len(s.Data)))
		if compact {
			continue
		}
		if s.Sync {
			w.u32(sampleSyncFlags)
		} else {
			w.u32(sampleOtherFlags)
		}
		w.u32(uint32(s.CTO))
	}
	w.end(at)
	w.end(traf)
}
