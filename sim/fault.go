package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

type fault struct {
	Name    string `arg:"" help:"black, frozen, covered, no-frames, silence, clipping, gone, clock-step, mains, worn-out, rtc"`
	Channel string `arg:"" optional:"" help:"channel; default: every one that can have it"`
	Off     bool   `help:"end the fault"`
	Listen  string `default:"127.0.0.1:8080" help:"address of the room's page"`
}

func (f *fault) run(ctx context.Context, stdout, _ io.Writer) error {
	q := url.Values{"on": {fmt.Sprint(!f.Off)}}
	if f.Channel != "" {
		q.Set("channel", f.Channel)
	}
	if err := post(ctx, "http://"+f.Listen+"/sim/fault/"+url.PathEscape(f.Name), q); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "ok")
	return nil
}

// post sends a form and wants a good answer.
func post(ctx context.Context, to string, form url.Values) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s 没有模拟房间；先运行 minglu-sim demo，或用 --listen 指明地址 / no simulated room is there: start minglu-sim demo, or name its address with --listen", req.URL.Host)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s: %s: %s", to, resp.Status, text)
	}
	return nil
}
