package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"minglu/agent/fmp4"
	"minglu/drivers"
)

// Limits of what is decoded, and how soon a decoder that failed is tried again.
const (
	maxKeyframe = 8 << 20 // bytes
	maxPixels   = 8192 * 4320
	soundPacket = 16 << 10
	soundPiece  = 500 * time.Millisecond
	retryFirst  = time.Second
	retryLast   = 30 * time.Second
)

// feed hands one track to a decoder, and starts it again when it fails.
type feed struct {
	o      *Options
	log    *slog.Logger
	in     chan drivers.Sample // what is to be decoded; full: dropped
	decode func(ctx context.Context, format *drivers.Format, in <-chan []byte) error

	mu  sync.Mutex
	err error // why the decoder last failed, nil once it gave something
}

func newFeed(o *Options, log *slog.Logger, depth int) *feed {
	return &feed{o: o, log: log, in: make(chan drivers.Sample, depth)}
}

// offer never blocks.
func (f *feed) offer(s *drivers.Sample) {
	select {
	case f.in <- *s:
	default:
	}
}

func (f *feed) problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// works notes that the decoder gave something.
func (f *feed) works() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = nil
}

// run decodes until ctx ends.
func (f *feed) run(ctx context.Context) {
	wait := retryFirst
	var first *drivers.Sample
	for ctx.Err() == nil {
		if first == nil {
			select {
			case <-ctx.Done():
				return
			case s := <-f.in:
				first = &s
			}
		}
		began := f.o.Now().Up
		next, err := f.process(ctx, first)
		if first = next; err == nil || ctx.Err() != nil {
			continue
		}
		f.mu.Lock()
		again := f.err != nil && f.err.Error() == err.Error()
		f.err = err
		f.mu.Unlock()
		if !again {
			f.log.Warn("decoder failed, trying again", "err", err)
		}
		if f.o.Now().Up-began > retryLast {
			wait = retryFirst
		}
		if !f.rest(ctx, wait) {
			return
		}
		wait = min(2*wait, retryLast)
	}
}

// rest lets what comes pass by for a while.
func (f *feed) rest(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case <-f.in:
		}
	}
}

// process runs one decoder for one format. It returns the sample with which another format begins, or
// why the decoder ended.
func (f *feed) process(ctx context.Context, first *drivers.Sample) (next *drivers.Sample, err error) {
	w, init, err := newWrap(first.Format)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	in := make(chan []byte, 4)
	done := make(chan error, 1)
	go func() { done <- f.decode(ctx, first.Format, in) }()
	ended := false
	defer func() {
		if cancel(); !ended {
			<-done
		}
	}()
	in <- init
	for s := first; ; {
		for _, piece := range w.wrap(s) {
			select {
			case in <- piece:
			default: // the decoder is behind
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case err := <-done:
			ended = true
			return nil, err
		case got := <-f.in:
			s = &got
		}
		if s.Format != first.Format && !s.Format.Equal(first.Format) {
			return s, nil
		}
	}
}

// wrap makes fragmented MP4 of the samples of one track. Times in it only count up: nobody reads them.
type wrap struct {
	video   bool
	seq     uint32
	time    uint64
	scale   uint64
	waiting []fmp4.Sample
	length  uint64 // ticks of waiting
}

func newWrap(f *drivers.Format) (*wrap, []byte, error) {
	t := fmp4.Track{ID: 1, Timescale: uint32(f.ClockHz), Codec: fmp4.Codec(f.Codec), VPS: f.VPS, SPS: f.SPS, PPS: f.PPS,
		AudioConfig: f.AudioConfig, SampleRate: f.SampleRateHz, Channels: f.Channels}
	if f.Codec.Video() {
		sps, err := fmp4.ParseSPS(t.Codec, f.SPS)
		if err != nil {
			return nil, nil, fmt.Errorf("health: decoder: %w", err)
		}
		if sps.Width*sps.Height > maxPixels {
			return nil, nil, fmt.Errorf("health: decoder: %d×%d pixels are too many to look at", sps.Width, sps.Height)
		}
	}
	init, err := fmp4.Init([]fmp4.Track{t})
	if err != nil {
		return nil, nil, fmt.Errorf("health: decoder: %w", err)
	}
	return &wrap{video: f.Codec.Video(), scale: uint64(f.ClockHz)}, init, nil
}

// wrap returns the pieces a sample completes.
func (w *wrap) wrap(s *drivers.Sample) (pieces [][]byte) {
	if !w.video {
		d := uint32(max(s.Duration, 1))
		w.waiting = append(w.waiting, fmp4.Sample{Duration: d, Sync: true, Data: s.Data})
		if w.length += uint64(d); w.length*uint64(time.Second) < w.scale*uint64(soundPiece) {
			return nil
		}
		pieces = w.fragment(pieces, w.waiting)
		w.waiting, w.length = nil, 0
		return pieces
	}
	return w.fragment(nil, []fmp4.Sample{{Duration: uint32(w.scale), Sync: true, Data: s.Data}})
}

func (w *wrap) fragment(pieces [][]byte, samples []fmp4.Sample) [][]byte {
	w.seq++
	run := fmp4.Run{Track: 1, Time: w.time, Samples: samples}
	b, _, err := fmp4.AppendFragment(nil, w.seq, []fmp4.Run{run})
	if err != nil { // an empty or huge sample: nothing to see
		return pieces
	}
	w.time += run.Duration()
	return append(pieces, b)
}
