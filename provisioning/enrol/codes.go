package enrol

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Bounds of codes.
const (
	DefaultValid = 24 * time.Hour
	MaxValid     = 30 * 24 * time.Hour
	maxCodes     = 20_000
	keepCodes    = 90 * 24 * time.Hour // after their end, so that a refusal can say "expired"
	maxCodeFile  = 16 << 20
)

// Code is a code that was made. What was done with it stands in the authority's log.
type Code struct {
	Ref     string    `json:"ref"` // report.EnrolCode.Ref: it cannot be turned back into the code
	Name    string    `json:"name"`
	Made    time.Time `json:"made"`
	Until   time.Time `json:"until"`
	Replace bool      `json:"replace,omitempty"`
	Dead    string    `json:"dead,omitempty"` // why its name was revoked after it was made; "": it was not
}

type codeFile struct {
	V     int    `json:"v"` // 1
	Codes []Code `json:"codes"`
}

// Codes is the file of codes. Commands and a running office may use it at the same time.
type Codes struct {
	File string
	Now  func() time.Time // nil: time.Now
}

func (c Codes) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// Make makes a code for a device and returns it once it is durable. root is the authority's root
// certificate as DER.
func (c Codes) Make(name string, root []byte, valid time.Duration, replace bool) (code report.EnrolCode, until time.Time, err error) {
	switch {
	case !report.ValidDevice(name):
		return code, until, fmt.Errorf("enrol: code: name %q: a device's name is 1 to 64 lower-case letters, digits and hyphens, as device.name in its agent.yaml", name)
	case valid < time.Minute || valid > MaxValid:
		return code, until, fmt.Errorf("enrol: code: valid for %v: choose 1m to %v", valid, MaxValid)
	}
	err = c.change(func(all []Code) ([]Code, error) {
		now := c.now().UTC().Truncate(time.Second)
		all = slices.DeleteFunc(all, func(o Code) bool {
			return now.Sub(o.Until) > keepCodes || o.Name == name && now.Before(o.Until) // a newer code takes its place
		})
		if len(all) >= maxCodes {
			return nil, fmt.Errorf("%d codes are waiting: let some of them end", len(all))
		}
		var secret [10]byte
		rand.Read(secret[:]) // never fails (crypto/rand)
		code, until = report.NewEnrolCode(secret, root), now.Add(valid)
		return append(all, Code{Ref: code.Ref(), Name: name, Made: now, Until: until, Replace: replace}), nil
	})
	if err != nil {
		return report.EnrolCode{}, until, fmt.Errorf("enrol: code: %w", err)
	}
	return code, until, nil
}

// Revoke lets the code that waits for a device die with the device's certificates, for a reason (one of
// ca.Reasons). It returns whether there was one.
func (c Codes) Revoke(name, reason string) (died bool, err error) {
	if _, err := os.Stat(c.File); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	err = c.change(func(all []Code) ([]Code, error) {
		for i, o := range all {
			if o.Name == name && o.Dead == "" && c.now().Before(o.Until) {
				all[i].Dead, died = reason, true
			}
		}
		return all, nil
	})
	if err != nil {
		return false, fmt.Errorf("enrol: code: %w", err)
	}
	return died, nil
}

// change puts what do makes of the codes in their place, once for all processes.
func (c Codes) change(do func([]Code) ([]Code, error)) error {
	if err := os.MkdirAll(filepath.Dir(c.File), 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(c.File+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	all, err := c.read()
	if err == nil {
		all, err = do(all)
	}
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(codeFile{1, all}, "", " ")
	if err != nil {
		return err
	}
	return durable.Files{Tmp: filepath.Dir(c.File), Perm: 0o600}.Replace(c.File, append(b, '\n'))
}

// List lists the codes that were made and not forgotten yet.
func (c Codes) List() ([]Code, error) { return c.read() }

func (c Codes) read() ([]Code, error) {
	b, err := os.ReadFile(c.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var f codeFile
	if err == nil && len(b) > maxCodeFile {
		err = fmt.Errorf("over %d bytes", maxCodeFile)
	}
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		err = dec.Decode(&f)
	}
	if err == nil && f.V != 1 {
		err = fmt.Errorf("version %d, this program reads 1", f.V)
	}
	if err != nil {
		return nil, fmt.Errorf("enrol: codes: %s: %w: remove the file and make new codes", c.File, err)
	}
	return f.Codes, nil
}

// find gives the code of a ref.
func (c Codes) find(ref string) (Code, bool, error) {
	all, err := c.read()
	i := slices.IndexFunc(all, func(o Code) bool { return o.Ref == ref })
	if i < 0 {
		return Code{}, false, err
	}
	return all[i], true, err
}
