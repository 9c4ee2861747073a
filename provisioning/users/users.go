// Package users knows who may come in at the office: people by name, password and role, devices by
// name and a password the office made.
//
// It guarantees: passwords are kept as Argon2id (RFC 9106) hashes only and compared in constant
// time; an unknown name costs as much time as a wrong password; repeated failures of one address or
// name are held off, longer each time; a [Book] on disk is replaced as a whole or not at all, and
// two commands that change it at the same time wait for each other. Memory is bounded whoever knocks.
//
// It does not guarantee anything about a person who can write the state folder: that person owns
// the office. Logins of people live in memory: a restart ends them.
//
// Use: [Open] a Book for people and one for devices; [Book.Add] from the command line, [Book.Check]
// while serving (a change of the file is found within seconds); [NewDoor] for people with their logins.
package users

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"minglu/agent/durable"
)

// Roles of people.
const (
	Manager    = "manager"    // 设备管理员 keeps the equipment
	Auditor    = "auditor"    // 审计 looks at what happened
	Supervisor = "supervisor" // 督察 watches
)

// Roles lists them.
func Roles() []string { return []string{Manager, Auditor, Supervisor} }

// Kind says what the names of a book stand for.
type Kind int

// The kinds.
const (
	People  Kind = iota // passwords are chosen: the hash is slow
	Devices             // passwords are made by [NewPassword]: no hash need slow a guess at 160 bits
)

// Bounds of a book.
const (
	MaxPeople  = 1000
	MaxDevices = 20000
	maxFile    = 16 << 20

	MinPassword = 8   // characters of a person's password
	maxPassword = 256 // bytes of any

	reread = 2 * time.Second // the file is looked at this often at most
)

// deviceName is architecture.md's device name: certificate CN and MQTT DEVICE.
var deviceName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Account is one name of a book.
type Account struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles,omitempty"`
	Hash  string   `json:"argon2id"`

	password password
}

type bookFile struct {
	V        int       `json:"v"` // 1
	Accounts []Account `json:"accounts"`
}

// Book is one file of accounts. Safe for concurrent use.
type Book struct {
	kind   Kind
	file   string
	log    *slog.Logger
	nobody password // what an unknown name is compared with
	proofs proofs
	turn   chan struct{} // so many passwords are hashed at a time

	mu       sync.Mutex
	accounts map[string]Account
	stamp    time.Time
	size     int64
	looked   time.Time
}

// Open reads a book. A missing file is an empty book. log may be nil.
func Open(kind Kind, file string, log *slog.Logger) (*Book, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Book{kind: kind, file: file, log: log, accounts: map[string]Account{}, nobody: newPassword(kind, rand.Text()),
		proofs: newProofs(), turn: make(chan struct{}, 2)}
	if err := b.reload(); err != nil {
		return nil, err
	}
	return b, nil
}

// NewPassword makes a password of 160 random bits, in letters and digits that read well.
func NewPassword() string {
	raw := make([]byte, 20)
	rand.Read(raw)
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw))
}

