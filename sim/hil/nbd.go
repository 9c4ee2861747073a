package hil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// Numbers of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md: "Values").
const (
	nbdMagic       = 0x4e42444d41474943
	nbdOptMagic    = 0x49484156454F5054
	nbdReplyMagic  = 0x3e889045565a9
	nbdRequest     = 0x25609513
	nbdSimple      = 0x67446698
	nbdFixed       = 1 // handshake flag: fixed newstyle
	nbdOptExport   = 1 // client picks the export and goes on at once
	nbdOptAbort    = 2 //
	nbdOptGo       = 7 // client picks the export and wants to be told of it
	nbdRepAck      = 1 //
	nbdRepInfo     = 3 //
	nbdRepUnsup    = 1<<31 | 1
	nbdInfoExport  = 0               //
	nbdTransmit    = 1 | 1<<2 | 1<<3 // has flags, takes FLUSH and FUA
	nbdRead        = 0
	nbdWrite       = 1
	nbdDisconnect  = 2
	nbdFlush       = 3
	nbdFUA         = 1 << 0 // command flag
	nbdInvalid     = 22     // EINVAL
	sector         = 512
	atom           = 4096 // no write is torn within it: the physical sector of today's disks, and ext4 counts on its superblock
	nbdMaxTransfer = 32 << 20
)

// Disk is a raw image file served to one guest as a disk with a volatile write cache: what the guest
// writes is in memory until it asks for a flush (or writes with FUA). A power cut may lose each unflushed
// write, keep it, or tear it between any two blocks of 4 KiB, whatever the order they came in; what was
// flushed stays. The
// image is on the host, whose own power stays on. Safe for concurrent use.
type Disk struct {
	Image string
	size  int64
	l     net.Listener

	mu      sync.Mutex
	f       *os.File
	cache   []write
	flushes int64
	written int64
	trip    int64 // writes and flushes until tripped, 0 for none
	tripped chan struct{}
	gone    chan struct{} // closed when the guest's connection has ended
}

type write struct {
	at   int64
	b    []byte
	sure bool // written with FUA: no cut takes it away
}

// Loss is what a power cut did to the writes that were not flushed.
type Loss struct{ Kept, Lost, Torn int }

// ServeDisk serves an image at a Unix socket until Close. One guest at a time may connect.
func ServeDisk(image, socket string) (*Disk, error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("hil: disk: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Size()%sector != 0 {
		err = fmt.Errorf("%s has %d bytes, want whole sectors", image, st.Size())
	}
	var l net.Listener
	if err == nil {
		l, err = net.Listen("unix", socket)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("hil: disk: %w", err)
	}
	d := &Disk{Image: image, size: st.Size(), l: l, f: f, gone: make(chan struct{})}
	close(d.gone)
	go d.accept()
	return d, nil
}

// Close ends the service; what was not flushed is lost, as in [Disk.Cut] at its worst.
func (d *Disk) Close() error {
	err := d.l.Close()
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(err, d.f.Close())
}

// Counts are flushes and bytes written since the service began.
func (d *Disk) Counts() (flushes, written int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushes, d.written
}

// Socket is where a guest finds the disk.
func (d *Disk) Socket() string { return d.l.Addr().String() }

// Cut decides what became of the unflushed writes of a guest that was cut off: call it after
// [Guest.Cut]. Each is kept or lost with even chance, one of eight torn.
func (d *Disk) Cut(r *rand.Rand) (Loss, error) {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	var l Loss
	for _, w := range d.cache {
		switch n := r.IntN(8); {
		case !w.sure && n == 0 && w.at/atom != (w.at+int64(len(w.b))-1)/atom:
			l.Torn++
			for at := 0; at < len(w.b); {
				end := min(at+atom-int((w.at+int64(at))%atom), len(w.b))
				if r.IntN(2) == 0 {
					if _, err := d.f.WriteAt(w.b[at:end], w.at+int64(at)); err != nil {
						return l, fmt.Errorf("hil: disk: %w", err)
					}
				}
				at = end
			}
		case !w.sure && n < 4:
			l.Lost++
		default:
			l.Kept++
			if _, err := d.f.WriteAt(w.b, w.at); err != nil {
				return l, fmt.Errorf("hil: disk: %w", err)
			}
		}
	}
	d.cache = nil
	return l, nil
}

// Trip makes the disk stand still at the n-th write or flush from now on, which is not answered nor, if it
// is a flush, carried out; and returns what is closed then: the moment to call [Guest.Cut].
func (d *Disk) Trip(n int64) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trip, d.tripped = n, make(chan struct{})
	return d.tripped
}

// stands reports whether the disk stands still from now on.
func (d *Disk) stands() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trip == 0 {
		return false
	}
	if d.trip--; d.trip > 0 {
		return false
	}
	close(d.tripped)
	return true
}

