package v4l2

import (
	"testing"
	"unsafe"
)

// TestSizes: what the kernel's compiler makes of videodev2.h, on ARM with 64 and 32 bit. On other
// 64-bit machines the structures are those of arm64. Run it for both: GOARCH=arm go vet compiles it,
// make hil runs it on both.
func TestSizes(t *testing.T) {
	wide := unsafe.Sizeof(uintptr(0)) == 8
	for _, s := range []struct {
		name     string
		got      uintptr
		w64, w32 uintptr
	}{
		{"v4l2_capability", unsafe.Sizeof(capability{}), 104, 104},
		{"v4l2_fmtdesc", unsafe.Sizeof(fmtDesc{}), 64, 64},
		{"v4l2_format", unsafe.Sizeof(format{}), 208, 204},
		{"v4l2_format.fmt", unsafe.Offsetof(format{}.U), 8, 4},
		{"v4l2_pix_format", unsafe.Sizeof(pixFormat{}), 48, 48},
		{"v4l2_plane_pix_format", unsafe.Sizeof(planeFormat{}), 20, 20},
		{"v4l2_pix_format_mplane", unsafe.Sizeof(pixFormatMulti{}), 192, 192},
		{"v4l2_pix_format_mplane.num_planes", unsafe.Offsetof(pixFormatMulti{}.NumPlanes), 180, 180},
		{"v4l2_requestbuffers", unsafe.Sizeof(requestBuffers{}), 20, 20},
		{"v4l2_buffer", unsafe.Sizeof(buffer{}), 88, 68},
		{"v4l2_buffer.timestamp", unsafe.Offsetof(buffer{}.Timestamp), 24, 20},
		{"v4l2_buffer.sequence", unsafe.Offsetof(buffer{}.Sequence), 56, 44},
		{"v4l2_buffer.m", unsafe.Offsetof(buffer{}.M), 64, 52},
		{"v4l2_plane", unsafe.Sizeof(plane{}), 64, 60},
		{"v4l2_streamparm", unsafe.Sizeof(streamParm{}), 204, 204},
		{"v4l2_frmsizeenum", unsafe.Sizeof(frameSize{}), 44, 44},
		{"v4l2_query_ext_ctrl", unsafe.Sizeof(queryControl{}), 232, 232},
		{"v4l2_query_ext_ctrl.minimum", unsafe.Offsetof(queryControl{}.Min), 40, 40},
		{"v4l2_ext_control", unsafe.Sizeof(extControl{}), 20, 20},
		{"v4l2_ext_controls", unsafe.Sizeof(extControls{}), 32, 24},
		{"v4l2_event_subscription", unsafe.Sizeof(eventSubscription{}), 32, 32},
		{"v4l2_event", unsafe.Sizeof(event{}), 136, 128},
		{"v4l2_event.u", unsafe.Offsetof(event{}.U), 8, 8},
		{"v4l2_event.id", unsafe.Offsetof(event{}.ID), 96, 88},
		{"v4l2_selection", unsafe.Sizeof(selection{}), 64, 64},
	} {
		want := s.w32
		if wide {
			want = s.w64
		}
		if s.got != want {
			t.Errorf("%s is at or of %d bytes, want %d", s.name, s.got, want)
		}
	}
}
