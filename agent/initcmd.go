package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"minglu/agent/access"
	"minglu/agent/config"
	"minglu/agent/durable"
	"minglu/agent/setup"
)

const (
	fstabFile   = "/etc/fstab"
	dropInFile  = "/etc/systemd/system/minglu-agent.service.d/disks.conf"
	systemdRuns = "/run/systemd/system"
)

type initCommand struct {
	Config string `default:"/etc/minglu/agent.yaml" placeholder:"FILE" help:"where to write the configuration; a new file"`
	State  string `default:"/var/lib/minglu" placeholder:"DIR" help:"folder for keys, ledger and catalogue"`
	Web    string `placeholder:"HOST:PORT" help:"ask on a page at this address, not at the terminal; its whole address is printed"`
	Owner  string `default:"minglu" placeholder:"USER" help:"user the service runs as"`

	look func(context.Context, io.Writer) setup.Found // nil: at this board
}

// run asks the questions at the terminal and sets the room up.
func (c *initCommand) run(stdin io.Reader, stdout, stderr io.Writer) int {
	if _, err := os.Stat(c.Config); err == nil {
		fmt.Fprintf(stderr, "minglu-agent: %s 已存在：直接修改它，或移走后重新运行 · exists: edit it, or move it away and run this again\n", c.Config)
		return exitUsage
	}
	if strings.HasPrefix(c.Config, "/etc/") && os.Geteuid() != 0 {
		fmt.Fprintln(stderr, "minglu-agent: 需要管理员权限 · needs root: sudo minglu-agent init")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	look := c.look
	if look == nil {
		look = findAround
	}
	i := &setup.Interview{Found: look(ctx, stderr)}
	if c.Web != "" {
		return c.page(ctx, i, stdout, stderr)
	}
	fmt.Fprintf(stdout, "明录首次设置 · Minglu, first start\n主板 board: %s\n方括号内为默认值，直接回车采用 · [in brackets] is taken by Enter\n\n", i.Found.BoardName)
	in := bufio.NewReader(stdin)
	for q := i.Question(); q != nil; q = i.Question() {
		text, err := ask(q, in, stdin, stdout)
		if err != nil {
			fmt.Fprintln(stderr, "\nminglu-agent: 设置未完成，什么都没有写入 · not finished, nothing was written:", err)
			return exitFailed
		}
		if err := i.Answer(text); err != nil {
			fmt.Fprintln(stdout, "  ✗", err)
		}
	}
	return c.setUp(ctx, &i.A, stdout)
}

func (c *initCommand) setUp(ctx context.Context, a *setup.Answers, out io.Writer) int {
	s := &settingUp{initCommand: c, a: a, out: out}
	return s.all(ctx)
}

// page asks in a browser, by TLS unless it is one of this machine.
func (c *initCommand) page(ctx context.Context, i *setup.Interview, stdout, stderr io.Writer) int {
	l, err := net.Listen("tcp", c.Web)
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	scheme := "http"
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		cert, _, _, err := selfSigned(i.Found.Host)
		if err != nil {
			fmt.Fprintln(stderr, "minglu-agent:", err)
			return exitFailed
		}
		scheme, l = "https", tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
		fmt.Fprintf(stdout, "证书 certificate SHA-256 %X\n", sha256.Sum256(cert.Certificate[0]))
	}
	p := setup.NewPage(i, func(ctx context.Context, a *setup.Answers, out io.Writer) bool {
		return c.setUp(ctx, a, io.MultiWriter(stdout, out)) == exitGood
	})
	host := l.Addr().String()
	if _, port, _ := net.SplitHostPort(host); scheme == "https" {
		for _, ip := range addresses() {
			if !ip.IsLoopback() {
				host = net.JoinHostPort(ip.String(), port)
				break
			}
		}
	}
	fmt.Fprintf(stdout, "请在浏览器中打开 · open in a browser: %s://%s/?t=%s\n", scheme, host, p.Token())
	ok, err := p.Run(ctx, l)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "minglu-agent: 设置未完成 · not finished:", err)
		return exitFailed
	case !ok:
		return exitFailed
	}
	return exitGood
}

