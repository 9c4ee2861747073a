package evidence

import "errors"

// LogFile is a log given to [DeriveManifest], whole lines only.
type LogFile struct {
	File string // "log.jsonl", "recovery-N.jsonl"
	Data []byte
}

// DeriveManifest returns the manifest that the logs, log.jsonl first, then recovery files by number,
// and the certificate files' digests determine. It is pure: seal, recovery and verifier call it.
// It checks no signature. It fails if a line is not canonical, line 0 is not open, or no close line is there.
func DeriveManifest(logs []LogFile, certs []FileDigest) (*Manifest, error) {
	var d Deriver
	for _, l := range logs {
		if err := d.AddLog(l); err != nil {
			return nil, err
		}
	}
	return d.Manifest(certs)
}

// Deriver is DeriveManifest line by line, for a writer that does not keep its log in memory.
// The zero Deriver is ready. Not safe for concurrent use.
type Deriver struct{}

// AddLog adds a whole file.
func (d *Deriver) AddLog(l LogFile) error { return errors.New("not built yet") }

// Begin starts the next file.
func (d *Deriver) Begin(file string) error { return errors.New("not built yet") }

// AddLine adds the next line, without line feed, of the file begun last; sign lines too.
func (d *Deriver) AddLine(line []byte) error { return errors.New("not built yet") }

// Manifest returns the manifest of all lines added.
func (d *Deriver) Manifest(certs []FileDigest) (*Manifest, error) {
	return nil, errors.New("not built yet")
}
