//go:build hil

package v4l2

// TestHILs on the kernel's own drivers, in a guest (sim/hil): vivid is a camera that can be told to fail,
// vicodec an encoder of the codec FWHT, uvcvideo the driver of USB cameras before one written in Go.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/overlay"
)

// Controls of vivid (drivers/media/test-drivers/vivid/vivid-ctrls.c: VIVID_CID_VIVID_BASE + n).
const (
	vividBase       = 0x00f00000 | 0xf000
	vividDropped    = vividBase + 64 // percentage of dropped buffers
	vividDisconnect = vividBase + 65
	vividError      = vividBase + 66 // next DQBUF comes with the error flag
)

func uptime() time.Duration { return time.Duration(monotonic()) }

// find returns the path of the first node of a driver for which ok holds.
func find(t *testing.T, driver string, encoder bool) string {
	t.Helper()
	for _, i := range List() {
		if i.Driver == driver && i.Encoder == encoder {
			return i.Path
		}
	}
	t.Fatalf("no node of %s", driver)
	return ""
}

// tape keeps what a connection delivers.
type tape struct {
	mu      sync.Mutex
	opened  []drivers.Description
	samples []drivers.Sample
	lost    map[string]int
	more    chan struct{}
}

func newTape() *tape { return &tape{lost: map[string]int{}, more: make(chan struct{}, 1)} }

func (p *tape) do(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}
func (p *tape) Open(d drivers.Description)        { p.do(func() { p.opened = append(p.opened, d) }) }
func (p *tape) Sample(s drivers.Sample)           { p.do(func() { p.samples = append(p.samples, s) }) }
func (p *tape) SenderReport(drivers.SenderReport) {}
func (p *tape) Lost(_, n int, cause string)       { p.do(func() { p.lost[cause] += n }) }

// until waits for ok, which is called with the tape at rest.
func (p *tape) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		p.mu.Lock()
		done := ok()
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-p.more:
		case <-limit:
			t.Fatalf("no %s: %d samples, lost %v", what, len(p.samples), p.lost)
		}
	}
}

// plain stands for annexb.Track: it takes coded pictures of any codec as they come.
type plain struct{ out *tape }

func (p plain) Add(data []byte, pts, dts int64, arrival time.Duration) error {
	p.out.Sample(drivers.Sample{PTS: pts, DTS: dts, Arrival: arrival, Data: append([]byte(nil), data...)})
	return nil
}
func (p plain) Gap(n int, cause string)    { p.out.Lost(0, n, "gap: "+cause) }
func (p plain) Missed(n int, cause string) { p.out.Lost(0, n, cause) }

// running is a source under way whose pictures end on a tape.
type running struct {
	*tape
	s    *Source
	stop context.CancelCauseFunc
	done chan error
}

func (r *running) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("Run does not return")
		return nil
	}
}

var errEnough = errors.New("enough")

func encodeFWHT(t *testing.T, o Options) *running {
	t.Helper()
	o.Uptime, o.Codec = uptime, FWHT
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &running{tape: newTape(), s: s, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.run(ctx, &gate{out: r.tape}, func(*connection) coder { return plain{r.tape} }) }()
	t.Cleanup(func() { cancel(errEnough); r.end(t) })
	return r
}

// vivid returns options of the test camera, and its node beside the connection to work its controls.
func vivid(t *testing.T) (Options, *device) {
	o := Options{Device: find(t, "vivid", false), Width: 320, Height: 180, FPS: 10, Encoder: find(t, "vicodec", true)}
	d, err := open(o.Device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return o, d
}

// TestHILEncodesRawPictures: vivid to vicodec, stamps kept, nothing lost.
func TestHILEncodesRawPictures(t *testing.T) {
	o, _ := vivid(t)
	for _, f := range []FourCC{YU12, NV12, YUYV} {
		t.Run(f.String(), func(t *testing.T) {
			o.Format = f
			r := encodeFWHT(t, o)
			r.until(t, "pictures", func() bool { return len(r.samples) >= 25 })
			begun := time.Now()
			r.stop(errEnough)
			if err := r.end(t); !errors.Is(err, errEnough) {
				t.Errorf("Run() = %v, want the reason it was stopped", err)
			}
			if d := time.Since(begun); d > time.Second {
				t.Errorf("stopped after %v", d)
			}
			sum := 0
			for i, s := range r.samples {
				sum += len(s.Data)
				if i > 0 && s.PTS <= r.samples[i-1].PTS {
					t.Errorf("picture %d at %d after %d", i, s.PTS, r.samples[i-1].PTS)
				}
				if at := time.Duration(s.PTS) * time.Second / 90000; s.Arrival < at || s.Arrival-at > 2*time.Second {
					t.Errorf("picture %d of %v arrived at %v", i, at, s.Arrival)
				}
			}
			// 10 a second by the kernel's stamps, whatever this slow guest does: each period has a picture or a loss.
			periods := float64(r.samples[len(r.samples)-1].PTS-r.samples[0].PTS) / 9000
			told := len(r.samples) - 1
			for _, n := range r.lost {
				told += n
			}
			t.Logf("%d pictures, lost %v, in %.1f periods, %d bytes each", len(r.samples), r.lost, periods, sum/len(r.samples))
			if d := float64(told) - periods; d < -2 || d > 4 {
				t.Errorf("%d pictures and losses in %.1f periods", told, periods)
			}
			if sum/len(r.samples) < 500 {
				t.Errorf("%d bytes a picture: nothing in it", sum/len(r.samples))
			}
		})
	}
}

// sign is an overlay that says the same at any time, and notes the times it was asked for.
type sign struct {
	mu sync.Mutex
	at []time.Duration
}

func (*sign) Shown() drivers.Shown { return drivers.Shown{Time: drivers.ShownByBoard} }
func (s *sign) Lines(at time.Duration) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, at)
	return []string{"2026-11-25 18:46:29"}
}

