package config

import (
	"bytes"
	"text/template"
)

// DemoOptions choose what differs between two simulated rooms.
type DemoOptions struct {
	Name   string   // device name; default "demo-room"
	Room   string   // default 模拟询问室
	Listen string   // default [DefaultListen]
	State  string   // default "state"
	Disks  []string // default disk-a and disk-b; the caller creates them
	Office string   // mqtt://NAME:PASSWORD@host:port; "" for none
}

var demo = template.Must(template.New("demo").Parse(`# 模拟房间，由 minglu-sim demo 写成 / a simulated room, written by minglu-sim demo
device: {name: {{printf "%q" .Name}}, room: {{printf "%q" .Room}}, kind: interview}
body: {name: 示范县市场监督管理局, system: 市场监管}
state: {{printf "%q" .State}}
board: sim
channels:
  - {id: face, name: 被询问人, camera: {sim: {width: 1920, height: 1080}}}
  - {id: room, name: 全景, camera: {sim: {width: 1920, height: 1080}}}
  - {id: voice, name: 桌面话筒, microphone: {sim: {}}}
storage:
  disks:
{{- range .Disks}}
    - {{printf "%q" .}}
{{- end}}
room: {presence_hold: 2s}
inputs: {button: {sim: {}}, door: {sim: {}}, presence: {sim: {}}}
lamp: {sim: {}}
thermometer: {sim: {}}
speaker: {sim: {}}
scanner: {sim: {}}
power: {sim: {}}
rtc: {sim: {}}
buzzer: {sim: {}}
web: {listen: {{printf "%q" .Listen}}, auth: none}
live: {idle: true}
{{- if .Office}}
mqtt: {url: {{printf "%q" .Office}}}
{{- end}}
`))

// Demo writes the configuration of a simulated room: two cameras, a microphone, two folders as disks.
func Demo(o DemoOptions) []byte {
	orText(&o.Name, "demo-room")
	orText(&o.Room, "模拟询问室")
	orText(&o.Listen, DefaultListen)
	orText(&o.State, "state")
	if len(o.Disks) == 0 {
		o.Disks = []string{"disk-a", "disk-b"}
	}
	var b bytes.Buffer
	if err := demo.Execute(&b, o); err != nil {
		panic("BUG: config: demo: " + err.Error())
	}
	return b.Bytes()
}
