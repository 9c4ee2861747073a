package evidence

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// office takes in the ledgers of one device, if the folder is one of an office's folder of them: D/G/log.jsonl.
func (v *verifier) office(fsys fs.FS, name, full string) bool {
	device := path.Base(name)
	if !deviceName.MatchString(device) || has(fsys, name+"/log.jsonl") {
		return false
	}
	entries, err := fs.ReadDir(fsys, name)
	if err != nil || len(entries) > MaxFiles {
		return false
	}
	before := len(v.ledgers)
	for _, e := range entries {
		if e.IsDir() && generationName.MatchString(e.Name()) && v.ledger(fsys, path.Join(name, e.Name()), full+"/"+e.Name()) == nil {
			v.ledgers[len(v.ledgers)-1].office = device
		}
	}
	if sub, err := fs.Sub(fsys, name); err == nil {
		v.firstKey(sub, device)
	}
	return len(v.ledgers) > before
}

// bag takes in the session of an exported bag: data/S (section 3, export). What else lies in it is not read.
func (v *verifier) bag(p Place) error {
	entries, err := fs.ReadDir(p.FS, "data")
	if err != nil {
		return fmt.Errorf("V1: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !sessionName.MatchString(e.Name()) {
			continue
		}
		sub, err := fs.Sub(p.FS, "data/"+e.Name())
		if err != nil {
			return fmt.Errorf("V1: %w", err)
		}
		v.session(sub, strings.TrimSuffix(p.Path, "/")+"/data/"+e.Name(), e.Name())
	}
	return nil
}

// firstKey takes the certificate beside an office's ledgers of a device, if it is of the very key that D is the
// digest of: it needs nobody's word then.
func (v *verifier) firstKey(fsys fs.FS, device string) {
	b, err := readLimited(fsys, "device.pem", MaxDER)
	if err != nil {
		return
	}
	certs, err := CertsPEM(b)
	if err != nil || len(certs) != 1 {
		return
	}
	if pub, err := deviceCertificate(certs[0], device); err == nil && DeviceID(certs[0].RawSubjectPublicKeyInfo) == device {
		v.first[device] = append(v.first[device], pub)
	}
}

// othersLedgers leaves out, of an office's folder with the ledgers of several devices, those of devices that
// none of the sessions given is of: their sessions are not missing here.
func (v *verifier) othersLedgers() {
	concerned, others := make(map[string]bool), make(map[string]bool)
	for _, c := range v.copies {
		concerned[c.device] = true
	}
	all := make(map[string]bool)
	for _, l := range v.ledgers {
		if l.office != "" {
			all[l.office] = true
		}
	}
	if len(all) < 2 || len(v.copies) == 0 && !v.whole {
		return
	}
	v.ledgers = slices.DeleteFunc(v.ledgers, func(l *ledgerCopy) bool {
		if l.office == "" || concerned[l.office] {
			return false
		}
		others[l.office] = true
		return true
	})
	if len(others) > 0 {
		v.result.Notes = append(v.result.Notes, fmt.Sprintf("ledgers of %d other devices were not looked at: none of the sessions is theirs; to judge one of them, name its folder alone", len(others)))
	}
}

// unledgered says what cannot be told of a folder of sessions whose device's ledger is not at hand.
func (v *verifier) unledgered() {
	if len(v.copies) == 0 && len(v.ledgers) > 0 && !v.whole {
		v.result.Notes = append(v.result.Notes, "only ledgers were given: name the disk or the sessions beside them")
	}
	if !v.folder {
		return
	}
	told := make(map[string]bool)
	for _, c := range v.copies {
		if c.pub == nil || told[ledgerOf(c.open.Origin)] {
			continue
		}
		origin := ledgerOf(c.open.Origin)
		told[origin] = true
		if !slices.ContainsFunc(v.ledgers, func(l *ledgerCopy) bool { return l.log == nil || l.log.origin == origin }) {
			v.result.Notes = append(v.result.Notes, "no device ledger was given ("+origin+"): whether a whole session was taken away cannot be told; verify the whole disk, or the office's copy of the ledger beside it")
		}
	}
}