// peeker looks at a picture where the encoder takes it from, as it comes out coded.
type peeker struct {
	plain
	c    *connection
	seen func(overlay.Picture)
}

func (p peeker) Add(data []byte, pts, dts int64, arrival time.Duration) error {
	e := p.c.enc
	for _, b := range e.in.bufs {
		if b[0] != 0 { // a fast encoder leaves some buffers as the kernel gave them
			p.seen(e.raw.picture(b[:e.raw.size], e.visible.width, e.visible.height))
		}
	}
	return p.plain.Add(data, pts, dts, arrival)
}

// TestHILOverlay: text stands in the pictures that the encoder gets, in each format, at the time of each picture.
func TestHILOverlay(t *testing.T) {
	for _, f := range []FourCC{YU12, NV12, YUYV} {
		t.Run(f.String(), func(t *testing.T) {
			o, _ := vivid(t)
			text := &sign{}
			o.Format, o.Uptime, o.Codec, o.Overlay = f, uptime, FWHT, text
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			out, done := newTape(), make(chan error, 1)
			var ink, paper, colour, below int
			shown := drivers.Shown{}
			go func() {
				done <- s.run(ctx, &gate{out: out}, func(c *connection) coder {
					return peeker{plain{out}, c, func(p overlay.Picture) {
						out.mu.Lock()
						defer out.mu.Unlock()
						ink, paper, colour, below, shown = 0, 0, 0, 0, c.shown()
						for y := range 14 {
							for x := range 130 {
								switch v := p.Y.Pix[y*p.Y.Stride+x*p.Y.Step]; {
								case v >= 230:
									ink++
								case v == 16:
									paper++
								}
								if u := p.U.Pix[y/p.U.SubY*p.U.Stride+x/p.U.SubX*p.U.Step]; u != 128 {
									colour++
								}
							}
						}
						for x := range p.Width {
							if p.Y.Pix[(p.Height-1)*p.Y.Stride+x*p.Y.Step] == 16 {
								below++
							}
						}
					}}
				})
			}()
			out.until(t, "pictures", func() bool { return len(out.samples) >= 8 })
			cancel()
			<-done
			t.Logf("%d white and %d black pixels, %d coloured ones", ink, paper, colour)
			if ink < 100 || paper < 1000 || ink+paper != 14*130 || colour != 0 || below > 300 {
				t.Errorf("no text: %d white pixels, %d black, %d coloured, %d black ones at the bottom", ink, paper, colour, below)
			}
			if shown != text.Shown() {
				t.Errorf("told as %+v", shown)
			}
			for i, x := range out.samples[1:] {
				want := time.Duration(x.PTS) * time.Second / 90000
				if !slices.ContainsFunc(text.at, func(at time.Duration) bool { return (at - want).Abs() < 20*time.Millisecond }) {
					t.Errorf("picture %d of %v has the text of another moment", i, want)
				}
			}
		})
	}
}

func control(t *testing.T, d *device, id uint32, v int64) {
	t.Helper()
	if err := d.set(&Control{id: id, Name: "of vivid"}, v); err != nil {
		t.Fatal(err)
	}
}

// TestHILVividFails: what the driver says of damage and loss reaches the sink with its cause.
func TestHILVividFails(t *testing.T) {
	o, d := vivid(t)
	t.Run("error flag", func(t *testing.T) {
		r := encodeFWHT(t, o)
		r.until(t, "pictures", func() bool { return len(r.samples) >= 3 })
		control(t, d, vividError, 1)
		r.until(t, "damaged picture", func() bool { return r.lost[causeDamaged] >= 1 })
		n := len(r.samples)
		r.until(t, "pictures after it", func() bool { return len(r.samples) >= n+3 })
	})
	t.Run("dropped", func(t *testing.T) {
		control(t, d, vividDropped, 30)
		t.Cleanup(func() { control(t, d, vividDropped, 0) })
		r := encodeFWHT(t, o)
		r.until(t, "loss", func() bool { return r.lost[causeDropped] >= 3 })
	})
}

