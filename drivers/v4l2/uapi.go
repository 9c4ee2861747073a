package v4l2

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's structures, include/uapi/linux/videodev2.h of Linux 6.1, for 32 and 64 bit. Their sizes
// are part of the request numbers, so that a wrong one is refused (ENOTTY); uapi_test.go pins them.
// On 32-bit boards time stamps are the 32-bit ones of the old ABI, which is enough for a monotonic clock.

// Buffer types (enum v4l2_buf_type).
const (
	captureSingle = 1
	outputSingle  = 2
	captureMulti  = 9
	outputMulti   = 10
)

const (
	memoryMMAP = 1 // enum v4l2_memory
	fieldNone  = 1 // enum v4l2_field
	maxPlanes  = 8 // VIDEO_MAX_PLANES
)

// Capabilities (V4L2_CAP_*).
const (
	capCapture      = 0x00000001
	capCaptureMulti = 0x00001000
	capM2MMulti     = 0x00004000
	capM2M          = 0x00008000
	capStreaming    = 0x04000000
	capDeviceCaps   = 0x80000000
)

// Flags of a buffer (V4L2_BUF_FLAG_*).
const (
	flagError         = 0x00000040
	flagTimestampMask = 0x0000e000
	flagMonotonic     = 0x00002000
	flagCopied        = 0x00004000
	flagLast          = 0x00100000
)

// Request numbers (VIDIOC_*), without direction and size.
const (
	nrQueryCap        = 0
	nrEnumFmt         = 2
	nrGetFmt          = 4
	nrSetFmt          = 5
	nrReqBufs         = 8
	nrQueryBuf        = 9
	nrQueueBuf        = 15
	nrDequeueBuf      = 17
	nrStreamOn        = 18
	nrStreamOff       = 19
	nrGetParm         = 21
	nrSetParm         = 22
	nrSetExtCtrls     = 72
	nrEnumFrameSizes  = 74
	nrDequeueEvent    = 89
	nrSubscribeEvent  = 90
	nrQueryExtCtrl    = 103
	eventSourceChange = 5
)

type capability struct {
	Driver                         [16]byte
	Card, Bus                      [32]byte
	Version, Capabilities, DevCaps uint32
	_                              [3]uint32
}

type fmtDesc struct {
	Index, Type, Flags uint32
	Desc               [32]byte
	PixFmt, Mbus       uint32
	_                  [3]uint32
}

// format holds a pixFormat or a pixFormatMulti; the kernel's union has pointers and is aligned as one.
type format struct {
	Type uint32
	U    [200 / unsafe.Sizeof(uintptr(0))]uintptr
}

func (f *format) single() *pixFormat     { return (*pixFormat)(unsafe.Pointer(&f.U)) }
func (f *format) multi() *pixFormatMulti { return (*pixFormatMulti)(unsafe.Pointer(&f.U)) }

type pixFormat struct {
	Width, Height, PixFmt, Field, BytesPerLine, SizeImage, Colorspace, Priv, Flags, Encoding, Quantization, Transfer uint32
}

type planeFormat struct {
	SizeImage, BytesPerLine uint32
	_                       [6]uint16
}

type pixFormatMulti struct {
	Width, Height, PixFmt, Field, Colorspace           uint32
	Planes                                             [maxPlanes]planeFormat
	NumPlanes, Flags, Encoding, Quantization, Transfer uint8
	_                                                  [7]uint8
}

type requestBuffers struct {
	Count, Type, Memory, Caps uint32
	Flags                     uint8
	_                         [3]uint8
}

type buffer struct {
	Index, Type, BytesUsed, Flags, Field uint32
	Timestamp                            unix.Timeval
	Timecode                             [4]uint32
	Sequence, Memory                     uint32
	M                                    uintptr // offset, or pointer to the planes
	Length, _, RequestFD                 uint32
}

type plane struct {
	BytesUsed, Length uint32
	M                 uintptr
	DataOffset        uint32
	_                 [11]uint32
}

// streamParm is struct v4l2_streamparm of a capture (or output) type.
type streamParm struct {
	Type                   uint32
	Capability, Mode       uint32
	Numerator, Denominator uint32 // of the time of one frame, seconds
	_                      [46]uint32
}

type frameSize struct {
	Index, PixFmt, Type uint32
	Size                [6]uint32 // discrete: width, height; stepwise: min, max, step of each
	_                   [2]uint32
}

type queryControl struct {
	ID, Type           uint32
	Name               [32]byte
	Min, Max           int64
	Step               uint64
	Default            int64
	Flags              uint32
	ElemSize, Elems, N uint32
	Dims               [4]uint32
	_                  [32]uint32
}

// extControl is packed in the kernel: no 8-byte field.
type extControl struct {
	ID, Size, _ uint32
	Value       [2]uint32
}

type extControls struct {
	Which, Count, ErrorIndex, RequestFD, _ uint32
	Controls                               *extControl
}

type eventSubscription struct {
	Type, ID, Flags uint32
	_               [5]uint32
}

// event is struct v4l2_event: its union holds 64-bit values and is aligned so on ARM.
type event struct {
	Type, _           uint32
	U                 [64]byte
	Pending, Sequence uint32
	Timestamp         unix.Timespec
	ID                uint32
	_                 [8]uint32
	_                 [1]uint32 // padding up to the alignment of 64 bit
}

// Directions of a request (asm-generic/ioctl.h).
const (
	dirWrite     = 1
	dirRead      = 2
	dirReadWrite = 3
)

func request(dir, nr, size uintptr) uintptr { return dir<<30 | size<<16 | 'V'<<8 | nr }

// call is one ioctl on v. v must hold no pointer into the stack of a goroutine.
func call[T any](fd int, dir, nr uintptr, v *T) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request(dir, nr, unsafe.Sizeof(*v)), uintptr(unsafe.Pointer(v)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return e
		}
		return nil
	}
}

// text is a C string.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(bytes.ToValidUTF8(s, nil))
}

// FourCC is a pixel format as the kernel names it (V4L2_PIX_FMT_*).
type FourCC uint32

// Formats that are used here.
const (
	H264  FourCC = 'H' | '2'<<8 | '6'<<16 | '4'<<24
	HEVC  FourCC = 'H' | 'E'<<8 | 'V'<<16 | 'C'<<24
	MJPEG FourCC = 'M' | 'J'<<8 | 'P'<<16 | 'G'<<24
	YUYV  FourCC = 'Y' | 'U'<<8 | 'Y'<<16 | 'V'<<24
	NV12  FourCC = 'N' | 'V'<<8 | '1'<<16 | '2'<<24
	YU12  FourCC = 'Y' | 'U'<<8 | '1'<<16 | '2'<<24
	FWHT  FourCC = 'F' | 'W'<<8 | 'H'<<16 | 'T'<<24
)

func (f FourCC) String() string {
	b := []byte{byte(f), byte(f >> 8), byte(f >> 16), byte(f>>24) & 0x7f}
	for i, c := range b {
		if c <= ' ' || c > '~' {
			b[i] = ' '
		}
	}
	return string(bytes.TrimRight(b, " "))
}
