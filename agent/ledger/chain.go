package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"reflect"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
)

// chain is the end of a log: what the next line follows. Not safe for concurrent use.
type chain struct {
	origin string
	signer *evidence.Signer
	now    func() clock.Reading
	salt   func() [16]byte

	tree   *evidence.Tree
	up     int64 // of the last line, µs; it never falls
	state  int64 // number of the last line a fragment's st can point to, -1 none yet
	size   int64 // of the last sign line, 0 none
	root   evidence.Hash
	signed bool // the last line is a sign line
}

func newChain(origin string, signer *evidence.Signer, now func() clock.Reading, salt func() [16]byte) *chain {
	if salt == nil {
		salt = randomSalt
	}
	return &chain{origin: origin, signer: signer, now: now, salt: salt, tree: new(evidence.Tree), state: -1}
}

func randomSalt() (s [16]byte) {
	rand.Read(s[:]) // never fails (crypto/rand)
	return s
}

// clone returns a copy that can be thrown away if its lines do not become durable.
func (c *chain) clone() *chain {
	d := *c
	d.tree = c.tree.Clone()
	return &d
}

// line adds v and returns its canonical bytes without line feed. After an error nothing has changed.
func (c *chain) line(v any) ([]byte, error) {
	in := reflect.Indirect(reflect.ValueOf(v))
	if in.Kind() != reflect.Struct {
		return nil, fmt.Errorf("ledger: %s: BUG: %T is no line", c.origin, v)
	}
	p := reflect.New(in.Type())
	p.Elem().Set(in)
	embedded := p.Elem().FieldByName("Common")
	if !embedded.IsValid() || embedded.Type() != reflect.TypeFor[evidence.Common]() {
		return nil, fmt.Errorf("ledger: %s: BUG: %T does not embed evidence.Common", c.origin, v)
	}
	common := embedded.Addr().Interface().(*evidence.Common)
	if common.Type == "" {
		common.Type = evidence.TypeOf(v)
	}
	if common.Type == "" || common.Type == "sign" {
		return nil, fmt.Errorf("ledger: %s: BUG: %T without a type", c.origin, v)
	}
	c.fill(common)
	if f, ok := p.Interface().(*evidence.Fragment); ok {
		f.St = c.state
	}
	line, err := evidence.MarshalLine(p.Interface())
	if err != nil {
		return nil, fmt.Errorf("ledger: %s: line %d: %w", c.origin, c.tree.Size(), err)
	}
	c.follow(line, common.Type, common.Up)
	return line, nil
}

// fill sets the fields each line has.
func (c *chain) fill(common *evidence.Common) {
	r := c.now()
	common.Seq = c.tree.Size()
	common.T = r.T.UnixMicro()
	common.TE = -1
	if r.Error >= 0 {
		common.TE = int64((r.Error + time.Microsecond - 1) / time.Microsecond)
	}
	common.Up = max(c.up, r.Up.Microseconds())
	common.Salt = ""
	if common.Type != "fragment" {
		s := c.salt()
		common.Salt = hex.EncodeToString(s[:])
	}
}

// follow takes note of a line, new or read back.
func (c *chain) follow(line []byte, typ string, up int64) {
	switch typ {
	case "pause", "resume", "gap", "clock", "segment.open", "segment.close":
		c.state = c.tree.Size()
	}
	c.up = up
	c.signed = false
	c.tree.Append(line)
}

// sign adds a sign line and returns it, nil if the last line is one or there is no line yet.
func (c *chain) sign() ([]byte, error) {
	if c.signed || c.tree.Size() == 0 {
		return nil, nil
	}
	line, err := c.signer.SignLine(c.origin, c.tree)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	c.followSign(line)
	return line, nil
}

func (c *chain) followSign(line []byte) {
	c.size, c.root, c.signed = c.tree.Size(), c.tree.Root(), true
	c.tree.Append(line)
}
