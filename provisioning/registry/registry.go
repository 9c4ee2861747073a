// Package registry keeps what the office knows of people and work: bodies 单位, rooms, officers, the list of
// what must be recorded 音像记录事项清单, bookings and cases. People bring it as XLSX or CSV, and take it out
// the same way; each room gets the part that concerns it.
//
// It guarantees: an import is all or nothing, over all sheets of a workbook, and is on the disk when
// [Registry.Apply] returns; each mistake in a file is named by sheet, row, column and key, in both
// languages; what a preview showed is what is done, or nothing ([ErrChanged]); a version of a matter that
// was given out never changes, so that a session recorded under it can be read for ever. Files are
// bounded before they are read.
//
// It does not guarantee that a room has its part: [Post] sends until the room says so.
//
// Use: [Open]; [Registry.Preview] and [Registry.Apply] from a page, [Registry.For] for a room.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Body is a body with what the allocation standard 配备标准 asks of it.
type Body struct {
	report.ListBody
	Class string `json:"class,omitempty"` // "A", "B", "C", or "" where it is not classed
	Sets  int    `json:"sets,omitempty"`  // recording sets beside its own rooms, such as body-worn ones
}

// Room is a recording device and the bodies that use it.
type Room struct {
	Device string   `json:"device"`
	Name   string   `json:"name,omitempty"`
	For    string   `json:"for,omitempty"` // report.MatterInterview, report.MatterHearing, or "" for both
	Bodies []string `json:"bodies"`        // USCC, the one it belongs to first
}

// Booking is a booking with its room.
type Booking struct {
	report.Booking
	Device string `json:"device"`
}

// Officer is an official.
type Officer = report.ListOfficer

// Matter is one version of a line of a body's list.
type Matter = report.ListMatter

// Case is a case file.
type Case = report.ListCase

// Change is one import that was applied.
type Change struct {
	T    time.Time `json:"t"`
	Who  string    `json:"who"`
	File string    `json:"file"` // its name
	What string    `json:"what"` // such as "人员 +2 ~1 -0"
}

// Data is all there is. The slices are sorted by key and MUST NOT be written to.
type Data struct {
	Rev      int64     `json:"rev"` // counts changes
	Bodies   []Body    `json:"bodies"`
	Rooms    []Room    `json:"rooms"`
	Officers []Officer `json:"officers"`
	Matters  []Matter  `json:"matters"`
	Bookings []Booking `json:"bookings"`
	Cases    []Case    `json:"cases"`
	Changes  []Change  `json:"changes"` // newest last
}

const (
	maxChanges = 1000
	maxData    = 256 << 20
)

// Options of [Open].
type Options struct {
	Path  string // of the file, in the office's state folder
	Now   func() time.Time
	Zone  *time.Location // of the times people write; nil: time.Local
	Files durable.Files  // Tmp on the file system of Path
}

// Registry is the open registry. Safe for concurrent use.
type Registry struct {
	o Options

	writing sync.Mutex // one change at a time

	mu   sync.RWMutex // guards data: the pointer; what it points to never changes
	data *Data
}

// Open reads the registry, or begins an empty one.
func Open(o Options) (*Registry, error) {
	if o.Path == "" || o.Now == nil {
		return nil, errors.New("registry: Options.Path and Now are needed")
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	if o.Files.Tmp == "" {
		o.Files.Tmp = filepath.Dir(o.Path)
	}
	o.Files.Perm = 0o600
	r := &Registry{o: o, data: new(Data)}
	info, err := os.Stat(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil && info.Size() > maxData {
		err = fmt.Errorf("more than %d bytes", maxData)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(o.Path)
	}
	if err == nil {
		err = json.Unmarshal(b, r.data)
	}
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w: put the file of a backup in its place", o.Path, err)
	}
	return r, nil
}

// Data returns all there is at one moment.
func (r *Registry) Data() *Data {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.data
}

// replace makes next what holds, once it is durable.
func (r *Registry) replace(next *Data) error {
	b, err := json.Marshal(next)
	if err == nil {
		err = r.o.Files.Replace(r.o.Path, b)
	}
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = next
	return nil
}

// Body returns a body by its USCC.
func (d *Data) Body(uscc string) (Body, bool) {
	return search(d.Bodies, uscc, bodySheet.key)
}

// Room returns a room by its device.
func (d *Data) Room(device string) (Room, bool) { return search(d.Rooms, device, roomSheet.key) }

// Officer returns an official by credential.
func (d *Data) Officer(credential string) (Officer, bool) {
	return search(d.Officers, credential, officerSheet.key)
}

// Matter returns the version of a matter that holds.
func (d *Data) Matter(id string) (Matter, bool) {
	for _, m := range d.Matters {
		if m.ID == id && !m.Retired {
			return m, true
		}
	}
	return Matter{}, false
}

func search[T any](list []T, key string, of func(*T) string) (none T, ok bool) {
	i, ok := slices.BinarySearchFunc(list, key, func(x T, k string) int { return strings.Compare(of(&x), k) })
	if !ok {
		return none, false
	}
	return list[i], true
}
