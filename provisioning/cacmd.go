package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"minglu/agent/durable"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
	"minglu/provisioning/enrol"
)

// caCommands are the commands of the office's certification authority.
type caCommands struct {
	Init struct {
		Config     string `required:"" placeholder:"FILE" help:"office.yaml"`
		Passphrase string `placeholder:"FILE" help:"file with the root's passphrase; default: asked for at the terminal, or one line of standard input"`
	} `cmd:"" help:"建立离线根 CA 与签发 CA（P-256 与 SM2 各一套）· make an offline root and an issuing authority, P-256 and SM2"`
	List struct {
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
		All    bool   `help:"expired and revoked ones too"`
	} `cmd:"" help:"列出已签发的证书 · list the certificates"`
	Revoke struct {
		Which  string `arg:"" name:"NAME|SERIAL" help:"a device, or one certificate"`
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
		Reason string `default:"unspecified" help:"\"key compromised\", \"out of service\", \"replaced device\" or \"unspecified\""`
	} `cmd:"" help:"吊销证书，一分钟内断开其连接 · revoke; its connections end within a minute"`
	CRL struct {
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
	} `cmd:"" name:"crl" help:"打印吊销列表（必要时更新）· print the revocation lists, made anew when due"`
	Export struct {
		Dir    string `arg:"" help:"folder, made if missing"`
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
	} `cmd:"" help:"导出根证书、签发证书、吊销列表与签发日志（不含密钥）· write root, issuing certificate, lists and log; no keys"`
	Server struct {
		Hosts  []string `arg:"" name:"HOST" help:"names and addresses by which the server is reached"`
		Config string   `required:"" placeholder:"FILE" help:"office.yaml"`
		Cert   string   `required:"" placeholder:"FILE" help:"where to write the certificate and its chain, PEM; a new file"`
		Key    string   `required:"" placeholder:"FILE" help:"where to write its key, PEM; a new file"`
	} `cmd:"" help:"为机关的其他服务器（如已有的 MQTT 服务器）签发证书 · a certificate for another server of the office, such as an MQTT broker"`
}

// issueServer makes key and certificate of another server.
func issueServer(cfg *config.Config, hosts []string, cert, key string, stdout io.Writer) error {
	authority, err := openCA(cfg, nil)
	if err != nil {
		return &usageError{err}
	}
	for _, name := range []string{cert, key} {
		if _, err := os.Lstat(name); err == nil {
			return &usageError{fmt.Errorf("%s is there already: name a new file", name)}
		}
	}
	c, k, until, err := authority.IssueServer(hosts)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(key, k, 0o600), os.WriteFile(cert, c, 0o644)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "有效期至 %s；请在此之前重新签发 · good until %[1]s: issue another before\n", until.Local().Format(time.DateOnly))
	return err
}

// enrolCommands are the commands for devices that come in.
type enrolCommands struct {
	Code struct {
		Name    string        `arg:"" help:"device.name of its agent.yaml"`
		Config  string        `required:"" placeholder:"FILE" help:"office.yaml"`
		Valid   time.Duration `default:"24h" help:"how long the code is good"`
		Replace bool          `help:"the name is enrolled already: revoke its certificates when the new device comes"`
	} `cmd:"" help:"生成一次性登记码（只显示一次）· make a one-time code, shown once"`
	List struct {
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
	} `cmd:"" help:"列出登记码的状态（不含码）· list what became of codes, without them"`
}

// do runs the command named after "ca ".
func (c *caCommands) do(name string, stdin io.Reader, stdout, stderr io.Writer) error {
	file := map[string]string{"init": c.Init.Config, "list": c.List.Config, "revoke": c.Revoke.Config, "crl": c.CRL.Config, "export": c.Export.Config}[name]
	return withConfig(file, func(cfg *config.Config) error {
		if name == "init" {
			return c.makeCA(cfg, stdin, stdout, stderr)
		}
		a, err := openCA(cfg, slog.New(slog.NewTextHandler(stderr, nil)))
		if err != nil {
			return &usageError{err}
		}
		switch name {
		case "list":
			return listCertificates(a, c.List.All, stdout)
		case "revoke":
			gone, err := a.Revoke(c.Revoke.Which, c.Revoke.Reason)
			names := map[string]bool{}
			for _, e := range gone {
				fmt.Fprintf(stdout, "已吊销 · revoked: %s %s %s\n", e.Name, e.Kind, e.Serial)
				names[e.Name] = true
			}
			codes := enrol.Codes{File: filepath.Join(cfg.State, codesFile)}
			for name := range names {
				died, cerr := codes.Revoke(name, c.Revoke.Reason)
				if died {
					fmt.Fprintf(stdout, "其未使用的登记码已作废 · and the code that was waiting for it: %s\n", name)
				}
				err = errors.Join(err, cerr)
			}
			return err
		case "crl":
			if err := a.Refresh(); err != nil {
				return err
			}
			b, err := a.CRL()
			if err == nil {
				_, err = stdout.Write(b)
			}
			return err
		default:
			return exportCA(a, c.Export.Dir, stdout)
		}
	})
}

