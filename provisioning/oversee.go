package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
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
	enrolled := &enrolledKeys{ca: authority}
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

// keysEvery is how long what the authority's log says of signing keys is taken for new.
const keysEvery = time.Second

// enrolledKeys finds the signing keys of devices in the authority's log. Safe for concurrent use.
type enrolledKeys struct {
	ca *ca.CA

	mu    sync.Mutex // guards what follows
	at    time.Time
	by    map[string][]enrolledKey // by D, oldest first
	names map[string]string        // D of the newest good certificate of a name
}

type enrolledKey struct {
	entry ca.Entry
	key   *ecdsa.PublicKey
}

// all returns the keys by device and the devices by name, at most [keysEvery] old.
func (k *enrolledKeys) all() (by map[string][]enrolledKey, names map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.by != nil && now.Sub(k.at) < keysEvery {
		return k.by, k.names
	}
	k.at, k.by, k.names = now, map[string][]enrolledKey{}, map[string]string{}
	for _, e := range k.ca.Entries() {
		if e.Kind != ca.KindSign {
			continue
		}
		c, err := x509.ParseCertificate(e.DER)
		if err != nil {
			continue
		}
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok {
			continue
		}
		k.by[e.Device] = append(k.by[e.Device], enrolledKey{e, key})
		if e.Good(now) {
			k.names[e.Name] = e.Device
		}
	}
	return k.by, k.names
}

// now returns the keys that may sign now, ever all there were.
func (k *enrolledKeys) now(device string) (keys []*ecdsa.PublicKey) {
	by, _ := k.all()
	for _, e := range by[device] {
		if e.entry.Good(time.Now()) {
			keys = append(keys, e.key)
		}
	}
	return keys
}

func (k *enrolledKeys) ever(device string) (keys []*ecdsa.PublicKey) {
	by, _ := k.all()
	for _, e := range by[device] {
		keys = append(keys, e.key)
	}
	return keys
}

// id returns the D of a device by its name, name the reverse; "" if there is none.
func (k *enrolledKeys) id(name string) string {
	_, names := k.all()
	return names[name]
}

func (k *enrolledKeys) name(device string) string {
	by, _ := k.all()
	if of := by[device]; len(of) > 0 {
		return of[len(of)-1].entry.Name
	}
	return ""
}
