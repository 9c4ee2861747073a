// Minglu-agent records the room it stands in. See README.md; `minglu-agent --help` lists the commands.
package main

import (
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
	"time"

	"github.com/alecthomas/kong"

	"minglu/agent/access"
	"minglu/agent/config"
	"minglu/agent/evidence"
)

// Exit codes, as Unix people expect; verify adds 1 and 3 (docs/evidence-format.md section 5).
const (
	exitGood   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

// version is set by the release build; a build from the tree takes the commit.
var version = ""

type commands struct {
	Run struct {
		Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
	} `cmd:"" help:"录制本房间，直到收到 SIGTERM 或 ctrl-C；SIGHUP：空闲时退出 · record this room until SIGTERM or ctrl-C; SIGHUP: end once it is idle"`
	Init   initCommand `cmd:"" help:"首次设置：问几个问题，写好配置，检查并试录 · first start: asks, writes the configuration, examines, records a drill"`
	Verify struct {
		Paths   []string      `arg:"" name:"PATH" help:"session folder, disk, or several copies of one session"`
		Trust   string        `placeholder:"DIR" help:"trust folder: certificates (PEM) of devices or their CA, ca/ tsa/ witness/ sm2/"`
		Require int           `default:"1" help:"lowest grade for exit 0 (0 to 3)"`
		Window  time.Duration `default:"24h" help:"how far apart the outside times before and after may lie for grades 2 and 3"`
		JSON    bool          `help:"print the result as JSON"`
	} `cmd:"" help:"核验录像 · tell whether recordings are intact, signed and whole"`
	Doctor struct {
		Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
		JSON   bool   `help:"print the findings as JSON"`
		Repair bool   `help:"seal interrupted sessions, complete copies, rebuild the catalogue; only while the agent is stopped"`
	} `cmd:"" help:"检查本机并说明如何处理 · examine this room's parts, say what is wrong and what to do; measure the disks"`
	Devices devicesCommand `cmd:"" help:"列出本机的摄像机、麦克风、GPIO 线、总线、磁盘等及其配置写法 · list what hangs on this machine and how agent.yaml calls it"`
	Cameras camerasCommand `cmd:"" help:"查找网络摄像机（ONVIF）：码流地址、时钟，并可让其从本机取时间 · find network cameras: streams and clocks; let them take their time from this board"`
	Adopt   struct {
		Disk   string `arg:"" name:"DISK" help:"folder in which the dead board's disk is mounted, best read-only"`
		Record bool   `help:"the disk is one of storage.disks: record on it from now on, beside what it holds; for a room whose state folder was lost or whose board was replaced"`
		Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
	} `cmd:"" help:"接管另一台设备的磁盘（只读；--record：并继续用于录制）· take in the disk of another device, read-only"`
	Lost struct {
		Session string `arg:"" name:"SESSION" help:"session id"`
		Disk    string `required:"" placeholder:"ID" help:"id of the disk that will not come back"`
		Who     string `required:"" placeholder:"NAME" help:"who decided so"`
		Cause   string `required:"" placeholder:"TEXT" help:"why"`
		Config  string `required:"" placeholder:"FILE" help:"agent.yaml"`
	} `cmd:"" help:"登记某块磁盘上的内容已丢失 · enter that what an absent disk held of a session is lost"`
	Export struct {
		Session string `arg:"" name:"SESSION" help:"session id"`
		Config  string `required:"" placeholder:"FILE" help:"agent.yaml"`
		To      string `required:"" placeholder:"DIR" help:"folder for the bag DIR/SESSION"`
		Who     string `placeholder:"NAME" help:"for whom or by whom, written into bag-info.txt"`
	} `cmd:"" help:"导出一次会话（BagIt 包，自带核验脚本）· pack a whole session as a BagIt bag with its own check"`
	Rebuild struct {
		Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
	} `cmd:"" help:"由会话文件夹重建目录库 · rebuild the catalogue from the session folders"`
	Lists struct {
		Import struct {
			File   string `arg:"" name:"FILE" help:"lists of this room as the office wrote them"`
			Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
		} `cmd:"" help:"导入管理端导出的清单文件（不联网的房间）· take in a file of lists from the office, for a room without a network"`
	} `cmd:"" help:"单位、人员、事项、预约、案件清单 · lists of bodies, officers, matters, bookings and cases"`
	Rotate rotateCommand `cmd:"" help:"更换签名密钥（设备号不变，台账中由旧密钥签名宣告）· another signing key for the same device, announced by the one so far"`
	Enrol  enrolCommand  `cmd:"" help:"用管理端的一次性登记码取得证书 · get certificates from the office by a one-time code"`
	Trust  struct {
		Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
	} `cmd:"" help:"打印本设备证书 · print this device's certificate, for a trust folder elsewhere"`
	Example struct {
		Sim    bool   `help:"a simulated room instead of the commented example"`
		Listen string `default:"127.0.0.1:8080" help:"with --sim: address of the pages"`
		Office string `placeholder:"URL" help:"with --sim: mqtt://NAME:PASSWORD@host:port of the office's broker"`
	} `cmd:"" help:"打印带注释的配置示例 · print an example configuration"`
	User struct {
		Add struct {
			Name       string   `arg:"" help:"login name"`
			Config     string   `required:"" placeholder:"FILE" help:"agent.yaml"`
			Role       []string `default:"operator" enum:"operator,supervisor,auditor,manager,approver,keeper,guest" help:"operator 操作员, supervisor 督察, auditor 审计, manager 设备管理员, approver 审批人, keeper 档案员, guest 当事人/代理人"`
			Body       string   `placeholder:"USCC" help:"单位的统一社会信用代码（默认本室单位）· body the person belongs to (default: the room's own)"`
			Credential string   `placeholder:"NUMBER" help:"执法证号：本人承办的会话以此识别 · enforcement credential, by which own sessions are known"`
		} `cmd:"" help:"新建用户或改口令（口令由标准输入读入）· make a user or change a password (read from standard input)"`
	} `cmd:"" help:"本机用户 · users of this room"`
	Version struct{} `cmd:"" help:"版本 · version"`
}

func main() { os.Exit(command(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// command runs one command line and returns its exit code.
func command(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	var c commands
	helped := false
	p, err := kong.New(&c, kong.Name("minglu-agent"), kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }),
		kong.Description("明录：在房间里录音录像并自证完整 · records a room and proves what it recorded."),
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
		of := "minglu-agent"
		if e := (*kong.ParseError)(nil); errors.As(err, &e) && e.Context.Selected() != nil {
			of = e.Context.Selected().FullPath()
			if of == "minglu-agent verify" && strings.HasPrefix(err.Error(), "expected") { // in both languages
				return runVerify(nil, "", 0, evidence.DefaultWindow, false, stdout, stderr)
			}
		}
		fmt.Fprintf(stderr, "minglu-agent: %v\n参见 see: %s --help\n", err, of)
		return exitUsage
	}
	switch k.Command() {
	case "run":
		return c.run(stdout, stderr)
	case "init":
		return c.Init.run(stdin, stdout, stderr)
	case "verify <PATH>":
		return runVerify(c.Verify.Paths, c.Verify.Trust, c.Verify.Require, c.Verify.Window, c.Verify.JSON, stdout, stderr)
	case "doctor":
		return c.doctor(stdout, stderr)
	case "cameras":
		return c.Cameras.run(stdin, stdout, stderr)
	case "devices":
		return c.Devices.run(stdout, stderr)
	case "adopt <DISK>":
		return c.adopt(stdout, stderr)
	case "lost <SESSION>":
		return c.lost(stdout, stderr)
	case "export <SESSION>":
		return c.export(stdout, stderr)
	case "rebuild":
		return c.rebuild(stdout, stderr)
	case "lists import <FILE>":
		return c.listsImport(stdout, stderr)
	case "rotate":
		return c.Rotate.run(stdout, stderr)
	case "enrol":
		return c.Enrol.run(stdin, stdout, stderr)
	case "trust":
		return c.trust(stdout, stderr)
	case "example":
		if c.Example.Sim {
			_, err = stdout.Write(config.Demo(config.DemoOptions{Listen: c.Example.Listen, Office: c.Example.Office}))
		} else {
			_, err = io.WriteString(stdout, config.Example())
		}
		if err != nil {
			return exitFailed
		}
		return exitGood
	case "user add <name>":
		return c.userAdd(stdin, stdout, stderr)
	default:
		fmt.Fprintln(stdout, "minglu-agent", buildVersion())
		return exitGood
	}
}

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}

// load reads the configuration or says what is wrong with it.
func load(path string, stderr io.Writer) *config.Config {
	cfg, err := config.Load(path)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return nil
	}
	return cfg
}