func (c *caCommands) makeCA(cfg *config.Config, stdin io.Reader, stdout, stderr io.Writer) error {
	dir := filepath.Join(cfg.State, caFolder)
	if _, err := os.Lstat(dir); err == nil {
		return &usageError{fmt.Errorf("ca: %s is there already: an authority is made once", dir)}
	}
	phrase, err := c.passphrase(stdin, stderr)
	if err != nil {
		return &usageError{err}
	}
	a, err := ca.Init(ca.Options{Dir: dir}, cfg.Name, phrase)
	clear(phrase)
	if err != nil {
		return err
	}
	if err := a.Refresh(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, `CA 已建立 · the authority is made: %s
根证书指纹 root, SHA-256: %s
有效至 valid until: %s；签发 CA issuing: %s

务必现在把根密钥移到离线介质（例如两只加密 U 盘，分别保管），本机只留签发密钥：
Move the root key to a safe place now (two media, kept apart); only the issuing key is needed here:
  mv %s /media/…/
口令与密钥分开保管；两者缺一，日后不能更换签发 CA。
Keep the passphrase apart from it; without both no other issuing authority can be made later.
`, dir, ca.Fingerprint(a.Root()), a.Root().NotAfter.Format(time.DateOnly), a.Issuing().NotAfter.Format(time.DateOnly), filepath.Join(dir, ca.RootKeyFile))
	return err
}

// passphrase reads it from the file, the terminal (twice) or standard input.
func (c *caCommands) passphrase(stdin io.Reader, stderr io.Writer) ([]byte, error) {
	if name := c.Init.Passphrase; name != "" && name != "-" {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		line, _, _ := bytes.Cut(b, []byte{'\n'})
		return bytes.TrimRight(line, "\r"), nil
	}
	in := bufio.NewReader(io.LimitReader(stdin, 4096))
	read := func() (string, bool, error) {
		done, err := quiet(stdin, stderr)
		if err != nil {
			return "", false, err
		}
		line, err := in.ReadString('\n')
		done()
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", false, fmt.Errorf("no passphrase on standard input: %w", err)
		}
		return line, isTerminal(stdin), nil
	}
	line, terminal, err := read()
	if err != nil || !terminal {
		return []byte(line), err
	}
	fmt.Fprintln(stderr, "再次输入 · once more")
	again, _, err := read()
	if err == nil && again != line {
		err = errors.New("the two passphrases differ: try again")
	}
	return []byte(line), err
}

func listCertificates(a *ca.CA, all bool, stdout io.Writer) error {
	now := time.Now()
	w := tabwriter.NewWriter(stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "名称 NAME\t用途 KIND\t设备 DEVICE\t序列号 SERIAL\t有效至 UNTIL\t状态 STATE")
	for _, e := range a.Entries() {
		state := "good"
		switch {
		case !e.Revoked.IsZero():
			state = "revoked " + e.Revoked.Format(time.DateOnly) + ": " + e.Reason
		case !e.Good(now):
			state = "expired"
		}
		if all || state == "good" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Name, e.Kind, e.Device, e.Serial, e.Until.Format(time.DateOnly), state)
		}
	}
	return w.Flush()
}

func exportCA(a *ca.CA, dir string, stdout io.Writer) error {
	files, err := a.Export()
	if err != nil {
		return err
	}
	to := durable.In(filepath.Join(dir, ".tmp"))
	if err := to.MkdirAll(to.Tmp); err != nil {
		return err
	}
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := to.MkdirAll(filepath.Dir(path)); err != nil {
			return err
		}
		if err := to.Replace(path, b); err != nil {
			return err
		}
	}
	if err := to.Remove(to.Tmp); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "已导出 · written: %s\n", dir)
	return err
}

// do runs the command named after "enrol ".
func (c *enrolCommands) do(name string, stdout, stderr io.Writer) error {
	file := c.Code.Config
	if name == "list" {
		file = c.List.Config
	}
	return withConfig(file, func(cfg *config.Config) error {
		a, err := openCA(cfg, slog.New(slog.NewTextHandler(stderr, nil)))
		if err != nil {
			return &usageError{err}
		}
		codes := enrol.Codes{File: filepath.Join(cfg.State, codesFile)}
		if name == "list" {
			return listCodes(a, codes, stdout)
		}
		return c.makeCode(cfg, a, codes, stdout, stderr)
	})
}

func (c *enrolCommands) makeCode(cfg *config.Config, a *ca.CA, codes enrol.Codes, stdout, stderr io.Writer) error {
	now := time.Now()
	for _, e := range a.Entries() {
		if e.Name == c.Code.Name && e.Kind == ca.KindTLS && e.Good(now) && !c.Code.Replace {
			return &usageError{fmt.Errorf("%s is enrolled already (device %s): with --replace its certificates are revoked once the new device comes", c.Code.Name, e.Device)}
		}
	}
	code, until, err := codes.Make(c.Code.Name, a.Root().Raw, c.Code.Valid, c.Code.Replace)
	if err != nil {
		return &usageError{err}
	}
	if _, err := fmt.Fprintln(stdout, code); err != nil {
		return err
	}
	listen := "OFFICE:8093"
	if cfg.DevicesAPI != nil {
		listen = cfg.DevicesAPI.Listen
	} else {
		fmt.Fprintln(stderr, "注意：office.yaml 还没有 devices_api，设备无处登记 · office.yaml has no devices_api yet: boards have nowhere to enrol")
	}
	_, err = fmt.Fprintf(stderr, "有效至 good until %s。在设备上运行 · on the device:\n  minglu-agent enrol --config agent.yaml --office %s --code CODE\n", until.Local().Format("2006-01-02 15:04"), listen)
	return err
}

func listCodes(a *ca.CA, codes enrol.Codes, stdout io.Writer) error {
	all, err := codes.List()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, e := range a.Entries() {
		used[e.Ref] = true
	}
	w := tabwriter.NewWriter(stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "名称 NAME\t有效至 UNTIL\t状态 STATE")
	for _, c := range all {
		state := "waiting"
		switch {
		case used[c.Ref]:
			state = "used"
		case c.Dead != "":
			state = "dead: the name was revoked (" + c.Dead + ")"
		case !time.Now().Before(c.Until):
			state = "expired"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, c.Until.Local().Format("2006-01-02 15:04"), state)
	}
	return w.Flush()
}
