package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
)

type ledgerCommands struct {
	Export struct {
		Devices []string `arg:"" optional:"" name:"DEVICE" help:"names or ids of devices; none: all"`
		Config  string   `required:"" placeholder:"FILE" help:"office.yaml"`
		To      string   `required:"" placeholder:"DIR" help:"a folder that is empty or does not exist yet"`
	} `cmd:"" help:"导出管理端保存的设备台账副本，与磁盘一起核验可看出整个会话是否被拿走 · the office's copies of device ledgers: verified beside a disk they show whether a whole session was taken away"`
}

// deviceLedgers are the ledgers kept of one device.
type deviceLedgers struct {
	id    string            // D
	names []string          // that it was enrolled by
	first *x509.Certificate // of the key that D is the digest of; nil: the authority has none
	files map[string][]byte // by G/log.jsonl
}

// exportLedgers writes the office's copies of ledgers as DIR/D/G/log.jsonl, with the certificate of the
// device's first key beside them. The office may be running: what is kept only grows.
func exportLedgers(cfg *config.Config, devices []string, to string, stdout io.Writer) error {
	all, err := keptLedgers(cfg)
	if err != nil {
		return err
	}
	if len(devices) > 0 {
		found := make(map[string]bool)
		all = slices.DeleteFunc(all, func(d deviceLedgers) bool {
			asked := false
			for _, want := range devices {
				if d.id == want || slices.Contains(d.names, want) {
					found[want], asked = true, true
				}
			}
			return !asked
		})
		for _, want := range devices {
			if !found[want] {
				return &usageError{fmt.Errorf("ledger: no ledger is kept of %q: minglu-provisioning ca list names the devices, and a device sends its ledger once it reports", want)}
			}
		}
	}
	if len(all) == 0 {
		return &usageError{errors.New("ledger: no ledger is kept yet: a device sends its ledger once it reports")}
	}
	if list, err := os.ReadDir(to); err == nil && len(list) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &usageError{fmt.Errorf("--to %s: name a folder that is empty or does not exist yet", to)}
	}
	d := durable.In(to)
	for _, l := range all {
		if l.first != nil {
			l.files["device.pem"] = evidence.MarshalCertsPEM(l.first)
		}
		for name, b := range l.files {
			path := filepath.Join(to, l.id, filepath.FromSlash(name))
			if err := errors.Join(d.MkdirAll(filepath.Dir(path)), d.Replace(path, b)); err != nil {
				return fmt.Errorf("ledger: %w", err)
			}
		}
		if _, err := fmt.Fprintln(stdout, l.id, l.names); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(stdout, "台账已写入 the ledgers are in %[1]s\n核验 check: minglu-agent verify DISK %[1]s --trust DIR\n", to)
	return err
}

// keptLedgers reads what package ledgers keeps, by device.
func keptLedgers(cfg *config.Config) ([]deviceLedgers, error) {
	root := filepath.Join(cfg.State, ledgersFolder)
	files, err := filepath.Glob(filepath.Join(root, "*", "*", "log.jsonl"))
	if err != nil {
		return nil, err
	}
	authority, err := openCA(cfg, nil)
	if err != nil {
		return nil, &usageError{err}
	}
	var all []deviceLedgers
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		b = b[:bytes.LastIndexByte(b, '\n')+1] // a line that is just being written comes with the next export
		generation := filepath.Dir(file)
		id := filepath.Base(filepath.Dir(generation))
		if n := len(all); n == 0 || all[n-1].id != id { // Glob sorts
			all = append(all, deviceLedgers{id: id, files: map[string][]byte{}})
			if err := all[n].enrolled(authority); err != nil {
				return nil, err
			}
		}
		all[len(all)-1].files[filepath.Base(generation)+"/log.jsonl"] = b
	}
	return all, nil
}

// enrolled finds the names and the first certificate of the device.
func (d *deviceLedgers) enrolled(authority *ca.CA) error {
	for _, e := range authority.Entries() {
		if e.Kind != ca.KindSign {
			continue
		}
		c, err := x509.ParseCertificate(e.DER)
		if err != nil {
			return fmt.Errorf("ledger: certificate %s: %w", e.Serial, err)
		}
		if len(c.URIs) != 1 || c.URIs[0].Opaque != d.id {
			continue
		}
		if !slices.Contains(d.names, e.Name) {
			d.names = append(d.names, e.Name)
		}
		if evidence.DeviceID(c.RawSubjectPublicKeyInfo) == d.id {
			d.first = c
		}
	}
	return nil
}
