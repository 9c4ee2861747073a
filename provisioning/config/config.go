// Package config reads the office's one YAML file, strictly: an unknown key, a wrong kind of value or
// a listening address that would show passwords is an error that names file, line and remedy.
//
// Use: [Load] in main; [Example] is a commented file to start from.
package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Config is a whole configuration with its defaults filled in and its paths made absolute.
type Config struct {
	Name    string `yaml:"name"`    // of the office, shown on its pages
	State   string `yaml:"state"`   // folder: database, users, devices
	Users   string `yaml:"users"`   // file of people
	Devices string `yaml:"devices"` // file of devices
	Demo    bool   `yaml:"demo"`    // allows web.auth: none
	Web     Web    `yaml:"web"`
	MQTT    MQTT   `yaml:"mqtt"`
	Keep    Keep   `yaml:"keep"`
	// DevicesAPI is where boards enrol and renew, over TLS with a certificate of the office's own
	// authority (minglu-provisioning ca init). nil: nowhere.
	DevicesAPI *DevicesAPI `yaml:"devices_api"`

	Witness   Witness   `yaml:"witness"`
	Timestamp Timestamp `yaml:"timestamp"`
}

// Web is where the pages are.
type Web struct {
	Listen string   `yaml:"listen"`
	Hosts  []string `yaml:"hosts"` // names, beside localhost and the address itself, the pages answer to
	Auth   string   `yaml:"auth"`  // "login" or "none"
	TLS    *TLS     `yaml:"tls"`
}

// MQTT is where devices report.
type MQTT struct {
	URL    string `yaml:"url"` // of a broker that is there already, in place of the office's own
	CA     string `yaml:"ca"`  // PEM file that vouches for that broker; default: the system's roots
	Listen string `yaml:"listen"`
	TLS    *TLS   `yaml:"tls"`
	// Passwords lets devices in by password too, beside certificates of the office's own authority.
	// default true
	Passwords bool `yaml:"passwords"`
}

// DevicesAPI is where boards enrol.
type DevicesAPI struct {
	Listen string   `yaml:"listen"`
	Hosts  []string `yaml:"hosts"` // names and addresses in the office's certificate, beside those found
}

// TLS names PEM files, or the office's own authority.
type TLS struct {
	Cert   string `yaml:"cert"`
	Key    string `yaml:"key"`
	FromCA bool   `yaml:"from_ca"` // a certificate of the own authority, made and renewed by itself
}

// Keep bounds what is kept of events.
type Keep struct {
	Days    int `yaml:"days"`
	PerRoom int `yaml:"per_room"`
}

// For is Days as a duration.
func (k Keep) For() time.Duration { return time.Duration(k.Days) * 24 * time.Hour }

// Defaults and bounds.
const (
	DefaultWeb     = "127.0.0.1:8090"
	DefaultMQTT    = "127.0.0.1:1883"
	DefaultDays    = 400
	DefaultPerRoom = 100_000
	maxDays        = 100 * 366
	maxPerRoom     = 100_000_000
	maxFile        = 64 << 10
)

//go:embed example.yaml
var example string

// Example is a commented configuration.
func Example() string { return example }

// Problem is what is wrong with a file, where, and what to do.
type Problem struct {
	File         string
	Line, Column int
	Zh, En       string
}

func (p *Problem) Error() string {
	where := p.File
	if p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
	}
	return where + ": " + p.Zh + " / " + p.En
}

// Load reads and checks file. Errors are of type *Problem.
func Load(file string) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &Problem{File: file, Zh: "无法读取：" + err.Error() + "；请用 --config 指明文件", En: "cannot be read: " + err.Error() + ": name an existing file with --config"}
	}
	return Parse(file, data)
}

// Parse is Load of bytes that stand in file.
func Parse(file string, data []byte) (*Config, error) {
	if len(data) > maxFile {
		return nil, &Problem{File: file, Zh: "文件过大，不是配置文件", En: "too large: this is no configuration"}
	}
	c := defaults()
	switch err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(c); {
	case errors.Is(err, io.EOF): // nothing in it
		c = defaults()
	case err != nil:
		return nil, fromYAML(file, err)
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, fromYAML(file, err)
	}
	if len(tree.Docs) > 1 {
		return nil, &Problem{File: file, Zh: "文件中有多份配置；请只留一份", En: "the file holds more than one document: keep one"}
	}
	if p := c.check(); p != nil {
		p.File = file
		p.Line, p.Column = place(tree, p.key)
		return nil, &p.Problem
	}
	return c, c.paths(file)
}

func defaults() *Config {
	return &Config{Name: "明录管理端 · Minglu office", State: "office", Web: Web{Listen: DefaultWeb, Auth: "login"}, MQTT: MQTT{Listen: DefaultMQTT, Passwords: true},
		Keep: Keep{DefaultDays, DefaultPerRoom}}
}

