// Minglu-sim runs a simulated room with the real programs, and makes its devices fail.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

const (
	exitGood   = 0
	exitFailed = 1
	exitUsage  = 2
)

type commands struct {
	Demo  demo      `cmd:"" help:"一个完整的模拟房间；ctrl-C 封存并核验 · a whole simulated room; ctrl-C seals and verifies"`
	Fault fault     `cmd:"" help:"让模拟设备出现或解除故障 · make a simulated device fail, or mend it"`
	TSA   tsaServer `cmd:"" name:"tsa" help:"模拟时间戳服务（RFC 3161）· a time-stamping authority"`
}

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func command(args []string, stdout, stderr io.Writer) (code int) {
	var c commands
	helped := false
	p, err := kong.New(&c, kong.Name("minglu-sim"), kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }),
		kong.Description("明录模拟房间 · a simulated room for Minglu."), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
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
		fmt.Fprintf(stderr, "minglu-sim: %v\n参见 see: minglu-sim --help\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := c.Demo.run
	switch k.Command() {
	case "demo":
	case "tsa":
		run = c.TSA.run
	default:
		run = c.Fault.run
	}
	if err := run(ctx, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "minglu-sim:", err)
		return exitFailed
	}
	return exitGood
}
