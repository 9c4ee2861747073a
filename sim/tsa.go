package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"minglu/sim/tsa"
)

type tsaServer struct {
	Listen   string        `default:"127.0.0.1:8318" help:"地址 · address"`
	Dir      string        `default:"tsa" help:"根证书与密钥的目录，没有则新建 · folder of root.pem and root.key, made if missing"`
	Fail     string        `help:"如何出错（nonce、imprint、no-eku、not-critical、expired、other-root、no-certs、refusing、broken、garbage、slow、clock-off）· how to misbehave"`
	ClockOff time.Duration `default:"-26h" help:"clock-off 时钟偏差 · how wrong its clock is with clock-off"`
}

// run serves a time-stamping authority until ctx ends.
func (c *tsaServer) run(ctx context.Context, stdout, _ io.Writer) error {
	s, err := tsa.Open(c.Dir, tsa.Options{ClockOff: c.ClockOff})
	if err == nil {
		err = s.Fail(tsa.Failure(c.Fail))
	}
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("tsa: %w; --listen takes another address", err)
	}
	if _, err := fmt.Fprintf(stdout, "时间戳服务 time-stamping authority: http://%s/\n根证书，放入 trust/tsa · root for trust/tsa: %s\n", l.Addr(), filepath.Join(c.Dir, "root.pem")); err != nil {
		return errors.Join(err, l.Close())
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = web.Close() })
	defer stop()
	if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("tsa: %w", err)
	}
	return nil
}