// TestHILWrongSettings: what the camera cannot do is said with what it can.
func TestHILWrongSettings(t *testing.T) {
	good, _ := vivid(t)
	for _, tt := range []struct {
		rule       string
		change     func(*Options)
		code, says string
	}{
		{"no camera at this path", func(o *Options) { o.Device = "/dev/v4l/by-id/usb-none-video-index0" }, "not-found", "is not there"},
		{"a node that is no camera", func(o *Options) { o.Device = find(t, "vicodec", true) }, "address", "not where a camera"},
		{"a size it has not", func(o *Options) { o.Width, o.Height = 642, 362 }, "size", "640×360"},
		{"a format it has not", func(o *Options) { o.Format = H264 }, "codec", "YUYV"},
		{"no encoder for what is wanted", func(o *Options) { o.Codec, o.Encoder = H264, "" }, "codec", "no device of this board encodes to H264"},
		{"raw pictures and no encoder", func(o *Options) { o.Encoder = NoEncoder }, "codec", "pipeline"},
		{"a control it has not", func(o *Options) { o.Control = map[string]int64{"meow": 1} }, "control", "brightness"},
		{"a control out of range", func(o *Options) { o.Control = map[string]int64{"brightness": 999} }, "control", "0-255"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			o := good
			tt.change(&o)
			o.Uptime = uptime
			if o.Codec == 0 {
				o.Codec = FWHT
			}
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Run(t.Context(), newTape())
			var p *drivers.Problem
			if !errors.As(err, &p) || p.Code != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Run() = %v, want %s: %s", err, tt.code, tt.says)
			}
		})
	}
}

// TestHILControls: set by name, and read back.
func TestHILControls(t *testing.T) {
	o, d := vivid(t)
	o.Control = map[string]int64{"brightness": 77, "contrast": 99, "fwht_p_frame_qp_value": 20, "integer_32_bits": -5}
	r := encodeFWHT(t, o)
	r.until(t, "pictures", func() bool { return len(r.samples) >= 1 })
	for _, c := range d.controls() {
		if want, ok := o.Control[c.Name]; ok {
			if got, err := d.value(&c); err != nil || got != want {
				t.Errorf("%s is %d, %v; want %d", c.Name, got, err, want)
			}
		}
	}
}

// TestHILNothingLeaks: connections leave no descriptor behind, whether they end well or not.
func TestHILNothingLeaks(t *testing.T) {
	o, _ := vivid(t)
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	once := func() {
		r := encodeFWHT(t, o)
		r.until(t, "pictures", func() bool { return len(r.samples) >= 1 })
		r.stop(errEnough)
		r.end(t)
		bad := o
		bad.Uptime, bad.Width, bad.Height = uptime, 642, 362
		s, err := New(bad)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Run(t.Context(), newTape())
	}
	once()
	before := count()
	for range 5 {
		once()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestHILKernelKnowsTheRequests: the sizes in uapi.go are those of this kernel, or it would not know the requests.
func TestHILKernelKnowsTheRequests(t *testing.T) {
	_, d := vivid(t)
	kind, _ := d.camera()
	f := format{Type: kind}
	p := streamParm{Type: kind}
	for name, err := range map[string]error{
		"G_FMT":           call(d.fd, dirReadWrite, nrGetFmt, &f),
		"G_PARM":          call(d.fd, dirReadWrite, nrGetParm, &p),
		"SUBSCRIBE_EVENT": call(d.fd, dirWrite, nrSubscribeEvent, &eventSubscription{Type: eventSourceChange}),
		"QUERY_EXT_CTRL":  call(d.fd, dirReadWrite, nrQueryExtCtrl, &queryControl{ID: ctrlNext}),
		"ENUM_FRAMESIZES": call(d.fd, dirReadWrite, nrEnumFrameSizes, &frameSize{PixFmt: uint32(YUYV)}),
	} {
		if err != nil {
			t.Errorf("VIDIOC_%s: %v", name, err)
		}
	}
	// No event waits, which is another answer than not knowing the request.
	if err := call(d.fd, dirRead, nrDequeueEvent, new(event)); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAGAIN) {
		t.Errorf("VIDIOC_DQEVENT: %v, want ENOENT", err)
	}
}

// TestHILZUnplugged is the last of its kind: vivid stays disconnected until its module is loaded again.
func TestHILZUnplugged(t *testing.T) {
	o, d := vivid(t)
	r := encodeFWHT(t, o)
	r.until(t, "pictures", func() bool { return len(r.samples) >= 3 })
	begun := time.Now()
	control(t, d, vividDisconnect, 1)
	err := r.end(t)
	if p := (*drivers.Problem)(nil); !errors.As(err, &p) || p.Code != "unplugged" {
		t.Errorf("Run() = %v, want unplugged", err)
	}
	t.Logf("known after %v: %v", time.Since(begun), err)
}

// value reads a control.
func (d *device) value(c *Control) (int64, error) {
	e := &extControl{ID: c.id}
	if err := call(d.fd, dirReadWrite, 71, &extControls{Count: 1, Controls: e}); err != nil {
		return 0, fmt.Errorf("VIDIOC_G_EXT_CTRLS %s: %w", c.Name, err)
	}
	if c.kind == typeInt64 {
		return int64(e.Value[0]) | int64(e.Value[1])<<32, nil
	}
	return int64(int32(e.Value[0])), nil
}
