// Minglu-provisioning is the office: it takes what the rooms report and shows whoever keeps the
// equipment what does not meet the standard. `minglu-provisioning --help` lists the commands.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"minglu/provisioning/config"
	"minglu/provisioning/users"
)

// Exit codes.
const (
	exitGood   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

// version is set by the release build; a build from the tree takes the commit.
var version = ""

type commands struct {
	Serve struct {
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
	} `cmd:"" help:"运行管理端，直到收到 SIGTERM 或 ctrl-C · run the office until SIGTERM or ctrl-C"`
	Device struct {
		Add struct {
			Names  []string `arg:"" name:"NAME" help:"device.name of its agent.yaml"`
			Config string   `required:"" placeholder:"FILE" help:"office.yaml"`
		} `cmd:"" help:"登记设备并生成 MQTT 口令（只显示一次）· register devices, or give them new passwords, shown once"`
		List struct {
			Config string `required:"" placeholder:"FILE" help:"office.yaml"`
		} `cmd:"" help:"列出设备 · list the devices"`
	} `cmd:"" help:"设备 · devices that may report"`
	User struct {
		Add struct {
			Name   string   `arg:"" help:"login name"`
			Config string   `required:"" placeholder:"FILE" help:"office.yaml"`
			Role   []string `required:"" enum:"manager,auditor,supervisor" help:"manager, auditor or supervisor"`
		} `cmd:"" help:"新建用户或改口令（口令由标准输入读入）· make a user or change a password (read from standard input)"`
	} `cmd:"" help:"用户 · people who may look"`
	CA      caCommands      `cmd:"" name:"ca" help:"证书颁发机构 · the office's certification authority"`
	Enrol   enrolCommands   `cmd:"" help:"设备登记 · devices that come in"`
	Witness witnessCommands `cmd:"" help:"见证人 · witness of device ledgers"`
	Trust   trustCommands   `cmd:"" help:"信任文件夹 · what auditors and courts judge recordings with"`
	Ledger  ledgerCommands  `cmd:"" help:"设备台账副本 · the office's copies of device ledgers"`
	Lists   listsCommands   `cmd:"" help:"清单 · lists of bodies, officers, matters, bookings and cases"`
	Backup  struct {
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
		To     string `required:"" placeholder:"FILE" help:"the backup: a file that does not exist yet"`
	} `cmd:"" help:"把整个管理端备份为一个文件（运行中也可）· copy the whole office into one file, also while it runs"`
	Restore struct {
		From   string `arg:"" help:"a backup"`
		Config string `required:"" placeholder:"FILE" help:"office.yaml; taken from the backup if it does not exist"`
	} `cmd:"" help:"在空机器上从备份恢复 · build the office again on an empty machine"`
	Example struct{} `cmd:"" help:"打印带注释的配置示例 · print a commented example configuration"`
	Version struct{} `cmd:"" help:"版本 · version"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// command runs one command line and returns its exit code.
func command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	var c commands
	helped := false
	p, err := kong.New(&c, kong.Name("minglu-provisioning"), kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }),
		kong.Description("明录管理端：接收各房间上报，显示哪些不合标准 · takes the rooms' reports and shows what does not meet the standard."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if len(args) == 0 {
		args = []string{"--help"}
		defer func() { code = exitUsage }()
	}
	k, err := p.Parse(args)
	if helped {
		return exitGood
	}
	if err != nil {
		fmt.Fprintf(stderr, "minglu-provisioning: %v\n参见 see: minglu-provisioning --help\n", err)
		return exitUsage
	}
	switch k.Command() {
	case "serve":
		err = withConfig(c.Serve.Config, func(cfg *config.Config) error {
			return serve(ctx, cfg, slog.New(slog.NewTextHandler(stderr, nil)), nil)
		})
	case "device add <NAME>":
		err = withConfig(c.Device.Add.Config, func(cfg *config.Config) error { return addDevices(cfg, c.Device.Add.Names, stdout, stderr) })
	case "device list":
		err = withConfig(c.Device.List.Config, func(cfg *config.Config) error { return listDevices(cfg, stdout) })
	case "user add <name>":
		err = withConfig(c.User.Add.Config, func(cfg *config.Config) error {
			return addUser(cfg, c.User.Add.Name, c.User.Add.Role, stdin, stdout, stderr)
		})
	case "ca init", "ca list", "ca revoke <NAME|SERIAL>", "ca crl", "ca export <dir>":
		err = c.CA.do(strings.Fields(k.Command())[1], stdin, stdout, stderr)
	case "enrol code <name>", "enrol list":
		err = c.Enrol.do(strings.Fields(k.Command())[1], stdout, stderr)
	case "ca server <HOST>":
		err = withConfig(c.CA.Server.Config, func(cfg *config.Config) error {
			return issueServer(cfg, c.CA.Server.Hosts, c.CA.Server.Cert, c.CA.Server.Key, stdout)
		})
	case "witness run":
		err = c.Witness.run(ctx, slog.New(slog.NewTextHandler(stderr, nil)))
	case "witness vkey":
		err = c.Witness.vkey(stdout)
	case "witness confirm":
		err = c.Witness.confirm(stdout)
	case "trust export":
		err = withConfig(c.Trust.Export.Config, func(cfg *config.Config) error { return exportTrust(cfg, c.Trust.Export.To, stdout) })
	case "ledger export", "ledger export <DEVICE>":
		err = withConfig(c.Ledger.Export.Config, func(cfg *config.Config) error {
			return exportLedgers(cfg, c.Ledger.Export.Devices, c.Ledger.Export.To, stdout)
		})
	case "lists export <DEVICE>":
		err = withConfig(c.Lists.Export.Config, func(cfg *config.Config) error {
			return exportLists(cfg, c.Lists.Export.Device, c.Lists.Export.To, stdout)
		})
	case "backup":
		err = withConfig(c.Backup.Config, func(cfg *config.Config) error {
			return makeBackup(ctx, cfg, c.Backup.Config, c.Backup.To, stdout)
		})
	case "restore <from>":
		err = restore(ctx, c.Restore.Config, c.Restore.From, stdout)
	case "example":
		_, err = io.WriteString(stdout, config.Example())
	default:
		_, err = fmt.Fprintln(stdout, "minglu-provisioning", buildVersion())
	}
	switch {
	case err == nil:
		return exitGood
	case errors.As(err, new(*config.Problem)):
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	fmt.Fprintln(stderr, "minglu-provisioning:", err)
	if errors.As(err, new(*usageError)) {
		return exitUsage
	}
	return exitFailed
}

// usageError is an error of the configuration that only shows when things are opened.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

// withConfig reads the configuration and makes the state folder.
func withConfig(file string, do func(*config.Config) error) error {
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	for _, dir := range []string{cfg.State, filepath.Dir(cfg.Users), filepath.Dir(cfg.Devices)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &usageError{fmt.Errorf("state: %w: name another folder", err)}
		}
	}
	return do(cfg)
}

func addDevices(cfg *config.Config, names []string, stdout, stderr io.Writer) error {
	if !cfg.MQTT.Passwords && cfg.MQTT.URL == "" {
		return &usageError{fmt.Errorf("本管理端不接受口令（mqtt.passwords: false）：房间凭登记码取得证书 · this office takes no passwords (mqtt.passwords: false), a room gets its certificate by a code: minglu-provisioning enrol code %s", names[0])}
	}
	book, err := users.Open(users.Devices, cfg.Devices, nil)
	if err != nil {
		return err
	}
	for _, name := range names {
		password := users.NewPassword()
		if err := book.Add(name, password); err != nil {
			return &usageError{err}
		}
		if _, err := fmt.Fprintf(stdout, "%s %s\n", name, password); err != nil {
			return err
		}
	}
	scheme, ca := "mqtt", ""
	if cfg.MQTT.TLS != nil {
		scheme, ca = "mqtts", ", ca: office.pem"
	}
	_, err = fmt.Fprintf(stderr, "写入各房间的 agent.yaml · into each room's agent.yaml:\n  mqtt: {url: \"%s://NAME:PASSWORD@%s\"%s}\n", scheme, cfg.MQTT.Listen, ca)
	return err
}

func listDevices(cfg *config.Config, stdout io.Writer) error {
	book, err := users.Open(users.Devices, cfg.Devices, nil)
	if err != nil {
		return err
	}
	for _, name := range book.Names() {
		if _, err := fmt.Fprintln(stdout, name); err != nil {
			return err
		}
	}
	return nil
}

func addUser(cfg *config.Config, name string, roles []string, stdin io.Reader, stdout, stderr io.Writer) error {
	book, err := users.Open(users.People, cfg.Users, nil)
	if err != nil {
		return err
	}
	done, err := quiet(stdin, stderr)
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(stdin, 1024)).ReadString('\n')
	done()
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return &usageError{fmt.Errorf("no password on standard input: %w", err)}
	}
	if err := book.Add(name, line, roles...); err != nil {
		return &usageError{err}
	}
	_, err = fmt.Fprintf(stdout, "用户 %s 可以登录 · user %s can log in\n", name, name)
	return err
}
