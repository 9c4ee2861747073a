package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"minglu/agent/durable"
)

// Bounds of the user file.
const (
	maxUsers    = 1000
	maxFile     = 1 << 20
	minPassword = 8   // characters
	maxPassword = 256 // bytes
	maxName     = 64  // bytes
)

type user struct {
	Name       string   `json:"name"`
	Roles      []string `json:"roles"`
	Hash       string   `json:"argon2id"`
	Body       string   `json:"body,omitempty"`
	Credential string   `json:"credential,omitempty"`

	password password
}

type userFile struct {
	V     int    `json:"v"` // 1
	Users []user `json:"users"`
}

// Add makes a user of the room's own body in file, see [AddUser].
func Add(file, name, text string, roles ...string) error {
	return AddUser(file, User{Name: name, Roles: roles}, text)
}

// AddUser makes a user in file, or gives an existing one a new password, roles, body and credential.
// Roles default to operator. The password needs 8 characters or more. The folder of file must be there.
// When AddUser returns nil the user is durable; a running agent knows the user within seconds. Two calls
// at the same time may lose one of them.
func AddUser(file string, person User, text string) error {
	name, roles := person.Name, person.Roles
	if err := checkName(name); err != nil {
		return fmt.Errorf("access: user %q: %w", name, err)
	}
	switch {
	case !utf8.ValidString(text) || utf8.RuneCountInString(text) < minPassword:
		return fmt.Errorf("access: user %q: the password has fewer than %d characters: take a longer one", name, minPassword)
	case len(text) > maxPassword:
		return fmt.Errorf("access: user %q: the password has more than %d bytes: take a shorter one", name, maxPassword)
	}
	if len(roles) == 0 {
		roles = []string{Operator}
	}
	for _, r := range roles {
		if _, ok := may[r]; !ok {
			return fmt.Errorf("access: user %q: role %q: use one of %s", name, r, strings.Join(slices.Sorted(maps.Keys(may)), ", "))
		}
	}
	if len(person.Body) > maxName || len(person.Credential) > maxName {
		return fmt.Errorf("access: user %q: body and credential have at most %d bytes", name, maxName)
	}
	users, err := readUsers(file)
	if err != nil {
		return err
	}
	u := user{Name: name, Roles: roles, Hash: newPassword(text).String(), Body: person.Body, Credential: person.Credential}
	if i := slices.IndexFunc(users, func(u user) bool { return u.Name == name }); i >= 0 {
		users[i] = u
	} else {
		users = append(users, u)
	}
	b, err := json.MarshalIndent(userFile{1, users}, "", "  ")
	if err != nil {
		return fmt.Errorf("access: %s: %w", file, err)
	}
	if len(users) > maxUsers || len(b) >= maxFile {
		return fmt.Errorf("access: %s: more than %d users: remove those who left", file, maxUsers)
	}
	files := durable.Files{Tmp: filepath.Dir(file), Perm: 0o600}
	if err := files.Replace(file, append(b, '\n')); err != nil {
		return fmt.Errorf("access: user %q: %w", name, err)
	}
	return nil
}

// checkName allows names of people in any script, and nothing that could confuse a reader of a log.
func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	}
	if name == panelName || name == simName {
		return errors.New("this name is the agent's own: take another")
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '_' && r != '-' {
			return fmt.Errorf("%q cannot be in a name: use letters, digits and . _ -", r)
		}
	}
	return nil
}

// readUsers reads and checks the whole file. No file is no users.
func readUsers(file string) ([]user, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	users, err := parseUsers(b)
	if err != nil {
		return nil, fmt.Errorf("access: %s: %w", file, err)
	}
	return users, nil
}

func parseUsers(b []byte) ([]user, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var f userFile
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: restore the file, or remove it and add the users anew", err)
	}
	if dec.More() {
		return nil, errors.New("something follows the users: remove it")
	}
	if f.V != 1 || len(f.Users) > maxUsers {
		return nil, fmt.Errorf("version %d with %d users: this agent reads version 1 with up to %d", f.V, len(f.Users), maxUsers)
	}
	seen := map[string]bool{}
	for i := range f.Users {
		u := &f.Users[i]
		err := checkName(u.Name)
		if err == nil && seen[u.Name] {
			err = errors.New("named twice")
		}
		if err == nil {
			u.password, err = parsePassword(u.Hash)
		}
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", u.Name, err)
		}
		seen[u.Name] = true
	}
	return f.Users, nil
}
