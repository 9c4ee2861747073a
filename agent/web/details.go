package web

import "minglu/agent/evidence"

// Details say whose session it is; all may be empty and given later.
type Details struct {
	Case     string         `json:"case"`
	Matter   Matter         `json:"matter"`
	Officers []Officer      `json:"officers"`
	Body     *evidence.Body `json:"body,omitempty"` // nil: the default body
	Flags    []string       `json:"flags"`          // "drill", "minor", "secret"
}

// Matter is the matter of a list: "name" or {"id","version"}; both are kept.
type Matter struct {
	Name    string `json:"name,omitempty"`
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
}

// Officer is one officer with the number of the credential.
type Officer evidence.Officer
