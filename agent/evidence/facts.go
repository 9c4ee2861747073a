package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Kinds of amendments beside [LateTail], evidence-format.md section 3. Each Data has `who`: the person who made it.
const (
	AmendDetails    = "details"    // case, matter, matter_id, matter_version, officers, flags: those that are there
	AmendAttachment = "attachment" // name, size, sha256, kind of a file in attachments/
	AmendRefused    = "refused"    // party, reason: who did not sign the session sheet, and why
)

// Kinds of attachments.
const (
	AttachedRecord       = "record"        // 笔录, the written record
	AttachedEvidenceList = "evidence-list" // 证据清单
	AttachedSheet        = "sheet-scan"    // the session sheet, signed on paper and scanned
	AttachedOther        = "other"
)

// MaxAttachment is the largest file that an amendment may bind to a session, in bytes.
const MaxAttachment = 64 << 20

// AttachmentPath is where the file with this SHA-256 lies in a session folder.
func AttachmentPath(sha256 string) string { return "attachments/" + sha256 }

// Facts are whose session it is and what was added to it: the manifest, and what amendments said after it.
type Facts struct {
	Body          Body         `json:"body"`
	Case          string       `json:"case"`
	Matter        string       `json:"matter"` // its name
	MatterID      string       `json:"matter_id"`
	MatterVersion string       `json:"matter_version"`
	Booking       string       `json:"booking"`
	Officers      []Officer    `json:"officers"`
	Flags         []string     `json:"flags"`
	Attachments   []Attachment `json:"attachments"`
	Refused       []Refusal    `json:"refused"`
	Amended       int64        `json:"amended"` // amendments that count, late tails too
}