func (c *commands) run(stdout, stderr io.Writer) int {
	useFewCores()
	cfg := load(c.Run.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	a, err := open(cfg, log, nil)
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		if errors.As(err, new(*usageError)) {
			return exitUsage
		}
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-ctx.Done():
		case <-again:
			log.Info("ends as soon as the room is idle, to be started anew")
			a.awaitIdle(ctx)
			end(errAgain)
		}
	}()
	if err := a.Run(ctx); err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	return exitGood
}

// errAgain is why an agent ends that was sent SIGHUP: a new program or configuration is in place.
var errAgain = errors.New("SIGHUP: to be started anew")

// usageError is an error of the configuration that only shows when things are opened.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func (c *commands) userAdd(stdin io.Reader, stdout, stderr io.Writer) int {
	cfg := load(c.User.Add.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	password, err := readPassword(stdin, stderr)
	if err == nil {
		err = os.MkdirAll(cfg.State, 0o700)
	}
	if err == nil {
		add := c.User.Add
		err = access.AddUser(filepath.Join(cfg.State, usersFile), access.User{Name: add.Name, Roles: add.Role, Body: add.Body, Credential: add.Credential}, password)
	}
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "用户 %s 可以登录 · user %s can log in\n", c.User.Add.Name, c.User.Add.Name)
	return exitGood
}
