// Package setup asks what a new room needs and writes it down: the questions of the first start, one
// after the other, the same for terminal and page, and the files that come of the answers.
//
// An [Interview] is a pure state machine: [Interview.Question] says what is asked now,
// [Interview.Answer] takes the answer or says what is wrong with it. [Answers.Config] is the agent's
// configuration, [Fstab] the table of file systems with the disks in it, [Answers.DropIn] what the service is
// allowed to write to. Doing it (mounting, users, enrolment) is main's. Nothing is asked that was found
// out, and nothing that is found is used unasked.
//
// An Interview is for one goroutine.
package setup

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is typed.
const (
	maxAnswer  = 1024
	maxRoom    = 100
	maxSources = 16
	maxDisks   = 2
)

// Text is one thing in Chinese and English.
type Text struct{ Zh, En string }

func (t Text) String() string { return t.Zh + " · " + t.En }

// Found is what the board has.
type Found struct {
	Host        string // the machine's name
	Board       string // as configured by board:
	BoardName   string // for people
	Cameras     []Device
	Microphones []Device
	Speakers    []Device
	Disks       []Disk
	Parts       []Part
	Pins        []Pin // of the header; none where the board is not known
}

// Device is something that can be used.
type Device struct {
	Name string // for people
	YAML string // what the configuration calls it, a flow mapping without braces: `v4l2: {device: …}`
}

// Disk is a file system of the board that nothing uses.
type Disk struct {
	Source string // LABEL=… or UUID=…, as /etc/fstab names it
	Label  string // "" has none
	Type   string // ext4 …
	Bytes  int64  // 0 unknown
	Dir    string // where it is mounted already, "" nowhere
}

// Source is a camera or microphone that is used.
type Source struct {
	ID, Name   string
	Microphone bool
	YAML       string
}

// Answers are what was decided.
type Answers struct {
	Board            string
	Name, Room, Kind string
	Body, USCC       string
	Sources          []Source
	Speaker          string // YAML, "" none
	Disks            []Disk // Dir is where each shall be
	Parts            []Part
	Inputs           []string // YAML
	Lamp             string   // YAML, "" none
	Listen           string
	User, Password   string
	Office, Code     string // "" no office
	Drill            bool   // a test recording at the end
}

// Question is one thing asked.
type Question struct {
	Key     string // stable
	Ask     Text
	Choices []string // what may be answered, with what it means; nil: anything
	Default string   // taken for an empty answer
	Secret  bool     // not shown while typed
	Empty   bool     // may be left empty
}

// Interview is the questions and answers so far.
type Interview struct {
	Found Found
	A     Answers

	step   int
	n      int // of the devices within a step
	source Source
	naming bool
	used   []int // pins
}

// steps are asked in this order; each says what is asked, nil for nothing, and takes the answer.
var steps = []struct {
	ask    func(*Interview) *Question
	answer func(*Interview, string) error
}{
	{(*Interview).askName, (*Interview).setName},
	{(*Interview).askRoom, (*Interview).setRoom},
	{(*Interview).askKind, (*Interview).setKind},
	{(*Interview).askBody, (*Interview).setBody},
	{(*Interview).askUSCC, (*Interview).setUSCC},
	{(*Interview).askFound, (*Interview).setFound},
	{(*Interview).askRTSP, (*Interview).setRTSP},
	{(*Interview).askSpeaker, (*Interview).setSpeaker},
	{(*Interview).askParts, (*Interview).setPart},
	{(*Interview).askInput, (*Interview).setInput},
	{(*Interview).askLamp, (*Interview).setLamp},
	{(*Interview).askDisks, (*Interview).setDisks},
	{(*Interview).askListen, (*Interview).setListen},
	{(*Interview).askUser, (*Interview).setUser},
	{(*Interview).askPassword, (*Interview).setPassword},
	{(*Interview).askOffice, (*Interview).setOffice},
	{(*Interview).askCode, (*Interview).setCode},
	{(*Interview).askDrill, (*Interview).setDrill},
}

// Question returns what is asked now; nil when all is known.
func (i *Interview) Question() *Question {
	for ; i.step < len(steps); i.step, i.n = i.step+1, 0 {
		if q := steps[i.step].ask(i); q != nil {
			return q
		}
	}
	return nil
}

