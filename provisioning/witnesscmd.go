package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/provisioning/config"
	"minglu/provisioning/witness"
)

// witnessCommands are the commands of a witness, the office's own or one that stands alone.
type witnessCommands struct {
	Run struct {
		Name   string `help:"name of its key, for example witness.example/minglu; needed the first time"`
		State  string `required:"" placeholder:"DIR" help:"its key and what it has cosigned; never shared with an office"`
		Trust  string `required:"" placeholder:"DIR" help:"what minglu-provisioning trust export wrote: ca/ and known/; read again every 10 seconds"`
		Listen string `default:"127.0.0.1:8092" help:"address of POST /add-checkpoint"`
		Cert   string `placeholder:"FILE" help:"TLS certificate and chain, PEM; needed beyond loopback unless a proxy does TLS"`
		Key    string `placeholder:"FILE" help:"TLS key, PEM"`
	} `cmd:"" default:"withargs" help:"独立运行见证人（C2SP tlog-witness），直到收到 SIGTERM · run a witness by itself until SIGTERM"`
	VKey    witnessPlace `cmd:"" name:"vkey" help:"打印见证人公钥，供 trust/witness/ 使用 · print its public key, for trust/witness/"`
	Confirm witnessPlace `cmd:"" help:"从备份恢复后，由负责人确认继续见证 · after a restore a person confirms that it may cosign again"`
}

// witnessPlace names a witness: that of an office, or one that stands alone.
type witnessPlace struct {
	Config string `placeholder:"FILE" help:"office.yaml, for the office's own witness"`
	State  string `placeholder:"DIR" help:"state of a witness that stands alone"`
	Name   string `help:"with --state, until it has run once: name of its key"`
}

// Files of a witness's folder.
const (
	witnessFolder  = "witness" // in the office's state
	witnessKeyFile = "witness.key"
	// witnessNameFile holds the name of a witness that stands alone.
	witnessNameFile = "name"
	witnessNewName  = "office"
)

// find returns folder and name of the witness.
func (p witnessPlace) find() (dir, name string, err error) {
	switch {
	case p.Config != "" && p.State == "":
		cfg, err := config.Load(p.Config)
		if err != nil {
			return "", "", err
		}
		return filepath.Join(cfg.State, witnessFolder), witnessName(cfg), nil
	case p.State != "" && p.Config == "":
		name, err := settleName(p.State, p.Name)
		return p.State, name, err
	}
	return "", "", &usageError{errors.New("name either --config office.yaml, or --state DIR with --name NAME")}
}

// settleName is the name of a witness that stands alone: the one its folder was first used with, since a key under
// another name is another witness to all who know it. name may be "" after the first use.
func settleName(dir, name string) (string, error) {
	file := filepath.Join(dir, witnessNameFile)
	b, err := os.ReadFile(file)
	had := strings.TrimSuffix(string(b), "\n")
	switch {
	case err == nil && (name == "" || name == had):
		return had, nil
	case err == nil:
		return "", &usageError{fmt.Errorf("this witness is called %q, not %q: leave --name out, or use another --state for another witness", had, name)}
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("witness: %w", err)
	case name == "":
		return "", &usageError{fmt.Errorf("%s holds no witness that ran before: give its name with --name", dir)}
	}
	if _, err := evidence.NewWitness(name, make(ed25519.PublicKey, ed25519.PublicKeySize)); err != nil {
		return "", &usageError{err}
	}
	files := durable.Files{Layer: durable.OS{}, Tmp: filepath.Join(dir, "tmp"), Perm: 0o600}
	if err := files.MkdirAll(files.Tmp); err != nil {
		return "", fmt.Errorf("witness: %w", err)
	}
	return name, files.CreateSame(file, []byte(name+"\n"))
}

// witnessName is the name of the office's own witness.
func witnessName(cfg *config.Config) string {
	if cfg.Witness.Name != "" {
		return cfg.Witness.Name
	}
	return witnessNewName
}