// Add makes an account, or gives an existing one a new password and roles. The folder of the file
// must be there. When Add returns nil the account is durable; who has the book open knows it within
// seconds. Errors tell what to write instead; nothing is changed then.
func (b *Book) Add(name, text string, roles ...string) error {
	if err := b.check(name, text, roles); err != nil {
		return err
	}
	lock, err := os.OpenFile(b.file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("users: lock %s: %w", lock.Name(), err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reload(); err != nil {
		return err
	}
	after := make([]Account, 0, len(b.accounts)+1)
	for _, a := range b.accounts {
		if a.Name != name {
			after = append(after, a)
		}
	}
	p := newPassword(b.kind, text)
	after = append(after, Account{Name: name, Roles: roles, Hash: p.String()})
	if most := b.most(); len(after) > most {
		return fmt.Errorf("users: %s holds %d names and no more fit: remove some", b.file, most)
	}
	slices.SortFunc(after, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	data, err := json.MarshalIndent(bookFile{1, after}, "", " ")
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	files := durable.Files{Tmp: filepath.Dir(b.file), Perm: 0o600}
	if err := files.Replace(b.file, append(data, '\n')); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return b.reload()
}

func (b *Book) most() int {
	if b.kind == Devices {
		return MaxDevices
	}
	return MaxPeople
}

func (b *Book) check(name, text string, roles []string) error {
	if err := b.checkName(name); err != nil {
		return fmt.Errorf("users: name %q: %w", name, err)
	}
	switch {
	case !utf8.ValidString(text) || utf8.RuneCountInString(text) < MinPassword:
		return fmt.Errorf("users: %q: the password has fewer than %d characters: take a longer one", name, MinPassword)
	case len(text) > maxPassword:
		return fmt.Errorf("users: %q: the password has more than %d bytes: take a shorter one", name, maxPassword)
	case b.kind == People && len(roles) == 0:
		return fmt.Errorf("users: %q: no role: use %s", name, strings.Join(Roles(), ", "))
	}
	for _, r := range roles {
		if !slices.Contains(Roles(), r) {
			return fmt.Errorf("users: %q: role %q: use %s", name, r, strings.Join(Roles(), ", "))
		}
	}
	return nil
}

func (b *Book) checkName(name string) error {
	if b.kind == Devices {
		if !deviceName.MatchString(name) {
			return errors.New("a device's name is 1 to 64 lower-case letters, digits and hyphens, as device.name in its agent.yaml")
		}
		return nil
	}
	if name == "" || len(name) > 64 || !utf8.ValidString(name) {
		return errors.New("a name has 1 to 64 bytes")
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r) {
			return fmt.Errorf("%q cannot be in a name: use letters, digits and . _ -", r)
		}
	}
	return nil
}

// Names lists the accounts, sorted.
func (b *Book) Names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refresh()
	names := make([]string, 0, len(b.accounts))
	for n := range b.accounts {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Check reports whether text is the password of name, and the roles that go with it. A password that
// was right before is found again without its slow hash, so that ten thousand devices may reconnect
// at once; else it takes a moment of a processor, two at a time.
func (b *Book) Check(name, text string) (roles []string, ok bool) {
	if len(name) > 64 || len(text) > maxPassword {
		return nil, false
	}
	a, known := b.find(name)
	if known && b.proofs.has(name, a.Hash, text) {
		return a.Roles, true
	}
	p := a.password
	if !known {
		p = b.nobody
	}
	b.turn <- struct{}{}
	right := p.is(text)
	<-b.turn
	if !known || !right {
		return nil, false
	}
	b.proofs.keep(name, a.Hash, text)
	return a.Roles, true
}

// Knows reports whether text was found right before, without any hashing: what a held-off address
// may still ask.
func (b *Book) Knows(name, text string) bool {
	a, known := b.find(name)
	return known && len(text) <= maxPassword && b.proofs.has(name, a.Hash, text)
}

func (b *Book) find(name string) (Account, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refresh()
	a, ok := b.accounts[name]
	return a, ok
}

// refresh keeps the old accounts when the file cannot be read: a damaged file may neither open a
// door nor shut out those who are known. The caller holds mu.
func (b *Book) refresh() {
	if now := time.Now(); now.Sub(b.looked) >= reread {
		b.looked = now
		if err := b.reload(); err != nil {
			b.log.Error("accounts kept as they were", "err", err)
		}
	}
}

// reload reads the file if it is another than before. The caller holds mu, or is Open.
func (b *Book) reload() error {
	st, err := os.Stat(b.file)
	if err == nil && st.ModTime().Equal(b.stamp) && st.Size() == b.size {
		return nil
	}
	data, err := os.ReadFile(b.file)
	if errors.Is(err, fs.ErrNotExist) {
		b.accounts, b.stamp, b.size = map[string]Account{}, time.Time{}, 0
		return nil
	}
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	accounts, err := b.parse(data)
	if err != nil {
		return fmt.Errorf("users: %s: %w", b.file, err)
	}
	b.accounts = accounts
	if st != nil {
		b.stamp, b.size = st.ModTime(), st.Size()
	}
	return nil
}

func (b *Book) parse(data []byte) (map[string]Account, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f bookFile
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: restore the file, or remove it and add the names anew", err)
	}
	if dec.More() {
		return nil, errors.New("something follows the accounts: remove it")
	}
	if f.V != 1 || len(f.Accounts) > b.most() {
		return nil, fmt.Errorf("version %d with %d accounts: this program reads version 1 with up to %d", f.V, len(f.Accounts), b.most())
	}
	accounts := make(map[string]Account, len(f.Accounts))
	for _, a := range f.Accounts {
		err := b.checkName(a.Name)
		if _, twice := accounts[a.Name]; err == nil && twice {
			err = errors.New("named twice")
		}
		if err == nil {
			a.password, err = parsePassword(a.Hash)
		}
		if err != nil {
			return nil, fmt.Errorf("account %q: %w", a.Name, err)
		}
		accounts[a.Name] = a
	}
	return accounts, nil
}