// Answer takes the answer to the question asked now. After an error, which is a [*Wrong], the question stands.
func (i *Interview) Answer(text string) error {
	q := i.Question()
	if q == nil {
		return nil
	}
	if !q.Secret {
		text = strings.TrimSpace(text)
	}
	if text == "" {
		text = q.Default
	}
	switch {
	case len(text) > maxAnswer || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return wrong("太长或含有控制字符", "too long, or not one line")
	case text == "" && !q.Empty:
		return wrong("不能为空", "an answer is needed")
	}
	return steps[i.step].answer(i, text)
}

func (i *Interview) next() { i.step, i.n = i.step+1, 0 }

// Wrong says what is wrong with an answer and what to do.
type Wrong struct{ Text }

func (w *Wrong) Error() string { return w.Text.String() }

func wrong(zh, en string) error { return &Wrong{Text{zh, en}} }

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	notName    = regexp.MustCompile(`[^a-z0-9-]+`)
	usccForm   = regexp.MustCompile(`^[0-9A-Z]{18}$`)
	loginForm  = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,31}$`)
	hostForm   = regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]*):[0-9]{1,5}$`)
	kinds      = []string{"interview", "hearing", "interrogation", "other"}
	kindsShown = []string{"询问室 interview", "听证室 hearing", "讯问室 interrogation", "其他 other"}
)

func (i *Interview) askName() *Question {
	return &Question{Key: "name", Ask: Text{"设备名（小写字母、数字、连字符；证书上的名称）", "name of the device (a-z 0-9 -; it stands in its certificate)"},
		Default: strings.Trim(notName.ReplaceAllString(strings.ToLower(i.Found.Host), "-"), "-")}
}

func (i *Interview) setName(s string) error {
	if !nameForm.MatchString(s) {
		return wrong("只能用小写字母、数字、连字符，最多 64 个", "use a-z, 0-9 and -, at most 64")
	}
	i.A.Name, i.A.Board = s, i.Found.Board
	i.next()
	return nil
}

func (i *Interview) askRoom() *Question {
	return &Question{Key: "room", Ask: Text{"房间名称，如 询问室三", "the room as people call it"}, Default: "询问室"}
}

func (i *Interview) setRoom(s string) error {
	if len(s) > maxRoom {
		return wrong("太长", "too long")
	}
	i.A.Room = s
	i.next()
	return nil
}

func (i *Interview) askKind() *Question {
	return &Question{Key: "kind", Ask: Text{"房间用途", "what the room is for"}, Choices: kindsShown, Default: "1"}
}

func (i *Interview) setKind(s string) error {
	n, err := choice(s, kinds)
	if err != nil {
		return err
	}
	i.A.Kind = kinds[n]
	i.next()
	return nil
}

func (i *Interview) askBody() *Question {
	return &Question{Key: "body", Ask: Text{"执法机关名称", "name of the law-enforcement body"}}
}

func (i *Interview) setBody(s string) error {
	i.A.Body = s
	i.next()
	return nil
}

func (i *Interview) askUSCC() *Question {
	return &Question{Key: "uscc", Ask: Text{"统一社会信用代码（18 位，可留空）", "unified social credit code (18 characters; may be empty)"}, Empty: true}
}

func (i *Interview) setUSCC(s string) error {
	if s = strings.ToUpper(s); s != "" && !usccForm.MatchString(s) {
		return wrong("应为 18 位数字和大写字母", "it has 18 digits and capital letters")
	}
	i.A.USCC = s
	i.next()
	return nil
}

// choice reads a number from 1, or one of the words.
func choice(s string, words []string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= len(words) {
		return n - 1, nil
	}
	if n := slices.Index(words, s); n >= 0 {
		return n, nil
	}
	return 0, wrong(fmt.Sprintf("请输入 1 至 %d", len(words)), fmt.Sprintf("answer a number from 1 to %d", len(words)))
}

// yes reads yes or no.
func yes(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "y", "yes", "是", "1":
		return true, nil
	case "n", "no", "否", "0":
		return false, nil
	}
	return false, wrong("请输入 y 或 n", "answer y or n")
}