// loadWitnessKey reads the key in a folder, or makes it; it is durable when it returns.
func loadWitnessKey(dir string) (ed25519.PrivateKey, error) {
	files := durable.Files{Layer: durable.OS{}, Tmp: filepath.Join(dir, "tmp"), Perm: 0o600}
	if err := files.MkdirAll(files.Tmp); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, witnessKeyFile)
	b, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, files.Create(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := key.(ed25519.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("%s holds no Ed25519 key: put it back from a backup; a new key would be another witness", name)
}

// openWitness opens the witness in a folder.
func openWitness(dir, name string, keys func(string) []*ecdsa.PublicKey, alarm func(witness.Alarm), log *slog.Logger) (*witness.Witness, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	key, err := loadWitnessKey(dir)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	return witness.Open(witness.Options{Dir: dir, Name: name, Key: key, Keys: keys, Now: time.Now, Alarm: alarm, Log: log})
}

func (c *witnessCommands) vkey(stdout io.Writer) error {
	dir, name, err := c.VKey.find()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	key, err := loadWitnessKey(dir)
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	w, err := evidence.NewWitness(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		return &usageError{err}
	}
	_, err = fmt.Fprintln(stdout, w.VKey())
	return err
}

func (c *witnessCommands) confirm(stdout io.Writer) error {
	dir, name, err := c.Confirm.find()
	if err != nil {
		return err
	}
	w, err := openWitness(dir, name, func(string) []*ecdsa.PublicKey { return nil }, nil, nil)
	if err != nil {
		return fmt.Errorf("%w (stop the office first, confirm, start it again)", err)
	}
	defer w.Close()
	if !w.Frozen() {
		_, err := fmt.Fprintln(stdout, "无需确认：见证人未从备份恢复 · nothing to confirm: this witness was not restored")
		return err
	}
	if err := w.Confirm(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "已确认，见证人继续工作 · confirmed: the witness cosigns again")
	return err
}

// runWitness serves a witness that stands alone.
func (c *witnessCommands) run(ctx context.Context, log *slog.Logger) error {
	o := &c.Run
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return &usageError{fmt.Errorf("--listen %q: it should read 127.0.0.1:8092", o.Listen)}
	}
	if (o.Cert == "") != (o.Key == "") {
		return &usageError{errors.New("give both --cert and --key")}
	}
	if ip := net.ParseIP(host); o.Cert == "" && (ip == nil || !ip.IsLoopback()) {
		return &usageError{errors.New("beyond loopback give --cert and --key, or listen on 127.0.0.1 behind a proxy that does TLS")}
	}
	known := &trustKeys{dir: o.Trust}
	if _, err := known.read(); err != nil {
		return &usageError{err}
	}
	name, err := settleName(o.State, o.Name)
	if err != nil {
		return err
	}
	w, err := openWitness(o.State, name, known.of, func(a witness.Alarm) {
		log.Error("a person must look", "device", a.Device, "ledger", a.Origin, "why", a.Code, "detail", a.Detail)
	}, log)
	if err != nil {
		return err
	}
	defer w.Close()
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return &usageError{fmt.Errorf("--listen: %w", err)}
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return &usageError{errors.Join(fmt.Errorf("--cert, --key: %w", err), ln.Close())}
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	}
	srv := &http.Server{Handler: w.Handler(), ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	log.Info("witness is open", "address", ln.Addr(), "vkey", w.VKey(), "restored", w.Frozen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("witness: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	err = srv.Shutdown(stop)
	<-ended
	return err
}

// trustEvery is how often a trust folder is read again.
const trustEvery = 10 * time.Second

// trustKeys finds the keys of devices by the certificates in a trust folder, read again now and then.
type trustKeys struct {
	dir string

	mu   sync.Mutex // guards what follows
	at   time.Time
	keys map[string][]*ecdsa.PublicKey
}

// of returns the keys of a device. A folder that cannot be read now leaves the keys as they were.
func (k *trustKeys) of(device string) []*ecdsa.PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.at) > trustEvery {
		if keys, err := k.read(); err == nil {
			k.keys = keys
		}
		k.at = time.Now()
	}
	return k.keys[device]
}

// read takes every certificate of a device in DIR/known that an authority in DIR/ca vouches for and has
// not revoked.
func (k *trustKeys) read() (map[string][]*ecdsa.PublicKey, error) {
	trust, err := evidence.ReadTrust(os.DirFS(k.dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.dir, err)
	}
	keys := map[string][]*ecdsa.PublicKey{}
	roots := x509.NewCertPool()
	between := x509.NewCertPool()
	for _, c := range trust.Roots {
		if c.CheckSignatureFrom(c) == nil {
			roots.AddCert(c)
		} else {
			between.AddCert(c)
		}
	}
	now := time.Now()
	devices, err := readKnown(filepath.Join(k.dir, knownFolder))
	if err != nil {
		return nil, err
	}
	for _, c := range devices {
		device, err := evidence.CertDevice(c)
		if err != nil || revokedBy(trust.Revoked, c, now) {
			continue
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			continue
		}
		if key, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
			keys[device] = append(keys[device], key)
		}
	}
	return keys, nil
}

// readKnown reads the certificates in a folder.
func readKnown(dir string) (certs []*x509.Certificate, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: give the folder that minglu-provisioning trust export makes", err)
	}
	for _, e := range list {
		if filepath.Ext(e.Name()) != ".pem" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		c, err := evidence.CertsPEM(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		certs = append(certs, c...)
	}
	return certs, nil
}

// revokedBy reports whether a list of the certificate's issuer names it.
func revokedBy(lists []*x509.RevocationList, c *x509.Certificate, now time.Time) bool {
	for _, l := range lists {
		if string(l.RawIssuer) != string(c.RawIssuer) {
			continue
		}
		for _, e := range l.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(c.SerialNumber) == 0 && !e.RevocationTime.After(now) {
				return true
			}
		}
	}
	return false
}
