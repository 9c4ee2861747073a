package uplink

import (
	"bytes"
	"io"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"minglu/agent/report"
)

func publishPacket(qos byte, topic string, payload []byte) []byte {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.TopicName, p.Payload, p.MessageID = qos, topic, payload, 7
	var b bytes.Buffer
	p.Write(&b)
	return b.Bytes()
}

func TestGuardPasses(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		packet []byte
		ok     bool
	}{
		{"CONNACK", []byte{0x20, 2, 0, 0}, true},
		{"PUBACK", []byte{0x40, 2, 0, 1}, true},
		{"SUBACK for our five topics", []byte{0x90, 7, 0, 1, 1, 1, 1, 1, 1}, true},
		{"PINGRESP", []byte{0xd0, 0}, true},
		{"a message", publishPacket(1, "minglu/1/a/ack", []byte("{}")), true},
		{"a message with QoS 0", publishPacket(0, "a", nil), true},
		{"a message as long as one may be", publishPacket(1, "minglu/1/a/ack", make([]byte, report.MaxSize)), true},
		{"SUBACK with more codes than we asked for: the library would index beyond its list", []byte{0x90, 8, 0, 1, 1, 1, 1, 1, 1, 1}, false},
		{"SUBACK with fewer", []byte{0x90, 6, 0, 1, 1, 1, 1, 1}, false},
		{"QoS 2", publishPacket(2, "a", nil), false},
		{"QoS 3", []byte{0x36, 5, 0, 1, 'a', 0, 7}, false},
		{"id 0", []byte{0x32, 5, 0, 1, 'a', 0, 0}, false},
		{"a topic beyond the packet", []byte{0x32, 5, 0, 9, 'a', 0, 7}, false},
		{"a message without room for its id", []byte{0x32, 4, 0, 1, 'a', 0}, false},
		{"PUBREC: QoS 2 is not used", []byte{0x50, 2, 0, 1}, false},
		{"PUBREL", []byte{0x62, 2, 0, 1}, false},
		{"CONNECT, which only clients send", []byte{0x10, 2, 0, 0}, false},
		{"type 0", []byte{0, 0}, false},
		{"PINGRESP with a body", []byte{0xd0, 1, 0}, false},
		{"a length of 268 MB is refused before it is read", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, false},
		{"a length of five bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, false},
		{"one byte too long", publishPacket(1, "t", make([]byte, maxPacket-4)), false},
		{"cut short", []byte{0x40, 2, 0}, false},
		{"a header cut short", []byte{0x40}, false},
		{"nothing", nil, false},
	} {
		a, b := pipe()
		b.Write(tt.packet)
		b.Close()
		got, err := io.ReadAll(io.LimitReader(&guard{Conn: a}, int64(len(tt.packet)+1)))
		if ok := err == nil && bytes.Equal(got, tt.packet) && len(got) > 0; ok != tt.ok {
			t.Errorf("%s: %d of %d bytes, %v; want passed = %t", tt.rule, len(got), len(tt.packet), err, tt.ok)
		}
		if !tt.ok && len(got) > 0 {
			t.Errorf("%s: the library saw %d bytes of it", tt.rule, len(got))
		}
	}
}

// FuzzGuard: what passes, the library reads as one packet of the same length, without a panic.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0, 0x90, 7, 0, 1, 1, 1, 1, 1, 1, 0xd0, 0})
	f.Add(publishPacket(1, "minglu/1/a/ack", []byte("{}")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := bytes.NewReader(b); ; {
			p, err := readPacket(r)
			if err != nil {
				return
			}
			left := bytes.NewReader(p)
			cp, err := packets.ReadPacket(left)
			if err != nil || left.Len() > 0 {
				t.Fatalf("% x: the library says %v, leaves %d bytes", p, err, left.Len())
			}
			if s, ok := cp.(*packets.SubackPacket); ok && len(s.ReturnCodes) != subscriptions {
				t.Fatalf("% x: %d codes", p, len(s.ReturnCodes))
			}
		}
	})
}
