package uplink

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"minglu/agent/durable"
)

// compactAbove is the size under which the outbox file is never replaced by a shorter one.
const compactAbove = 64 << 10

// The file: lines of an 8-digit CRC-32C in hex, a space, one JSON object and a line feed. The first line
// is a head; then messages with consecutive numbers and acks, as they came.
type (
	head struct {
		Outbox string `json:"outbox"` // id
		Device string `json:"device"`
		Next   int64  `json:"next"` // number of the first message after this line
	}
	entry struct {
		N    int64           `json:"n"`
		T    time.Time       `json:"t"`
		Type string          `json:"type"`
		Body json.RawMessage `json:"body"`
	}
	ackLine struct {
		Ack int64 `json:"ack"`
	}
)

// outbox is the file. It is one goroutine's.
type outbox struct {
	files  durable.Files
	name   string
	device string
	id     string
	next   int64 // number of the next message
	acked  int64

	live []entry // not acknowledged, in order
	f    *durable.File
}

// openOutbox reads the file, or begins one. lost says that what was there could not be read whole, so
// that a new outbox was begun with what could. The folder must exist.
func openOutbox(files durable.Files, dir, device string) (o *outbox, lost string, err error) {
	o = &outbox{files: files, name: filepath.Join(dir, "outbox.log"), device: device}
	b, err := files.ReadFile(o.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.renew()
		return o, "", o.rewrite()
	case err != nil:
		return nil, "", fmt.Errorf("outbox: %w", err)
	}
	good, damage := o.read(b)
	switch {
	case damage != "":
		if err := files.Replace(o.name+".damaged", b); err != nil {
			return nil, "", fmt.Errorf("outbox: set aside: %w", err)
		}
		o.renew()
		return o, damage, o.rewrite()
	case good < len(b): // a cut tore what nobody was told of
		if err := files.Truncate(o.name, int64(good)); err != nil {
			return nil, "", fmt.Errorf("outbox: %w", err)
		}
	}
	// The last writer may have ended between write and sync; what is sent must be durable.
	if err := files.SyncFile(o.name); err != nil {
		return nil, "", fmt.Errorf("outbox: %w", err)
	}
	if o.f, err = files.Append(o.name); err != nil {
		return nil, "", fmt.Errorf("outbox: %w", err)
	}
	return o, "", nil
}

// renew gives the outbox a new life: a new id, and numbers from 1 for what is live.
func (o *outbox) renew() {
	id := make([]byte, 8)
	rand.Read(id) // never fails since Go 1.24
	o.id, o.acked, o.next = hex.EncodeToString(id), 0, 1
	o.live = slices.Clone(o.live) // readers hold the old one
	for i := range o.live {
		o.live[i].N = o.next
		o.next++
	}
}

// read takes over what b holds. good is where the undamaged beginning ends. Damage is anything but a
// torn end; live then holds what could be read.
func (o *outbox) read(b []byte) (good int, damage string) {
	torn := -1
	for off, first := 0, true; off < len(b); first = false {
		end := bytes.IndexByte(b[off:], '\n')
		if end < 0 {
			end = len(b) - off
		} else {
			end++
		}
		data, ok := unseal(b[off : off+end])
		switch {
		case !ok && torn < 0:
			torn = off
		case ok && torn >= 0 && damage == "":
			damage = fmt.Sprintf("damaged at byte %d", torn)
		}
		if ok {
			if why := o.take(data, first); why != "" && damage == "" {
				damage = fmt.Sprintf("line at byte %d: %s", off, why)
			}
		}
		off += end
	}
	if o.id == "" && damage == "" {
		damage = "the first line is missing"
	}
	if torn < 0 {
		torn = len(b)
	}
	return torn, damage
}

// take takes over one undamaged line, and says what is wrong with it.
func (o *outbox) take(data []byte, first bool) (why string) {
	var l struct {
		head
		entry
		ackLine
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return err.Error()
	}
	switch {
	case l.Outbox != "":
		if !first || l.Device != o.device || l.Next < 1 {
			return fmt.Sprintf("a head for device %q", l.Device)
		}
		o.id, o.next, o.acked = l.Outbox, l.Next, l.Next-1
	case l.N != 0:
		o.live = append(o.live, l.entry)
		if l.N != o.next {
			why = fmt.Sprintf("number %d where %d is due", l.N, o.next)
		}
		o.next = l.N + 1
	case l.Ack != 0:
		o.drop(l.Ack)
	default:
		return "an unknown line"
	}
	return why
}

// add gives drafts their numbers and makes them durable. After an error none of them is in the outbox,
// and [outbox.rewrite] must succeed before the next add.
func (o *outbox) add(drafts []draft) error {
	if o.f == nil {
		return errors.New("outbox: not rewritten since it failed")
	}
	var lines []byte
	var added []entry
	for i, d := range drafts {
		e := entry{o.next + int64(i), d.t, d.typ, d.body}
		added = append(added, e)
		lines = append(lines, seal(e)...)
	}
	_, err := o.f.Write(lines)
	if err == nil {
		err = o.f.Sync()
	}
	if err != nil {
		o.close()
		return fmt.Errorf("outbox: %w", err)
	}
	o.live, o.next = append(o.live, added...), o.next+int64(len(added))
	return nil
}

// ack notes that the office has everything up to n. The note need not be durable: without it, messages
// are only sent again.
func (o *outbox) ack(n int64) error {
	if !o.drop(n) || o.f == nil {
		return nil
	}
	if _, err := o.f.Write(seal(ackLine{n})); err != nil {
		o.close()
		return fmt.Errorf("outbox: %w", err)
	}
	if size := o.f.Size(); size > compactAbove && size > 2*o.liveBytes() {
		return o.rewrite()
	}
	return nil
}

// drop forgets what is acknowledged, and reports whether anything was.
func (o *outbox) drop(n int64) bool {
	if n <= o.acked {
		return false
	}
	o.acked = n
	i := 0
	for i < len(o.live) && o.live[i].N <= n {
		i++
	}
	o.live = slices.Clone(o.live[i:])
	return true
}

// rewrite replaces the file by one that holds what is live and nothing else, and opens it. What failed
// before is forgotten.
func (o *outbox) rewrite() error {
	o.close()
	first := o.next - int64(len(o.live))
	b := seal(head{o.id, o.device, first})
	for _, e := range o.live {
		b = append(b, seal(e)...)
	}
	if err := o.files.Replace(o.name, b); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	f, err := o.files.Append(o.name)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	o.f = f
	return nil
}

func (o *outbox) liveBytes() int64 { return int64(bytesOf(o.live)) }

// close frees the file. What it cannot tell any more the next read will.
func (o *outbox) close() {
	if o.f != nil {
		o.f.Close()
		o.f = nil
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes one line.
func seal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("BUG: uplink: outbox line: " + err.Error())
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(data, castagnoli), data)
}

// unseal is the inverse of seal.
func unseal(line []byte) (data []byte, ok bool) {
	if len(line) < 10 || line[8] != ' ' || line[len(line)-1] != '\n' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	data = line[9 : len(line)-1]
	return data, err == nil && uint32(sum) == crc32.Checksum(data, castagnoli)
}
