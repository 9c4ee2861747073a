package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"minglu/agent/report"
)

// maxPacket is the most bytes after the fixed header: a message, its topic and its id.
const maxPacket = report.MaxSize + 1024

// subscriptions is how many filters one SUBSCRIBE of ours holds; the broker answers with as many codes.
const subscriptions = 5

// Types of MQTT packets a broker may send to a client that never uses QoS 2 (MQTT 3.1.1, table 2.1).
const (
	connack  = 2
	publish  = 3
	puback   = 4
	suback   = 9
	pingresp = 13
)

// guard lets the MQTT library see only whole, well-formed, bounded packets of kinds we have use for. The
// library allocates whatever length a header names, and trusts counts inside packets: a broker could
// stop the program that records.
type guard struct {
	net.Conn
	packet []byte // checked, not yet read by the library
	err    error
}

// Read implements net.Conn. An error of the check ends the connection.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.packet) == 0 && g.err == nil {
		g.packet, g.err = readPacket(g.Conn)
	}
	if len(g.packet) == 0 {
		return 0, g.err
	}
	n := copy(p, g.packet)
	g.packet = g.packet[n:]
	return n, nil
}

// readPacket reads one packet (MQTT 3.1.1, 2.2).
func readPacket(r io.Reader) ([]byte, error) {
	b := make([]byte, 1, 64)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	length := 0
	for shift := 0; ; shift += 7 {
		b = append(b, 0)
		if _, err := io.ReadFull(r, b[len(b)-1:]); err != nil {
			return nil, cut(err)
		}
		last := b[len(b)-1]
		length |= int(last&0x7f) << shift
		if last < 0x80 {
			break
		}
		if shift == 21 {
			return nil, errors.New("mqtt: a length of more than 4 bytes")
		}
	}
	if length > maxPacket {
		return nil, fmt.Errorf("mqtt: a packet of %d bytes, want at most %d", length, maxPacket)
	}
	if err := checkLength(b[0]>>4, length); err != nil {
		return nil, err
	}
	n := len(b)
	b = append(b, make([]byte, length)...)
	if _, err := io.ReadFull(r, b[n:]); err != nil {
		return nil, cut(err)
	}
	if err := checkPublish(b[0], b[n:]); err != nil {
		return nil, err
	}
	return b, nil
}

// cut says that the connection ended inside a packet.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func checkLength(kind byte, n int) error {
	lo, hi := 0, 0
	switch kind {
	case connack, puback:
		lo, hi = 2, 2
	case suback:
		lo, hi = 2+subscriptions, 2+subscriptions
	case publish:
		lo, hi = 3, maxPacket
	case pingresp:
	default:
		return fmt.Errorf("mqtt: a packet of type %d, which this client has no use for", kind)
	}
	if n < lo || n > hi {
		return fmt.Errorf("mqtt: a packet of type %d with %d bytes, want %d to %d", kind, n, lo, hi)
	}
	return nil
}

// checkPublish holds MQTT 3.1.1, 3.3, for QoS 0 and 1.
func checkPublish(first byte, body []byte) error {
	if first>>4 != publish {
		return nil
	}
	qos := first >> 1 & 3
	topic := int(binary.BigEndian.Uint16(body))
	switch {
	case qos > 1:
		return fmt.Errorf("mqtt: a message with QoS %d, which was not asked for", qos)
	case 2+topic+2*int(qos) > len(body):
		return errors.New("mqtt: a topic longer than its packet")
	case qos == 1 && binary.BigEndian.Uint16(body[2+topic:]) == 0:
		return errors.New("mqtt: a message with id 0")
	}
	return nil
}
