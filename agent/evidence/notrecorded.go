package evidence

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// NotRecorded is the record of something that was lawfully not recorded: what, why and who says so. It is
// signed as a manifest is, and the device ledger names it.
type NotRecorded struct {
	Type     string    `json:"type"` // "notrecorded"
	V        int64     `json:"v"`    // 1
	ID       string    `json:"id"`   // 32 hex digits, random
	Device   Device    `json:"device"`
	Body     Body      `json:"body"`
	Case     string    `json:"case"`
	Matter   string    `json:"matter"`
	Officers []Officer `json:"officers"`
	Why      string    `json:"why"`    // "secret", "urgent", "objective" (power, equipment, force majeure), "other"
	Reason   string    `json:"reason"` // in words
	Who      string    `json:"who"`    // who says so
	Login    string    `json:"login"`  // whose login entered it, "panel" without one
	From     int64     `json:"from"`   // µs since 1970: when it began, as said; 0 unknown
	To       int64     `json:"to"`     // when it ended, as said; 0 unknown
	T        int64     `json:"t"`      // when it was entered, by the device's clock
	TE       int64     `json:"te"`
}

// Reasons of a [NotRecorded].
const (
	WhySecret    = "secret"
	WhyUrgent    = "urgent"
	WhyObjective = "objective"
	WhyOther     = "other"
)

// BuildNotRecorded returns the record and its signature, made by the template of the manifest with signing time
// n.T. Type and V are filled in.
func BuildNotRecorded(n NotRecorded, certs []*x509.Certificate, key crypto.Signer) (json, p7s []byte, err error) {
	n.Type, n.V = "notrecorded", 1
	if n.Officers == nil {
		n.Officers = []Officer{}
	}
	if json, err = MarshalCanonical(n); err != nil {
		return nil, nil, fmt.Errorf("not recorded: %w", err)
	}
	if _, err = ParseNotRecorded(json); err != nil {
		return nil, nil, err
	}
	p7s, err = SignManifest(json, certs, key, time.UnixMicro(n.T))
	if err != nil {
		return nil, nil, fmt.Errorf("not recorded: %w", err)
	}
	return json, p7s, nil
}

// ParseNotRecorded reads a record strictly.
func ParseNotRecorded(b []byte) (*NotRecorded, error) {
	n := new(NotRecorded)
	if err := UnmarshalCanonical(b, n, true); err != nil {
		return nil, fmt.Errorf("not recorded: %w", err)
	}
	if n.Type != "notrecorded" || n.V != 1 || !isHex(n.ID, 32) {
		return nil, errors.New("not recorded: type, version or id is out of range")
	}
	if n.Why == "" || n.Reason == "" || n.Who == "" {
		return nil, errors.New("not recorded: why, reason and who are needed")
	}
	return n, nil
}

// CheckNotRecorded checks a record against its signature. It judges no chain and no date.
func CheckNotRecorded(json, p7s []byte, certs []*x509.Certificate) (*NotRecorded, error) {
	n, err := ParseNotRecorded(json)
	if err != nil {
		return nil, err
	}
	at, err := CheckCMS(p7s, json, certs)
	if err == nil && !at.Equal(time.UnixMicro(n.T).Truncate(time.Second)) {
		err = errors.New("its signing time is not its own")
	}
	if err != nil {
		return nil, fmt.Errorf("not recorded: %w", err)
	}
	return n, nil
}