func fromYAML(file string, err error) error {
	p := &Problem{File: file}
	said := err.Error()
	if e := yaml.Error(nil); errors.As(err, &e) {
		said = e.GetMessage()
		if t := e.GetToken(); t != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	said, _, _ = strings.Cut(said, "\n")
	p.Zh = "不能理解：" + said + "；请对照 minglu-provisioning example"
	p.En = said + ": compare with minglu-provisioning example"
	return p
}

// place finds the line of a key, or of the nearest key above it.
func place(tree *ast.File, key string) (line, column int) {
	for ; key != ""; key = key[:max(strings.LastIndexByte(key, '.'), 0)] {
		p, err := yaml.PathString("$." + key)
		if err != nil {
			return 0, 0
		}
		if n, err := p.FilterFile(tree); err == nil && n != nil && n.GetToken() != nil {
			return n.GetToken().Position.Line, n.GetToken().Position.Column
		}
	}
	return 0, 0
}

type found struct {
	Problem
	key string
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`)

func (c *Config) check() *found {
	bad := func(key, zh, en string) *found {
		return &found{Problem{Zh: key + "：" + zh, En: key + ": " + en}, key}
	}
	for _, l := range []struct {
		key, listen string
		tls         *TLS
	}{{"web", c.Web.Listen, c.Web.TLS}, {"mqtt", c.MQTT.Listen, c.MQTT.TLS}} {
		host, port, err := net.SplitHostPort(l.listen)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
			return bad(l.key+".listen", fmt.Sprintf("监听地址 %q 无效；应形如 127.0.0.1:8090", l.listen), fmt.Sprintf("address %q: it should read 127.0.0.1:8090", l.listen))
		}
		if l.key == "mqtt" && c.MQTT.URL != "" {
			continue // it does not listen
		}
		if l.tls == nil && !isLoopback(host) {
			return bad(l.key+".listen", "对外监听必须配置 "+l.key+".tls（cert 与 key），否则口令会明文传输；或改为 127.0.0.1",
				"beyond loopback it needs "+l.key+".tls with cert and key, or passwords would be readable on the wire; else listen on 127.0.0.1")
		}
		if l.tls != nil && (l.tls.FromCA && l.tls.Cert+l.tls.Key != "" || !l.tls.FromCA && (l.tls.Cert == "" || l.tls.Key == "")) {
			return bad(l.key+".tls", "请同时填写 cert 与 key，或只写 from_ca: true", "give both cert and key, or from_ca: true alone")
		}
	}
	if !c.MQTT.Passwords && c.MQTT.TLS == nil {
		return bad("mqtt.passwords", "禁用口令时设备凭证书登录，须配置 mqtt.tls", "without passwords devices log in by certificate: that needs mqtt.tls")
	}
	if a := c.DevicesAPI; a != nil {
		_, port, err := net.SplitHostPort(a.Listen)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
			return bad("devices_api.listen", fmt.Sprintf("监听地址 %q 无效；应形如 0.0.0.0:8093", a.Listen), fmt.Sprintf("address %q: it should read 0.0.0.0:8092", a.Listen))
		}
		for _, h := range a.Hosts {
			if _, err := netip.ParseAddr(h); err != nil && !hostName.MatchString(h) {
				return bad("devices_api.hosts", fmt.Sprintf("%q 不是主机名或地址", h), fmt.Sprintf("%q is no host name or address", h))
			}
		}
	}
	host, _, _ := net.SplitHostPort(c.Web.Listen)
	switch {
	case c.Web.Auth != "login" && c.Web.Auth != "none":
		return bad("web.auth", fmt.Sprintf("%q 无效；请写 login 或 none", c.Web.Auth), fmt.Sprintf("%q: write login or none", c.Web.Auth))
	case c.Web.Auth == "none" && !c.Demo:
		return bad("web.auth", "auth: none 只允许用于演示（demo: true）；请改为 login", "auth: none is for demonstrations with demo: true only: write login")
	case c.Web.Auth == "none" && !isLoopback(host):
		return bad("web.auth", "auth: none 只允许在本机回环地址上；请监听 127.0.0.1", "auth: none is allowed on loopback only: listen on 127.0.0.1")
	case c.State == "":
		return bad("state", "请填写目录", "name a folder")
	case c.Name == "" || len(c.Name) > 200:
		return bad("name", "名称应为 1 到 200 字节", "a name has 1 to 200 bytes")
	case c.Keep.Days < 1 || c.Keep.Days > maxDays:
		return bad("keep.days", fmt.Sprintf("应为 1 到 %d", maxDays), fmt.Sprintf("choose 1 to %d", maxDays))
	case c.Keep.PerRoom < 100 || c.Keep.PerRoom > maxPerRoom:
		return bad("keep.per_room", fmt.Sprintf("应为 100 到 %d", maxPerRoom), fmt.Sprintf("choose 100 to %d", maxPerRoom))
	}
	if f := c.checkOutside(bad); f != nil {
		return f
	}
	for _, h := range c.Web.Hosts {
		if !hostName.MatchString(h) {
			return bad("web.hosts", fmt.Sprintf("主机名 %q 无效；不含端口与协议", h), fmt.Sprintf("host %q: give the name alone, without scheme and port", h))
		}
	}
	return nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// paths makes the paths absolute, from the file's folder.
func (c *Config) paths(file string) error {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return &Problem{File: file, Zh: err.Error(), En: err.Error()}
	}
	in := func(dir, path, def string) string {
		if path == "" {
			path = def
		}
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	c.State = in(dir, c.State, "office")
	c.Users = in(dir, c.Users, filepath.Join(c.State, "users.json"))
	c.Devices = in(dir, c.Devices, filepath.Join(c.State, "devices.json"))
	for i, r := range c.Timestamp.Roots {
		c.Timestamp.Roots[i] = in(dir, r, "")
	}
	if c.MQTT.CA != "" {
		c.MQTT.CA = in(dir, c.MQTT.CA, "")
	}
	for _, t := range []*TLS{c.Web.TLS, c.MQTT.TLS} {
		if t != nil && !t.FromCA {
			t.Cert, t.Key = in(dir, t.Cert, ""), in(dir, t.Key, "")
		}
	}
	return nil
}
