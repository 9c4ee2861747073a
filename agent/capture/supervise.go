package capture

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"minglu/drivers"
)

// Waiting before an attempt: the delay doubles from backoffMin to backoffMax and varies by a fifth,
// so that cameras behind one switch are not asked all at once. After a connection that delivered anything
// it begins anew, and one that held for goodConnection is tried again at once.
const (
	backoffMin     = 500 * time.Millisecond
	backoffMax     = 10 * time.Second
	goodConnection = 10 * time.Second
)

// errNoFrames cuts a connection that has fallen silent.
var errNoFrames = &drivers.Problem{Code: "no-frames", Zh: "已连接但没有图像或声音，正在重新连接；请检查摄像机", En: "connected, but no picture or sound comes: connecting again; check the device"}

// supervise keeps the channel connected until ctx ends, and returns once the source has ended.
func (c *channel) supervise(ctx context.Context) {
	delay := backoffMin
	for ctx.Err() == nil {
		began := c.o.Uptime()
		err := c.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		c.fail(err)
		wait := time.Duration(0)
		good, some := c.delivered(began)
		if some {
			delay = backoffMin
		}
		if !good {
			wait = time.Duration(float64(delay) * (0.8 + 0.4*rand.Float64()))
			delay = min(2*delay, backoffMax)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// sleep reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// connect runs one connection and returns why it ended.
func (c *channel) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(ctx, cancel)
	}()
	err := c.source.Run(ctx, &connection{c, cancel})
	// What ended the connection from here says more than the driver's "context canceled".
	if own := context.Cause(ctx); own != nil {
		err = own
	}
	cancel(nil)
	<-watched
	cause := CauseConnection
	if errors.Is(err, errNoFrames) {
		cause = CauseNoFrames
	}
	c.closed(cause)
	return err
}

// watch cuts a connection whose lead track is silent.
func (c *channel) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	t := time.NewTicker(c.o.NoFrames / 5)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if c.silent(c.o.Uptime()) {
				cancel(errNoFrames)
				return
			}
		}
	}
}

// connection is the drivers.Sink of one connection.
type connection struct {
	c      *channel
	cancel context.CancelCauseFunc
}

func (k *connection) Open(d drivers.Description) {
	if err := k.c.open(d); err != nil {
		k.cancel(err)
	}
}

func (k *connection) Sample(s drivers.Sample) {
	if err := k.c.receive(s); err != nil {
		k.cancel(err)
	}
}

func (k *connection) SenderReport(r drivers.SenderReport) { k.c.reported(r) }
func (k *connection) Lost(track int, n int, cause string) { k.c.missed(track, n, cause) }
