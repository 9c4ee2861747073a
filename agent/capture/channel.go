package capture

import (
	"context"
	"time"
)

type channel struct{ Channel }

func newChannel(c Channel, o *Options) *channel { return &channel{c} }

func (c *channel) run(ctx context.Context) { <-ctx.Done() }
func (c *channel) attach(s Sink)           {}
func (c *channel) detach()                 {}
func (c *channel) pause()                  {}

func (c *channel) earliest() (time.Duration, bool) { return 0, false }
func (c *channel) status() Status                  { return Status{ID: c.ID} }