// Attachment is a file bound to a session by its digest.
type Attachment struct {
	N      int64  `json:"n"` // number of the amendment that names it
	T      int64  `json:"t"` // µs since 1970 by the device's clock
	Name   string `json:"name"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
	Kind   string `json:"kind"`
	Who    string `json:"who"` // who bound it
}

// Refusal is a session sheet that somebody did not sign.
type Refusal struct {
	N      int64  `json:"n"`
	T      int64  `json:"t"`
	Party  string `json:"party"`
	Reason string `json:"reason"`
	Who    string `json:"who"` // who entered it
}

// FactsOf is the one place where manifest and amendments become what people are shown: a fact that an
// amendment names takes the place of the one before it, flags are only ever added (they narrow who may look),
// attachments and refusals follow one another. It judges no signature.
func FactsOf(m *Manifest, amendments []*Amendment) Facts {
	f := Facts{Body: m.Body, Case: m.Case, Matter: m.Matter, MatterID: m.MatterID, MatterVersion: m.MatterVersion, Booking: m.Booking,
		Officers: append([]Officer{}, m.Officers...), Flags: append([]string{}, m.Flags...), Attachments: []Attachment{}, Refused: []Refusal{}}
	for _, a := range amendments {
		f.Amended++
		switch a.Kind {
		case AmendDetails:
			f.details(a.Data)
		case AmendAttachment:
			if t, err := a.Attachment(); err == nil {
				f.Attachments = append(f.Attachments, t)
			}
		case AmendRefused:
			f.Refused = append(f.Refused, Refusal{a.N, a.T, a.Data["party"], a.Data["reason"], a.Data["who"]})
		}
	}
	return f
}

func (f *Facts) details(data map[string]string) {
	for key, to := range map[string]*string{"case": &f.Case, "matter": &f.Matter, "matter_id": &f.MatterID, "matter_version": &f.MatterVersion} {
		if v, ok := data[key]; ok {
			*to = v
		}
	}
	if v, ok := data["officers"]; ok {
		f.Officers = []Officer{}
		for line := range strings.Lines(v) {
			name, credential, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			f.Officers = append(f.Officers, Officer{name, credential})
		}
	}
	for _, flag := range strings.Fields(data["flags"]) {
		if !slices.Contains(f.Flags, flag) {
			f.Flags = append(f.Flags, flag)
		}
	}
}

// DetailsData is the Data of a details amendment: officers a line each, name and credential parted by a tab,
// flags parted by spaces. nil and empty mean "as it was".
type DetailsData struct {
	Case     *string
	Matter   *Matter
	Officers []Officer
	Flags    []string
	Who      string
}

// Matter is a matter of the list, or a name alone.
type Matter struct{ ID, Version, Name string }

// Map returns the Data. It fails where nothing is said, or a text holds a control character.
func (d DetailsData) Map() (map[string]string, error) {
	data := map[string]string{}
	if d.Case != nil {
		data["case"] = *d.Case
	}
	if d.Matter != nil {
		data["matter"], data["matter_id"], data["matter_version"] = d.Matter.Name, d.Matter.ID, d.Matter.Version
	}
	var texts []string
	for _, o := range d.Officers {
		texts = append(texts, o.Name, o.Credential)
		data["officers"] += o.Name + "\t" + o.Credential + "\n"
	}
	if len(d.Flags) > 0 {
		texts = append(texts, d.Flags...)
		data["flags"] = strings.Join(d.Flags, " ")
	}
	if len(data) == 0 {
		return nil, errors.New("amendment: details: nothing is said")
	}
	data["who"] = d.Who
	for _, v := range append(texts, data["case"], data["matter"], data["who"]) {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7F }) {
			return nil, fmt.Errorf("amendment: details: %q holds a control character", v)
		}
	}
	return data, nil
}

// Map returns the Data of the amendment that binds t.
func (t Attachment) Map() map[string]string {
	return map[string]string{"name": t.Name, "size": strconv.FormatInt(t.Size, 10), "sha256": t.SHA256, "kind": t.Kind, "who": t.Who}
}

// Attachment reads what an amendment of kind attachment names.
func (a *Amendment) Attachment() (Attachment, error) {
	size, err := strconv.ParseInt(a.Data["size"], 10, 64)
	t := Attachment{a.N, a.T, a.Data["name"], size, a.Data["sha256"], a.Data["kind"], a.Data["who"]}
	switch {
	case a.Kind != AmendAttachment:
		return t, fmt.Errorf("amendment %d: is no attachment", a.N)
	case err != nil || size < 0 || size > MaxAttachment || a.Data["size"] != strconv.FormatInt(size, 10):
		return t, fmt.Errorf("amendment %d: size %.20q is out of range", a.N, a.Data["size"])
	case !isHex(t.SHA256, 64):
		return t, fmt.Errorf("amendment %d: names no SHA-256", a.N)
	}
	return t, nil
}

// ReadFacts reads a sealed session folder: its manifest, and the facts with the amendments that are there. It
// checks that each amendment follows what is before it, but no signature: it shows, the verifier proves. What
// comes from an amendment that does not hold on is left out, and err says so beside the facts; without a
// manifest m is nil.
func ReadFacts(fsys fs.FS) (m *Manifest, f Facts, err error) {
	b, err := readLimited(fsys, "manifest.json", MaxJSON)
	if err != nil {
		return nil, Facts{}, err
	}
	if m, err = ParseManifest(b); err != nil {
		return nil, Facts{}, fmt.Errorf("manifest.json: %w", err)
	}
	all, err := readAmendments(fsys, m.Session, b)
	return m, FactsOf(m, all), err
}

func readAmendments(fsys fs.FS, session string, manifest []byte) (all []*Amendment, err error) {
	var prev []byte
	for n := int64(1); n <= maxAmendments; n++ {
		b, err := readLimited(fsys, AmendmentName(n), MaxJSON)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", AmendmentName(n), err)
		}
		a, err := followingAmendment(b, n, session, manifest, prev)
		if err != nil {
			return all, fmt.Errorf("%s: %w", AmendmentName(n), err)
		}
		all, prev = append(all, a), b
	}
	return all, nil
}
