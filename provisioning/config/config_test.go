package config

import (
	"errors"
	"strings"
	"testing"
)

func TestExampleIsGood(t *testing.T) {
	c, err := Parse("/etc/minglu/office.yaml", []byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	if c.State != "/etc/minglu/office" || c.Users != "/etc/minglu/office/users.json" || c.Web.Listen != DefaultWeb || c.Keep.PerRoom != DefaultPerRoom {
		t.Errorf("%+v", c)
	}
}

func TestProblemsAreToldWithTheirPlace(t *testing.T) {
	for _, tt := range []struct {
		rule, yaml string
		line       int
		says       string
	}{
		{"an unknown key", "name: a\nstat: b\n", 2, "stat"},
		{"an unknown key inside", "web:\n  listn: x\n", 2, "listn"},
		{"no YAML", "name: [a\n", 1, ""},
		{"a list where a text should be", "name: x\nstate: [a]\n", 2, ""},
		{"the same key twice", "name: a\nname: b\n", 2, ""},
		{"pages beyond loopback need TLS", "name: a\nweb:\n  listen: 0.0.0.0:8090\n", 3, "web.tls"},
		{"so does a name, which may be any address", "web:\n  listen: localhost.example:80\n", 2, "web.tls"},
		{"so does MQTT", "mqtt: {listen: \":1883\"}\n", 1, "mqtt.tls"},
		{"half of TLS", "mqtt:\n  tls: {cert: a}\n", 2, "cert"},
		{"TLS of two kinds", "mqtt:\n  tls: {cert: a, from_ca: true}\n", 2, "from_ca"},
		{"no passwords without TLS", "mqtt:\n  passwords: false\n", 2, "mqtt.tls"},
		{"a device API without port", "devices_api:\n  listen: 0.0.0.0\n", 2, "0.0.0.0:8093"},
		{"a device API with a strange host", "devices_api: {listen: \"0.0.0.0:8093\", hosts: [\"https://a\"]}\n", 1, "no host name"},
		{"no port", "web: {listen: \"127.0.0.1\"}\n", 1, "127.0.0.1:8090"},
		{"no login without a demonstration", "web:\n  auth: none\n", 2, "demo: true"},
		{"no login beyond loopback", "demo: true\nweb:\n  listen: 0.0.0.0:1\n  tls: {cert: a, key: b}\n  auth: none\n", 5, "loopback"},
		{"nothing kept", "keep: {days: 0}\n", 1, "1 to"},
		{"a host with a port", "web: {hosts: [\"a:80\"]}\n", 1, "without scheme and port"},
		{"two documents", "name: a\n---\nname: b\n", 0, "one"},
	} {
		_, err := Parse("office.yaml", []byte(tt.yaml))
		var p *Problem
		if !errors.As(err, &p) || p.Line != tt.line || p.File != "office.yaml" || !strings.Contains(p.Error(), tt.says) {
			t.Errorf("%s: %v (want line %d, %q)", tt.rule, err, tt.line, tt.says)
		}
	}
	if _, err := Load("/nonexistent/office.yaml"); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Parse("x", []byte("demo: true\nweb: {auth: none}\n")); err != nil {
		t.Errorf("a demonstration on loopback: %v", err)
	}
	if _, err := Parse("x", nil); err != nil {
		t.Errorf("an empty file is all defaults: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte("web: {listen: [a]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := Parse("f", b); err == nil && (c.State == "" || c.Users == "") {
			t.Errorf("accepted %+v", c)
		}
	})
}