// wait waits until the guest's connection has ended.
func (d *Disk) wait() {
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	<-gone
}

func (d *Disk) accept() {
	for {
		c, err := d.l.Accept()
		if err != nil {
			return
		}
		gone := make(chan struct{})
		d.mu.Lock()
		d.gone = gone
		d.mu.Unlock()
		_ = d.serve(c) // a guest that was cut off ends in an error; that is what it is for
		c.Close()
		close(gone)
	}
}

func put(w io.Writer, v ...any) error {
	var b []byte
	for _, x := range v {
		var err error
		if b, err = binary.Append(b, binary.BigEndian, x); err != nil {
			return err
		}
	}
	_, err := w.Write(b)
	return err
}

// serve agrees with the client on the one export there is, then answers its requests in order.
func (d *Disk) serve(c net.Conn) error {
	if err := put(c, uint64(nbdMagic), uint64(nbdOptMagic), uint16(nbdFixed)); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(c, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var o struct {
			Magic       uint64
			Option, Len uint32
		}
		if err := binary.Read(c, binary.BigEndian, &o); err != nil {
			return err
		}
		if o.Magic != nbdOptMagic || o.Len > 64<<10 {
			return fmt.Errorf("hil: disk: option %x of %d bytes", o.Magic, o.Len)
		}
		if _, err := io.CopyN(io.Discard, c, int64(o.Len)); err != nil {
			return err
		}
		reply := func(kind uint32, data ...any) error {
			n := uint32(0)
			for _, x := range data {
				n += uint32(binary.Size(x))
			}
			return put(c, append([]any{uint64(nbdReplyMagic), o.Option, kind, n}, data...)...)
		}
		var err error
		switch o.Option {
		case nbdOptExport:
			if err := put(c, uint64(d.size), uint16(nbdTransmit), [124]byte{}); err != nil {
				return err
			}
			return d.transmit(c)
		case nbdOptGo:
			err = errors.Join(reply(nbdRepInfo, uint16(nbdInfoExport), uint64(d.size), uint16(nbdTransmit)), reply(nbdRepAck))
			if err == nil {
				return d.transmit(c)
			}
		case nbdOptAbort:
			return reply(nbdRepAck)
		default:
			err = reply(nbdRepUnsup)
		}
		if err != nil {
			return err
		}
	}
}

func (d *Disk) transmit(c net.Conn) error {
	for {
		var q struct {
			Magic       uint32
			Flags, Type uint16
			Cookie      uint64
			At          int64
			Len         uint32
		}
		if err := binary.Read(c, binary.BigEndian, &q); err != nil {
			return err
		}
		if q.Magic != nbdRequest || q.Len > nbdMaxTransfer {
			return fmt.Errorf("hil: disk: request %x of %d bytes", q.Magic, q.Len)
		}
		var data []byte
		if q.Type == nbdWrite || q.Type == nbdRead {
			data = make([]byte, q.Len)
		}
		if q.Type == nbdWrite {
			if _, err := io.ReadFull(c, data); err != nil {
				return err
			}
		}
		code := uint32(0)
		switch {
		case q.Type == nbdDisconnect:
			return nil
		case q.At < 0 || q.At+int64(q.Len) > d.size:
			code = nbdInvalid
		case q.Type == nbdRead:
			if err := d.read(data, q.At); err != nil {
				return err
			}
		case q.Type == nbdWrite:
			d.mu.Lock()
			d.cache = append(d.cache, write{q.At, data, q.Flags&nbdFUA != 0})
			d.written += int64(len(data))
			d.mu.Unlock()
			if d.stands() {
				_, err := io.Copy(io.Discard, c) // until the guest is gone
				return err
			}
		case q.Type == nbdFlush:
			if d.stands() {
				_, err := io.Copy(io.Discard, c)
				return err
			}
			if err := d.flush(); err != nil {
				return err
			}
		default:
			code = nbdInvalid
		}
		if err := put(c, uint32(nbdSimple), code, q.Cookie); err != nil {
			return err
		}
		if q.Type == nbdRead && code == 0 {
			if _, err := c.Write(data); err != nil {
				return err
			}
		}
	}
}

// read reads the image as the guest sees it: with what is in the cache, the latest last.
func (d *Disk) read(b []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.f.ReadAt(b, at); err != nil {
		return fmt.Errorf("hil: disk: %w", err)
	}
	for _, w := range d.cache {
		from, to := max(at, w.at), min(at+int64(len(b)), w.at+int64(len(w.b)))
		if from < to {
			copy(b[from-at:to-at], w.b[from-w.at:to-w.at])
		}
	}
	return nil
}

// flush makes durable what was written until now.
func (d *Disk) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushes++
	for _, w := range d.cache {
		if _, err := d.f.WriteAt(w.b, w.at); err != nil {
			return fmt.Errorf("hil: disk: %w", err)
		}
	}
	d.cache = nil
	return nil
}
