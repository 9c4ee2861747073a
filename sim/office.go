package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"minglu/sim/tsa"
)

// officeConfig is the configuration of the office of a demo: pages without a login, on loopback only.
const officeConfig = `# 模拟管理端，由 minglu-sim demo 写成 / an office for the demo, written by minglu-sim demo
name: 示范县执法音像管理中心
demo: true
state: office
web: {listen: %q, auth: none}
mqtt: {listen: %q, tls: {from_ca: true}, passwords: false}
devices_api: {listen: %q}
timestamp: {urls: [%q], roots: [tsa/root.pem]}
`

// office is the office of a demo with a time-stamping authority of its own. A nil office is none.
type office struct {
	*process
	bin, config string
	stamps      *http.Server
}

// startOffice makes the office's authority, once, and starts the office.
func (d *demo) startOffice(ctx context.Context) (*office, error) {
	if d.NoOffice {
		return nil, nil
	}
	bin, err := program("minglu-provisioning", "")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return nil, err
	}
	o := &office{bin: bin, config: filepath.Join(d.Dir, "office.yaml")}
	url, err := o.serveTime(filepath.Join(d.Dir, "tsa"))
	if err != nil {
		return nil, err
	}
	phrase := filepath.Join(d.Dir, "root-passphrase")
	err = errors.Join(os.WriteFile(o.config, fmt.Appendf(nil, officeConfig, d.Office, d.Broker, d.Devices, url), 0o600),
		os.WriteFile(phrase, []byte("only for the demo\n"), 0o600))
	if err != nil {
		return nil, errors.Join(err, o.stamps.Close())
	}
	if _, err := os.Stat(filepath.Join(d.Dir, "office", "ca", "root.pem")); errors.Is(err, fs.ErrNotExist) {
		if _, err := o.command("ca", "init", "--config", o.config, "--passphrase", phrase); err != nil {
			return nil, errors.Join(err, o.stamps.Close())
		}
	}
	if o.process, err = start(filepath.Join(d.Dir, "office.log"), bin, "serve", "--config", o.config); err != nil {
		return nil, errors.Join(err, o.stamps.Close())
	}
	if err := o.answers(ctx, func() error { return alive(ctx, "http://"+d.Office+"/") }); err != nil {
		o.end()
		return nil, fmt.Errorf("%w; are %s, %s and %s in use? --office, --broker and --devices take other addresses", err, d.Office, d.Broker, d.Devices)
	}
	return o, nil
}

// serveTime serves a time-stamping authority on an address that is free.
func (o *office) serveTime(dir string) (url string, err error) {
	s, err := tsa.Open(dir, tsa.Options{})
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	o.stamps = &http.Server{Handler: s}
	go func() { _ = o.stamps.Serve(l) }()
	return "http://" + l.Addr().String() + "/", nil
}

// enrol gets the room its certificates, unless it has them from this office.
func (o *office) enrol(agent, config, devices string) error {
	if o == nil {
		return nil
	}
	dir := filepath.Dir(config)
	have, _ := os.ReadFile(filepath.Join(dir, "state", "identity", "root.pem"))
	root, _ := os.ReadFile(filepath.Join(dir, "office", "ca", "root.pem"))
	if len(root) > 0 && bytes.Equal(have, root) {
		return nil
	}
	code, err := o.command("enrol", "code", device, "--replace", "--config", o.config)
	if err != nil {
		return err
	}
	out, err := exec.Command(agent, "enrol", "--config", config, "--office", devices, "--code", strings.TrimSpace(code)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("minglu-agent enrol: %w: %s", err, out)
	}
	return nil
}

// command runs minglu-provisioning and returns what it prints.
func (o *office) command(args ...string) (string, error) {
	var said bytes.Buffer
	c := exec.Command(o.bin, args...)
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("minglu-provisioning %s: %w: %s", strings.Join(args[:2], " "), err, said.String())
	}
	return string(out), nil
}

// end asks the office to stop and waits, whatever becomes of it.
func (o *office) end() {
	if o == nil {
		return
	}
	_ = o.process.end()
	_ = o.stamps.Close()
}

func alive(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
