package v4l2

import (
	"fmt"
	"slices"
	"strings"
)

// Controls an encoder gets from us, include/uapi/linux/v4l2-controls.h.
const (
	ctrlBFrames      = 0x009909ca // V4L2_CID_MPEG_VIDEO_B_FRAMES
	ctrlGOPSize      = 0x009909cb // V4L2_CID_MPEG_VIDEO_GOP_SIZE
	ctrlBitrate      = 0x009909cf // V4L2_CID_MPEG_VIDEO_BITRATE
	ctrlHeaderMode   = 0x009909d8 // V4L2_CID_MPEG_VIDEO_HEADER_MODE
	ctrlRepeatHeader = 0x009909e2 // V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER
	ctrlForceKey     = 0x009909e5 // V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME
	ctrlIPeriod      = 0x00990a66 // V4L2_CID_MPEG_VIDEO_H264_I_PERIOD

	headerWithFirst = 1 // V4L2_MPEG_VIDEO_HEADER_MODE_JOINED_WITH_1ST_FRAME
)

// Types of controls (enum v4l2_ctrl_type) with an integer value.
const (
	typeInteger = 1
	typeBool    = 2
	typeMenu    = 3
	typeButton  = 4
	typeInt64   = 5
	typeBitmask = 8
	typeIntMenu = 9
)

const (
	ctrlDisabled = 0x1
	ctrlReadOnly = 0x4
	ctrlNext     = 0x80000000
)

// Control is a setting of a camera or encoder.
type Control struct {
	Name              string // as v4l2-ctl writes it: "brightness", "video_bitrate"
	Min, Max, Default int64
	Step              int64

	id, kind uint32
}

// controlName writes a driver's name as v4l2-ctl does.
func controlName(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(s) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if gap && b.Len() > 0 {
				b.WriteByte('_')
			}
			b.WriteRune(r)
		}
		gap = !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	}
	return b.String()
}

// controls are those of the node that can be set to a number.
func (d *device) controls() (list []Control) {
	id := uint32(0)
	for range maxList {
		q := queryControl{ID: id | ctrlNext}
		if call(d.fd, dirReadWrite, nrQueryExtCtrl, &q) != nil {
			break
		}
		if q.ID <= id {
			break // a driver that goes in circles
		}
		id = q.ID
		numeric := slices.Contains([]uint32{typeInteger, typeBool, typeMenu, typeInt64, typeBitmask, typeIntMenu, typeButton}, q.Type)
		if !numeric || q.Flags&(ctrlDisabled|ctrlReadOnly) != 0 {
			continue
		}
		list = append(list, Control{Name: controlName(text(q.Name[:])), Min: q.Min, Max: q.Max, Default: q.Default, Step: int64(q.Step), id: q.ID, kind: q.Type})
	}
	return list
}

// check says what is wrong with a value, "" if nothing.
func (c *Control) check(v int64) string {
	switch {
	case c.kind == typeButton:
		return ""
	case c.kind == typeBitmask:
		if v < 0 || v&^c.Max != 0 {
			return fmt.Sprintf("0-%#x", c.Max)
		}
	case v < c.Min || v > c.Max:
		return fmt.Sprintf("%d-%d", c.Min, c.Max)
	case c.Step > 1 && (v-c.Min)%c.Step != 0:
		return fmt.Sprintf("%d-%d, step %d", c.Min, c.Max, c.Step)
	}
	return ""
}

// set sets a control. The driver may refuse what its range allows.
func (d *device) set(c *Control, v int64) error {
	e := &extControl{ID: c.id, Value: [2]uint32{uint32(v), uint32(v >> 32)}}
	if err := call(d.fd, dirReadWrite, nrSetExtCtrls, &extControls{Count: 1, Controls: e}); err != nil {
		return fmt.Errorf("VIDIOC_S_EXT_CTRLS %s=%d: %w", c.Name, v, err)
	}
	return nil
}

// prefer sets a control if the node has it and the value fits; otherwise the driver's own stays.
func (d *device) prefer(list []Control, id uint32, v int64) {
	if i := slices.IndexFunc(list, func(c Control) bool { return c.id == id }); i >= 0 {
		c := &list[i]
		if c.kind == typeInteger || c.kind == typeIntMenu {
			v = min(max(v, c.Min), c.Max)
		}
		if c.check(v) == "" {
			_ = d.set(c, v)
		}
	}
}