// ask prints one question and reads a line.
func ask(q *setup.Question, in *bufio.Reader, stdin io.Reader, stdout io.Writer) (string, error) {
	fmt.Fprintln(stdout, q.Ask)
	for n, ch := range q.Choices {
		fmt.Fprintf(stdout, "  %d) %s\n", n+1, ch)
	}
	if q.Secret {
		shown, err := hide(stdin, stdout)
		if err != nil {
			return "", err
		}
		defer shown()
		return readLine(in)
	}
	if q.Default != "" {
		fmt.Fprintf(stdout, "[%s] ", q.Default)
	}
	fmt.Fprint(stdout, "> ")
	return readLine(in)
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		return "", fmt.Errorf("input ended: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// settingUp does what was decided.
type settingUp struct {
	*initCommand
	a        *setup.Answers
	out      io.Writer
	uid, gid int // of the owner; -1 leave as it is
	started  bool
	failed   []string
}

// step is one thing to do. One that must fail ends the setup, another is told of at the end.
type step struct {
	name setup.Text
	must bool
	do   func(context.Context) error
}

func (s *settingUp) all(ctx context.Context) int {
	s.uid, s.gid = -1, -1
	if u, err := user.Lookup(s.Owner); err == nil && os.Geteuid() == 0 {
		s.uid, _ = strconv.Atoi(u.Uid)
		s.gid, _ = strconv.Atoi(u.Gid)
	}
	steps := []step{
		{setup.Text{Zh: "挂载磁盘", En: "mount the disks"}, true, s.disks},
		{setup.Text{Zh: "页面证书", En: "certificate of the pages"}, true, s.pages},
		{setup.Text{Zh: "写入配置", En: "write the configuration"}, true, s.configuration},
		{setup.Text{Zh: "新建用户", En: "make the user"}, false, s.user},
		{setup.Text{Zh: "向管理端登记", En: "enrol at the office"}, false, s.enrol},
		{setup.Text{Zh: "逐项检查", En: "examine everything"}, false, s.doctor},
		{setup.Text{Zh: "启动服务", En: "start the service"}, false, s.start},
		{setup.Text{Zh: "试录", En: "test recording"}, false, s.drill},
	}
	for n, st := range steps {
		fmt.Fprintf(s.out, "\n[%d/%d] %s\n", n+1, len(steps), st.name)
		err := st.do(ctx)
		if own := s.own(); err == nil {
			err = own
		}
		switch {
		case err == nil:
			fmt.Fprintln(s.out, "  ✓")
		case st.must || ctx.Err() != nil:
			fmt.Fprintln(s.out, "  ✗", err)
			fmt.Fprintln(s.out, "minglu-agent: 设置中止；改正后重新运行 · stopped; mend that and run this again")
			return exitFailed
		default:
			fmt.Fprintln(s.out, "  ✗", err)
			s.failed = append(s.failed, st.name.String())
		}
	}
	where := "http://" + s.a.Listen
	if !s.a.Local() {
		where = "https://" + s.a.Listen
	}
	fmt.Fprintf(s.out, "\n页面 pages: %s/\n", where)
	if len(s.failed) > 0 {
		fmt.Fprintf(s.out, "尚未完成 · not done yet: %s\n", strings.Join(s.failed, "; "))
		return exitFailed
	}
	fmt.Fprintln(s.out, "房间可以使用了 · the room is ready")
	return exitGood
}

// own gives what was written in the state folder to the user of the service.
func (s *settingUp) own() error {
	if s.uid < 0 {
		return nil
	}
	return filepath.WalkDir(s.State, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.Lchown(path, s.uid, s.gid)
	})
}

// write replaces a file of the system; what is not for everybody's eyes is for the service's group.
func (s *settingUp) write(name string, data []byte, perm fs.FileMode) error {
	if err := (durable.Files{Layer: durable.OS{}, Tmp: filepath.Dir(name), Perm: perm}).Replace(name, data); err != nil {
		return err
	}
	if s.gid < 0 || perm&0o004 != 0 {
		return nil
	}
	return os.Chown(name, 0, s.gid)
}

// run1 runs a program of the system; its words are part of the error.
func run1(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (s *settingUp) disks(ctx context.Context) error {
	old, err := os.ReadFile(fstabFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if added := setup.Fstab(old, s.a.Disks); !bytes.Equal(added, old) {
		if err := s.write(fstabFile, added, 0o644); err != nil {
			return err
		}
		if _, err := os.Stat(systemdRuns); err == nil {
			if err := run1(ctx, "systemctl", "daemon-reload"); err != nil {
				return err
			}
		}
	}
	for _, d := range s.a.Disks {
		if err := os.MkdirAll(d.Dir, 0o755); err != nil {
			return err
		}
		if d.Source != "" && run1(ctx, "mountpoint", "-q", d.Dir) != nil {
			if err := run1(ctx, "mount", d.Dir); err != nil {
				return fmt.Errorf("%w：磁盘无法挂载，检查后重试 · the disk cannot be mounted", err)
			}
		}
		if s.uid >= 0 {
			if err := errors.Join(os.Chown(d.Dir, s.uid, s.gid), os.Chmod(d.Dir, 0o750)); err != nil {
				return err
			}
		}
		fmt.Fprintf(s.out, "  %s %s\n", d.Dir, d.Source)
	}
	return nil
}

// configuration writes agent.yaml after it was read as the agent will read it.
func (s *settingUp) configuration(ctx context.Context) error {
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.Config), 0o755); err != nil {
		return err
	}
	text := s.a.Config(s.State)
	if _, err := config.Parse(s.Config, text); err != nil {
		return err
	}
	if err := s.write(s.Config, text, 0o640); err != nil {
		return err
	}
	if _, err := config.Load(s.Config); err != nil {
		return errors.Join(err, os.Remove(s.Config))
	}
	fmt.Fprintf(s.out, "  %s\n", s.Config)
	if text := s.a.DropIn(); text != nil && s.gid >= 0 {
		if err := os.MkdirAll(filepath.Dir(dropInFile), 0o755); err != nil {
			return err
		}
		if err := s.write(dropInFile, text, 0o644); err != nil {
			return err
		}
		if _, err := os.Stat(systemdRuns); err == nil {
			return run1(ctx, "systemctl", "daemon-reload")
		}
	}
	return nil
}

func (s *settingUp) user(context.Context) error {
	return access.Add(filepath.Join(s.State, usersFile), s.a.User, s.a.Password, "supervisor", "manager")
}

func (s *settingUp) enrol(context.Context) error {
	if s.a.Office == "" {
		fmt.Fprintf(s.out, "  以后 · later: minglu-agent enrol --config %s --office HOST:8093\n", s.Config)
		return nil
	}
	c := enrolCommand{Config: s.Config, Office: s.a.Office, Code: s.a.Code}
	if c.run(strings.NewReader(""), s.out, s.out) != exitGood {
		return fmt.Errorf("之后再试 · try again: minglu-agent enrol --config %s --office %s", s.Config, s.a.Office)
	}
	return nil
}

func (s *settingUp) doctor(context.Context) error {
	var c commands
	c.Doctor.Config = s.Config
	if c.doctor(s.out, s.out) != exitGood {
		return fmt.Errorf("有故障项，见上 · something is wrong, see above; again: minglu-agent doctor --config %s", s.Config)
	}
	return nil
}
