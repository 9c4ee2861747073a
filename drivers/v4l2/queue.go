package v4l2

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue is one direction of a device with its buffers mapped into memory.
type queue struct {
	d      *device
	kind   uint32
	bufs   [][]byte // first plane of each
	planes *[maxPlanes]plane
}

// frame is a buffer taken from the driver. Data is valid until the buffer is given back.
type frame struct {
	index    uint32
	data     []byte
	flags    uint32
	sequence uint32
	stamp    unix.Timeval
}

// maxBuffers is more than any driver gives.
const maxBuffers = 32

// newQueue asks the driver for n buffers of the format in force and maps them.
func newQueue(d *device, kind uint32, n int) (*queue, error) {
	q := &queue{d: d, kind: kind, planes: new([maxPlanes]plane)}
	r := requestBuffers{Count: uint32(n), Type: kind, Memory: memoryMMAP}
	if err := call(d.fd, dirReadWrite, nrReqBufs, &r); err != nil {
		return nil, fmt.Errorf("VIDIOC_REQBUFS: %w", err)
	}
	if r.Count == 0 || r.Count > maxBuffers {
		q.free()
		return nil, fmt.Errorf("VIDIOC_REQBUFS: %d buffers", r.Count)
	}
	for i := range r.Count {
		b := q.buffer()
		b.Index = i
		if err := call(d.fd, dirReadWrite, nrQueryBuf, b); err != nil {
			q.free()
			return nil, fmt.Errorf("VIDIOC_QUERYBUF: %w", err)
		}
		offset, length := b.M, b.Length
		if multi(kind) {
			offset, length = q.planes[0].M, q.planes[0].Length
		}
		if length == 0 || length > maxPicture {
			q.free()
			return nil, fmt.Errorf("VIDIOC_QUERYBUF: a buffer of %d bytes", length)
		}
		m, err := unix.Mmap(d.fd, int64(uint32(offset)), int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			q.free()
			return nil, fmt.Errorf("mmap: %w", err)
		}
		q.bufs = append(q.bufs, m)
	}
	return q, nil
}

// buffer is one to call with. The planes lie on the heap, where the kernel may be pointed at them.
func (q *queue) buffer() *buffer {
	b := &buffer{Type: q.kind, Memory: memoryMMAP}
	if multi(q.kind) {
		*q.planes = [maxPlanes]plane{}
		b.Length = maxPlanes
		b.M = uintptr(unsafe.Pointer(q.planes))
	}
	return b
}

// put gives buffer i to the driver: to be filled, or, of an output, with the first used bytes filled.
func (q *queue) put(i uint32, used int, stamp unix.Timeval) error {
	b := q.buffer()
	b.Index, b.Field, b.Timestamp = i, fieldNone, stamp
	if multi(q.kind) {
		b.Length = 1
		q.planes[0].Length, q.planes[0].BytesUsed = uint32(len(q.bufs[i])), uint32(used)
	} else {
		b.BytesUsed = uint32(used)
	}
	if err := call(q.d.fd, dirReadWrite, nrQueueBuf, b); err != nil {
		return fmt.Errorf("VIDIOC_QBUF: %w", err)
	}
	return nil
}

// take takes the next buffer from the driver. The error is EAGAIN if there is none, EPIPE after the
// last, ENODEV when the device is gone.
func (q *queue) take() (frame, error) {
	b := q.buffer()
	if err := call(q.d.fd, dirReadWrite, nrDequeueBuf, b); err != nil {
		return frame{}, err
	}
	if int(b.Index) >= len(q.bufs) {
		return frame{}, fmt.Errorf("VIDIOC_DQBUF: buffer %d of %d", b.Index, len(q.bufs))
	}
	from, used := 0, int(b.BytesUsed)
	if multi(q.kind) {
		from, used = int(q.planes[0].DataOffset), int(q.planes[0].BytesUsed)
	}
	m := q.bufs[b.Index]
	used = min(max(used, 0), len(m))
	return frame{index: b.Index, data: m[min(max(from, 0), used):used], flags: b.Flags, sequence: b.Sequence, stamp: b.Timestamp}, nil
}

// fill gives all buffers of a capture queue to the driver and lets it run.
func (q *queue) fill() error {
	for i := range q.bufs {
		if err := q.put(uint32(i), 0, unix.Timeval{}); err != nil {
			return err
		}
	}
	return q.start()
}

func (q *queue) start() error {
	kind := q.kind
	if err := call(q.d.fd, dirWrite, nrStreamOn, &kind); err != nil {
		return fmt.Errorf("VIDIOC_STREAMON: %w", err)
	}
	return nil
}

// free stops the queue, unmaps its buffers (a mapping would keep an unplugged device) and gives them back.
func (q *queue) free() {
	kind := q.kind
	_ = call(q.d.fd, dirWrite, nrStreamOff, &kind)
	for _, m := range q.bufs {
		_ = unix.Munmap(m)
	}
	q.bufs = nil
	_ = call(q.d.fd, dirReadWrite, nrReqBufs, &requestBuffers{Type: q.kind, Memory: memoryMMAP})
}

// stamps are the kernel's time stamps of a queue, made to be trusted: they rise, and lie between the
// one before and now. A driver that stamps by another clock, or wrongly, gets the moment its picture
// was taken out instead.
type stamps struct {
	last  int64 // ns
	wrong int   // stamps that were not believed
}

// oldest is how long a picture may have lain in the driver. The buffers of one queue hold less.
const oldest = 5 * time.Second

// next returns the time of a picture in ns of CLOCK_MONOTONIC.
func (s *stamps) next(flags uint32, stamp unix.Timeval, now int64) int64 {
	ns := int64(stamp.Sec)*int64(time.Second) + int64(stamp.Usec)*int64(time.Microsecond)
	known := flags & flagTimestampMask
	if known != flagMonotonic && known != flagCopied || ns <= s.last || ns > now+int64(time.Millisecond) || now-ns > int64(oldest) {
		s.wrong++
		ns = max(now, s.last+1)
	}
	s.last = ns
	return ns
}

// monotonic is CLOCK_MONOTONIC in ns, the clock of the kernel's time stamps.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("BUG: v4l2: no monotonic clock: " + err.Error())
	}
	return t.Nano()
}

// ticks converts ns to ticks of 90 kHz.
func ticks(ns int64) int64 { return ns * 9 / 100_000 }
