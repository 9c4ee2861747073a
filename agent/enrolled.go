package main

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"minglu/agent/config"
	"minglu/agent/evidence"
	"minglu/agent/identity"
	"minglu/agent/ledger"
)

// identity is the device's identity with its newest certificates.
func (a *agent) identity() *identity.Identity {
	if a.keeper == nil {
		return a.id
	}
	return a.keeper.Current()
}

// formerDevice is whose ledger the state folder holds after it came to another board.
func formerDevice(id *identity.Identity) *ledger.Before {
	if id.Before == nil || id.Before.Public == nil {
		return nil
	}
	return &ledger.Before{Device: id.Before.D, Public: id.Before.Public}
}

// officePrefix begins the names of files in the trust folder that came from the office.
const officePrefix = "office-"

// openKeeper makes what renews the certificates.
func (a *agent) openKeeper() {
	u, err := url.Parse(configuredURL(a.cfg))
	password := false
	if err == nil && u.User != nil {
		_, password = u.User.Password()
	}
	a.keeper = identity.NewKeeper(identity.KeeperOptions{
		Open: identityOptions(a.cfg), Identity: a.id, Needed: a.cfg.MQTT != nil && !password,
		Now:     func() time.Time { return a.clock.Now().T },
		Offline: func() bool { return a.uplink != nil && !a.uplink.Status().Connected },
		Fault:   a.loop.Fault, Lists: a.keepLists, Trust: a.keepTrust, Board: boardOf(a.cfg), Log: a.log,
		Changed: func(id *identity.Identity) {
			if err := a.announceSM2(id); err != nil {
				a.log.Error("SM2 key not announced", "err", err)
			}
		},
	})
}

// keepLists puts the office's root and revocation lists into the trust folder.
func (a *agent) keepLists(crl, root []byte) {
	dir := filepath.Join(a.cfg.State, trustFolder, "ca")
	err := a.files.MkdirAll(dir)
	for name, b := range map[string][]byte{"office.crl": crl, "office.pem": root} {
		if have, rerr := os.ReadFile(filepath.Join(dir, name)); rerr == nil && bytes.Equal(have, b) || err != nil {
			continue
		}
		err = a.files.Replace(filepath.Join(dir, name), b)
	}
	if err != nil {
		a.log.Warn("revocation lists not kept", "err", err)
	}
}

// keepTrust puts what the office trusts into the trust folder, each file under a name of its own: what a
// person put there stays, what the office no longer names goes.
func (a *agent) keepTrust(files map[string][]byte) {
	err := error(nil)
	for _, folder := range []string{"tsa", "witness"} {
		dir := filepath.Join(a.cfg.State, trustFolder, folder)
		err = errors.Join(err, a.files.MkdirAll(dir))
		want := map[string][]byte{}
		for name, b := range files {
			if strings.HasPrefix(name, folder+"/") {
				want[officePrefix+filepath.Base(name)] = b
			}
		}
		list, lerr := os.ReadDir(dir)
		err = errors.Join(err, lerr)
		for _, e := range list {
			if _, ok := want[e.Name()]; !ok && strings.HasPrefix(e.Name(), officePrefix) {
				err = errors.Join(err, a.files.Remove(filepath.Join(dir, e.Name())))
			}
		}
		for name, b := range want {
			if have, rerr := os.ReadFile(filepath.Join(dir, name)); rerr != nil || !bytes.Equal(have, b) {
				err = errors.Join(err, a.files.Replace(filepath.Join(dir, name), b))
			}
		}
	}
	if err != nil {
		a.log.Warn("what the office trusts is not kept", "err", err)
	}
}

// announceSM2 names the SM2 key in the ledger, signed by the device's own, unless it is named there.
func (a *agent) announceSM2(id *identity.Identity) error {
	line, ok, err := id.SM2Line()
	if !ok || err != nil {
		return err
	}
	b, err := a.ledger.BytesFrom(0)
	if err != nil {
		return err
	}
	for raw := range bytes.Lines(b) {
		var k evidence.Key
		if l, err := evidence.ParseLine(bytes.TrimSuffix(raw, []byte{'\n'})); err == nil && l.Type == "key" && l.Decode(&k) == nil &&
			k.Use == line.Use && k.SPKI == line.SPKI && k.Cert == line.Cert {
			return nil
		}
	}
	add := func(l *ledger.Ledger) error { _, err := l.Append(line); return err }
	if a.recorder == nil { // not open yet: the disks' copies are completed once they are looked at
		return add(a.ledger)
	}
	return a.ledgerLine(add)
}

func configuredURL(cfg *config.Config) string {
	if cfg.MQTT == nil {
		return ""
	}
	return cfg.MQTT.URL.Reveal()
}

// officeURL is the address of the office's broker: the configured one, or that of the office the device
// is enrolled with; "" if there is neither.
func officeURL(cfg *config.Config, o *identity.Office) string {
	if u := configuredURL(cfg); u != "" {
		return u
	}
	if o == nil || o.MQTT == "" {
		return ""
	}
	host, _, err := net.SplitHostPort(o.API)
	if err != nil {
		return ""
	}
	broker := net.JoinHostPort(host, o.MQTT)
	if strings.Contains(o.MQTT, ":") {
		broker = o.MQTT
	}
	return (&url.URL{Scheme: "mqtts", Host: broker}).String()
}
