package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minglu/agent/config"
	"minglu/agent/inventory"
	"minglu/agent/setup"
)

// talk answers the questions of a board without devices: one network camera that does not answer, and a
// folder for recordings.
func talk(dir, listen string) string {
	return strings.Join([]string{"room-3", "询问室三", "hearing", "某县市场监督管理局", "", "rtsp://admin:pass@127.0.0.1:9/x", "", "", filepath.Join(dir, "a"), listen, "wang", "long enough", "", "y"}, "\n") + "\n"
}

// TestOffer: a sensor is offered with its lines; a battery's meter is not, whose shunt and battery nobody can see.
func TestOffer(t *testing.T) {
	f := setup.Found{}
	for _, config := range []string{"thermometer:\n  i2c: {bus: x}\n", "power:\n  i2c: {bus: x}\n", "rtc:\n  i2c: {bus: x}\n"} {
		offer(&f, inventory.Item{Kind: inventory.Sensor, Config: config})
	}
	if len(f.Parts) != 2 || f.Parts[0].Key != "thermometer" || f.Parts[1].Key != "rtc" {
		t.Errorf("offered: %+v", f.Parts)
	}
}

// TestInit: what can be done is done and what cannot is told; nothing that was typed as a secret is printed.
func TestInit(t *testing.T) {
	dir := t.TempDir()
	file, state := filepath.Join(dir, "etc", "agent.yaml"), filepath.Join(dir, "state")
	c := &initCommand{Config: file, State: state, Owner: "nobody-of-this-name", look: func(context.Context, io.Writer) setup.Found { return setup.Found{Board: "generic", Host: "x"} }}
	var out, complaint bytes.Buffer

	if code := c.run(strings.NewReader("room-3\n"), &out, &complaint); code != exitFailed {
		t.Errorf("an input that ends gives exit %d, want %d", code, exitFailed)
	}
	if _, err := os.Stat(file); err == nil || !strings.Contains(complaint.String(), "什么都没有写入") {
		t.Errorf("after half the answers: %v, %s", err, complaint.String())
	}

	out.Reset()
	if code := c.run(strings.NewReader(talk(dir, "0.0.0.0:8443")), &out, &complaint); code != exitFailed {
		t.Errorf("exit %d, want %d: the camera does not answer, and there is no service", code, exitFailed)
	}
	for _, want := range []string{"[8/8]", "请检查电源、网线", "minglu-agent run --config", "尚未完成", "没有试录", "https://0.0.0.0:8443/"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String()+complaint.String(), "long enough") || strings.Contains(out.String(), "admin:pass") {
		t.Error("a secret was printed")
	}
	cfg, err := config.Load(file)
	if err != nil || cfg.Device.Room != "询问室三" || cfg.Web.TLS == nil {
		t.Fatalf("configuration %+v, %v", cfg, err)
	}
	for _, name := range []string{file, cfg.Web.TLS.Key} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v; want 0640", name, fi.Mode(), err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(state, usersFile)); err != nil || !strings.Contains(string(b), `"wang"`) || strings.Contains(string(b), "long enough") {
		t.Errorf("users %s, %v", b, err)
	}

	complaint.Reset()
	if code := c.run(strings.NewReader(""), &out, &complaint); code != exitUsage || !strings.Contains(complaint.String(), "已存在") {
		t.Errorf("with a configuration there: exit %d, %s", code, complaint.String())
	}
}
