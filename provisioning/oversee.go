package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
	"minglu/provisioning/ledgers"
	"minglu/provisioning/witness"
)

// ledgersFolder of the office's state holds the lines of the devices' ledgers.
const ledgersFolder = "ledgers"

// overseer holds the devices to what their ledgers showed: it cosigns checkpoints, keeps the lines, and
// asks the witnesses elsewhere.
type overseer struct {
	witness  *witness.Witness
	outside  *witness.Outside
	exchange *witness.Exchange
}

// openOverseer opens it. refuse is told of what a person should look at.
func openOverseer(cfg *config.Config, authority *ca.CA, send func(device string, k report.Kind, payload []byte) error,
	refuse func(device, why, detail string), log *slog.Logger) (*overseer, error) {
	enrolled := enrolledKeys{authority}
	lines, err := ledgers.Open(ledgers.Options{Dir: filepath.Join(cfg.State, ledgersFolder), Keys: enrolled.ever, Log: log})
	if err != nil {
		return nil, err
	}
	w, err := openWitness(filepath.Join(cfg.State, witnessFolder), witnessName(cfg), enrolled.now, func(a witness.Alarm) {
		refuse(enrolled.name(a.Device), "witness-"+a.Code, a.Origin+" "+a.Detail)
	}, log)
	if err != nil {
		return nil, err
	}
	if w.Frozen() {
		log.Warn("this office was restored from a backup: its witness cosigns nothing until a person confirms it", "command", "minglu-provisioning witness confirm --config FILE")
	}
	o := witness.OutsideOptions{Lines: lines, Send: send, Log: log}
	for _, other := range cfg.Witness.Others {
		key, err := evidence.ParseVKey(other.VKey)
		if err != nil {
			return nil, &usageError{fmt.Errorf("witness.others: %w", err)}
		}
		o.Witnesses = append(o.Witnesses, witness.OutsideWitness{URL: other.URL, Key: key})
	}
	x := &overseer{witness: w}
	if x.outside, err = witness.NewOutside(o); err != nil {
		return nil, &usageError{err}
	}
	x.exchange = &witness.Exchange{Witness: w, Lines: lines, Send: send, Outside: x.outside, ID: enrolled.id}
	return x, nil
}

// Run asks the witnesses elsewhere until ctx ends, then lets the state go.
func (x *overseer) Run(ctx context.Context) error {
	err := x.outside.Run(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, x.witness.Close())
}

// enrolledKeys finds the signing keys of devices in the authority's log.
type enrolledKeys struct{ ca *ca.CA }

// now returns the keys that may sign now, ever all there were.
func (k enrolledKeys) now(device string) []*ecdsa.PublicKey {
	return k.keys(device, func(e ca.Entry) bool { return e.Good(time.Now()) })
}

func (k enrolledKeys) ever(device string) []*ecdsa.PublicKey {
	return k.keys(device, func(ca.Entry) bool { return true })
}

func (k enrolledKeys) keys(device string, fits func(ca.Entry) bool) (keys []*ecdsa.PublicKey) {
	for _, e := range k.ca.Entries() {
		if e.Kind != ca.KindSign || e.Device != device || !fits(e) {
			continue
		}
		if c, err := x509.ParseCertificate(e.DER); err == nil {
			if key, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// id returns the D of a device by its name, name the reverse; "" if there is none.
func (k enrolledKeys) id(name string) string {
	return k.last(func(e ca.Entry) bool { return e.Name == name && e.Good(time.Now()) }).Device
}

func (k enrolledKeys) name(device string) string {
	return k.last(func(e ca.Entry) bool { return e.Device == device }).Name
}

func (k enrolledKeys) last(fits func(ca.Entry) bool) (found ca.Entry) {
	for _, e := range k.ca.Entries() {
		if e.Kind == ca.KindSign && fits(e) {
			found = e
		}
	}
	return found
}
