package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"minglu/agent/config"
	"minglu/agent/evidence"
	"minglu/agent/inventory"
	"minglu/agent/setup"
)

const (
	pagesYears  = 10
	answerTime  = 60 * time.Second // until the started agent answers
	drillLength = 10 * time.Second
	sealTime    = 60 * time.Second
	maxAnswer   = 1 << 20
)

// findAround looks what the board has that the interview offers.
func findAround(ctx context.Context, stderr io.Writer) setup.Found {
	m := inventory.Look(inventory.Options{Root: os.DirFS("/"), Arch: runtime.GOARCH, Board: boardAuto, Probes: probes(ctx)})
	f := setup.Found{Board: m.Board, BoardName: m.Title.Zh + " · " + m.Title.En}
	f.Host, _ = os.Hostname()
	for _, x := range m.Items {
		offer(&f, x)
	}
	out, err := exec.CommandContext(ctx, "lsblk", setup.LsblkArgs...).Output()
	if err == nil {
		f.Disks, err = setup.ParseDisks(out)
	}
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent: 无法列出磁盘 · disks cannot be listed:", err)
	}
	return f
}

// offer adds what can be used to what is offered.
func offer(f *setup.Found, x inventory.Item) {
	if x.Config == "" && x.Kind != inventory.NetCamera {
		return
	}
	key, _, _ := strings.Cut(x.Config, ":")
	switch x.Kind {
	case inventory.Camera:
		f.Cameras = append(f.Cameras, setup.Device{Name: x.Name, YAML: "v4l2: {device: " + strconv.Quote(x.Path) + "}"})
	case inventory.Microphone:
		f.Microphones = append(f.Microphones, setup.Device{Name: x.Name, YAML: "alsa: " + strconv.Quote(x.Path)})
	case inventory.Speaker:
		f.Speakers = append(f.Speakers, setup.Device{Name: x.Name, YAML: "alsa: " + strconv.Quote(x.Path)})
	case inventory.Sensor, inventory.Scanner:
		if key == "power" { // its shunt and battery nobody can see: written by hand (docs/wiring.md)
			return
		}
		f.Parts = append(f.Parts, setup.Part{Name: x.Name, Key: key, YAML: strings.TrimSpace(x.Config)})
	case inventory.Line:
		if chip, line, ok := strings.Cut(x.Path, ":"); ok && x.Pin > 0 {
			f.Pins = append(f.Pins, setup.Pin{Number: x.Pin, Name: x.Name, Chip: chip, Line: line})
		}
	}
}

// pages makes a certificate for pages that others than this screen may see.
func (s *settingUp) pages(context.Context) error {
	if s.a.Local() {
		return nil
	}
	cert, chain, key, err := selfSigned(s.a.Name)
	if err != nil {
		return err
	}
	dir := filepath.Dir(s.Config)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{setup.PagesCert: chain, setup.PagesKey: key} {
		if err := s.write(filepath.Join(dir, name), text, 0o640); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "  %s SHA-256 %X\n", filepath.Join(dir, setup.PagesCert), sha256.Sum256(cert.Certificate[0]))
	return nil
}

// selfSigned makes a certificate that nobody vouches for, with what it and its key are in PEM.
func selfSigned(name string) (cert tls.Certificate, chain, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return cert, nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(pagesYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{name, name + ".local", "localhost"}, IPAddresses: addresses(),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, private.Public(), private)
	if err != nil {
		return cert, nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return cert, nil, nil, err
	}
	chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	cert, err = tls.X509KeyPair(chain, key)
	return cert, chain, key, err
}

// addresses are those the board has now.
func addresses() (ips []net.IP) {
	list, _ := net.InterfaceAddrs()
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			ips = append(ips, n.IP)
		}
	}
	return ips
}

// start lets systemd run the agent, and waits until it answers.
func (s *settingUp) start(ctx context.Context) error {
	if _, err := os.Stat(systemdRuns); errors.Is(err, fs.ErrNotExist) || s.uid < 0 {
		return fmt.Errorf("没有作为服务安装：请自行运行 · not installed as a service: start it yourself: minglu-agent run --config %s", s.Config)
	}
	if err := run1(ctx, "systemctl", "enable", "--now", "minglu-agent.service"); err != nil {
		return err
	}
	wait, stop := context.WithTimeout(ctx, answerTime)
	defer stop()
	for {
		var st struct{ State string }
		err := s.call(wait, http.MethodGet, "state", nil, &st)
		if err == nil {
			fmt.Fprintf(s.out, "  state: %s\n", st.State)
			s.started = true
			return nil
		}
		if !later(wait, time.Second) {
			return fmt.Errorf("服务没有应答，查看 journalctl -u minglu-agent · it does not answer: %w", err)
		}
	}
}

// later waits a while, unless ctx ends.
func later(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// drill records for a moment, marked as a drill, and verifies what was recorded.
func (s *settingUp) drill(ctx context.Context) error {
	if !s.a.Drill {
		return nil
	}
	if !s.started {
		return errors.New("服务没有启动，没有试录 · the service was not started: nothing was recorded")
	}
	var begun struct{ ID string }
	if err := s.call(ctx, http.MethodPost, "session", map[string]any{"matter": "首次设置试录", "flags": []string{"drill"}}, &begun); err != nil {
		return err
	}
	for n := range int(drillLength / time.Second) {
		fmt.Fprintf(s.out, "\r  录制 recording %s  %2d s", begun.ID, n+1)
		if !later(ctx, time.Second) {
			return ctx.Err()
		}
	}
	fmt.Fprintln(s.out)
	if err := s.call(ctx, http.MethodPost, "session/stop", map[string]string{"reason": "drill"}, nil); err != nil {
		return err
	}
	cfg, err := config.Load(s.Config)
	if err != nil {
		return err
	}
	var folders []string
	for _, d := range cfg.Storage.Disks {
		folders = append(folders, filepath.Join(d, "sessions", begun.ID))
	}
	wait, stop := context.WithTimeout(ctx, sealTime)
	defer stop()
	for !sealed(folders) {
		if !later(wait, 200*time.Millisecond) {
			return fmt.Errorf("试录没有封存 · the test recording was not sealed within %v", sealTime)
		}
	}
	switch code := runVerify(folders, "", 0, evidence.DefaultWindow, false, s.out, s.out); code {
	case evidence.ExitGood:
		return nil
	case evidence.ExitSound:
		return errors.New("试录可信但有缺口：查看上面的原因 · sound, but with gaps: see above why")
	default:
		return fmt.Errorf("试录核验不通过 · the test recording does not verify (exit %d)", code)
	}
}

// sealed reports whether each of the folders holds a sealed session.
func sealed(folders []string) bool {
	for _, f := range folders {
		if _, err := os.Stat(filepath.Join(f, "manifest.json.p7s")); err != nil {
			return false
		}
	}
	return true
}

// call asks the agent that was started, as the room's own panel does.
func (s *settingUp) call(ctx context.Context, method, path string, body, answer any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	scheme, host := "http", s.a.Listen
	client := &http.Client{Timeout: answerTime}
	if !s.a.Local() {
		_, port, _ := net.SplitHostPort(s.a.Listen)
		scheme, host = "https", net.JoinHostPort("127.0.0.1", port)
		roots := x509.NewCertPool()
		cert, err := os.ReadFile(filepath.Join(filepath.Dir(s.Config), setup.PagesCert))
		if err != nil {
			return err
		}
		roots.AppendCertsFromPEM(cert)
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, scheme+"://"+host+"/api/v1/"+path, &b)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, strings.TrimSpace(string(text)))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
