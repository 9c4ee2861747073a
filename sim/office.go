package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// office is the configuration of the office of a demo: pages without a login, on loopback only.
const office = `# 模拟管理端，由 minglu-sim demo 写成 / an office for the demo, written by minglu-sim demo
name: 示范县执法音像管理中心
demo: true
state: office
web: {listen: %q, auth: none}
mqtt: {listen: %q}
`

// startOffice starts the office and registers the room there. It returns the address the room reports
// to, with its password; "" and a nil process without an office.
func (d *demo) startOffice(ctx context.Context) (report string, p *process, err error) {
	if d.NoOffice {
		return "", nil, nil
	}
	bin, err := program("minglu-provisioning", "")
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return "", nil, err
	}
	config := filepath.Join(d.Dir, "office.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, office, d.Office, d.Broker), 0o600); err != nil {
		return "", nil, err
	}
	out, err := exec.Command(bin, "device", "add", device, "--config", config).Output()
	if err != nil {
		return "", nil, fmt.Errorf("%s device add: %w", bin, err)
	}
	password, err := passwordOf(string(out))
	if err != nil {
		return "", nil, err
	}
	if p, err = start(filepath.Join(d.Dir, "office.log"), bin, "serve", "--config", config); err != nil {
		return "", nil, err
	}
	err = p.answers(ctx, func() error { return alive(ctx, "http://"+d.Office+"/") })
	if err != nil {
		p.kill()
		return "", nil, fmt.Errorf("%w; are %s and %s in use? --office and --broker take other addresses", err, d.Office, d.Broker)
	}
	u := url.URL{Scheme: "mqtt", Host: d.Broker, User: url.UserPassword(device, password)}
	return u.String(), p, nil
}

// passwordOf finds the password in what "device add" prints: NAME, a space, the password.
func passwordOf(out string) (string, error) {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == device {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("minglu-provisioning device add printed no password")
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
