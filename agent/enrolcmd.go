package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"minglu/agent/config"
	"minglu/agent/identity"
	"minglu/agent/report"
)

// exitRefused: the office was reached and refused; it said why.
const exitRefused = 3

type enrolCommand struct {
	Config string `required:"" placeholder:"FILE" help:"agent.yaml"`
	Office string `required:"" placeholder:"HOST:PORT" help:"the office's device API"`
	Code   string `placeholder:"CODE" help:"from minglu-provisioning enrol code; default: read from standard input"`
}

// identityOptions is where the configuration has the device's identity.
func identityOptions(cfg *config.Config) identity.Options {
	o := identity.Options{State: cfg.State, Name: cfg.Device.Name, TPM: cfg.Identity.TPM}
	if !cfg.Sim() {
		o.Board, _ = identity.ReadBoard("/")
	}
	return o
}

func boardOf(cfg *config.Config) report.Board {
	b := report.Board{SW: buildVersion()}
	if !cfg.Sim() {
		b.Serial, b.Model = identity.ReadBoard("/")
	}
	return b
}

// run gets the device its certificates.
func (c *enrolCommand) run(stdin io.Reader, stdout, stderr io.Writer) int {
	cfg := load(c.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	text := c.Code
	if text == "" || text == "-" {
		var err error
		if text, err = readPassword(stdin, stderr); err != nil {
			fmt.Fprintln(stderr, "minglu-agent: 请用 --code 给出登记码 · give the code with --code, or on standard input")
			return exitUsage
		}
	}
	code, err := report.ParseEnrolCode(text)
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent: 登记码有误，请逐组核对 ·", err)
		return exitUsage
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	lock, err := lockState(cfg.State)
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent: 请先停止本机的 minglu-agent run · stop minglu-agent run first:", err)
		return exitFailed
	}
	defer lock.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done, err := identity.Enrol(ctx, identityOptions(cfg), c.Office, code, boardOf(cfg))
	if why := (*report.EnrolRefusal)(nil); errors.As(err, &why) {
		fmt.Fprintf(stderr, "minglu-agent: 管理端拒绝 · the office refuses: %s (%s)\n", why, why.Code)
		return exitRefused
	}
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitFailed
	}
	what := "已登记 · enrolled"
	if done.Already {
		what = "此前已用该码登记 · enrolled before by this code"
	}
	fmt.Fprintf(stdout, "%s: %s, minglu:%s\n证书有效至 · certificates until %s，自动续期 renewed by itself\n", what, done.Office.Name, done.Device, done.Office.EndsAt().Format(time.DateOnly))
	switch u := configuredURL(cfg); {
	case u == "" && done.Office.MQTT == "":
		fmt.Fprintln(stdout, "该管理端没有 TLS 上的 MQTT：暂不上报 · the office has no MQTT over TLS: nothing is reported yet")
	case u == "":
		fmt.Fprintln(stdout, "运行 minglu-agent run 后自动向该管理端上报 · reports to that office once minglu-agent run is started")
	case strings.HasPrefix(u, "mqtt:"):
		fmt.Fprintln(stdout, "注意：agent.yaml 的 mqtt.url 不是 mqtts://，证书用不上 · mqtt.url in agent.yaml is not mqtts://: the certificate is not used")
	}
	return exitGood
}
