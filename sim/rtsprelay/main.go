// Command rtsprelay is an RTSP server for tests: a camera that is another process.
//
// A publisher (ffmpeg) sends a stream with ANNOUNCE and RECORD to any path; readers DESCRIBE and PLAY
// it. RTP is passed on unchanged but for the SSRC. Sender reports are those of the publisher, brought
// up to the moment and repeated each second, so that a reader can align sound and picture at once.
// With -framelog each access unit and sound packet passed on is one JSON line (see [frame]).
//
// It prints "listening ADDRESS" on standard output when it is ready, and ends with SIGINT or SIGTERM.
// It is no product: no TLS, no limits, publishers are not asked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/auth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rtsprelay:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("rtsprelay", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	user := flags.String("user", "", "readers must log in as this user")
	pass := flags.String("pass", "", "password of readers")
	method := flags.String("auth", "digest", "how readers log in: basic or digest")
	logPath := flags.String("framelog", "", "file to write one JSON line per frame to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	methods := map[string]auth.VerifyMethod{"basic": auth.VerifyMethodBasic, "digest": auth.VerifyMethodDigestMD5}
	m, ok := methods[*method]
	if !ok {
		return fmt.Errorf("flag -auth: %q is neither basic nor digest", *method)
	}
	var log *frameLog
	if *logPath != "" {
		f, err := os.OpenFile(*logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("frame log: %w", err)
		}
		defer f.Close()
		log = &frameLog{w: f}
	}

	var bound net.Addr
	r := &relay{user: *user, pass: *pass, log: log, streams: map[string]*stream{}}
	r.server = &gortsplib.Server{
		Handler: r, RTSPAddress: *listen, WriteQueueSize: 4096,
		AuthMethods:              []auth.VerifyMethod{m},
		DisableRTCPSenderReports: true, // the publisher's are passed on instead
		Listen: func(network, address string) (net.Listener, error) {
			l, err := net.Listen(network, address)
			if err == nil {
				bound = l.Addr()
			}
			return l, err
		},
	}
	if err := r.server.Start(); err != nil {
		return err
	}
	fmt.Println("listening", bound)
	ended := make(chan error, 1)
	go func() { ended <- r.server.Wait() }()
	select {
	case <-ctx.Done():
		r.server.Close()
		<-ended
		return nil
	case err := <-ended:
		return errors.Join(errors.New("server ended"), err)
	}
}
