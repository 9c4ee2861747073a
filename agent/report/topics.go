package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is the last part of a topic: what its messages are.
type Kind string

// The kinds. The first seven come from the device, the next four go to it, timestamp goes both ways. All
// travel with QoS 1; only state is retained.
const (
	KindState      Kind = "state"
	KindHealth     Kind = "health"
	KindCompliance Kind = "compliance"
	KindSession    Kind = "session"
	KindAlarm      Kind = "alarm"
	KindCheckpoint Kind = "checkpoint"
	KindLedger     Kind = "ledger"

	KindCommand     Kind = "command"
	KindAck         Kind = "ack"
	KindCosignature Kind = "cosignature"
	KindLists       Kind = "lists"

	KindTimestamp Kind = "timestamp"
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{KindState, KindHealth, KindCompliance, KindSession, KindAlarm, KindCheckpoint, KindLedger,
		KindCommand, KindAck, KindCosignature, KindLists, KindTimestamp}
}

// FromDevice reports whether messages of this kind are sent by a device.
func (k Kind) FromDevice() bool {
	return k != KindCommand && k != KindAck && k != KindCosignature && k != KindLists
}

// ToDevice reports whether messages of this kind are sent to a device.
func (k Kind) ToDevice() bool { return !k.FromDevice() || k == KindTimestamp }

// Numbered reports whether messages of this kind are [Numbered].
func (k Kind) Numbered() bool { return k == KindSession || k == KindAlarm }

const topicRoot = "minglu/1/"

// Topic returns the topic of one kind of message of a device.
func Topic(device string, k Kind) string { return topicRoot + device + "/" + string(k) }

// ParseTopic is the inverse of [Topic]. The kind may be one this version does not know of.
func ParseTopic(topic string) (device string, k Kind, err error) {
	rest, ok := strings.CutPrefix(topic, topicRoot)
	device, kind, two := strings.Cut(rest, "/")
	var c checker
	c.chars("kind", kind, 1, 16, az)
	if !ok || !two || !ValidDevice(device) || c.err != nil {
		return "", "", fmt.Errorf("report: topic %q: want %sDEVICE/KIND", short(topic), topicRoot)
	}
	if !slices.Contains(Kinds(), Kind(kind)) {
		return device, Kind(kind), fmt.Errorf("report: topic %q: %w", short(topic), ErrKind)
	}
	return device, Kind(kind), nil
}

// ErrKind is wrapped when a topic is well formed but of a kind this version does not know: pass it over.
var ErrKind = errors.New("unknown kind of message")

// ValidDevice reports whether name is a device's name: 1 to 64 of a-z, 0-9 and hyphen.
func ValidDevice(name string) bool {
	var c checker
	c.device(name)
	return c.err == nil
}

// KindOf returns the kind a type of [Numbered] travels as. It is false for what cannot be a type.
func KindOf(typ string) (Kind, bool) {
	first, rest, two := strings.Cut(typ, ".")
	var c checker
	c.chars("type", rest, 1, 32, az+"-")
	k, ok := map[string]Kind{"session": KindSession, "alarm": KindAlarm, "command": KindAlarm}[first]
	return k, two && ok && c.err == nil
}

// short bounds what an error quotes of foreign text.
func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
