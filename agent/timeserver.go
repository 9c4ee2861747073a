package main

import (
	"context"
	"sync"
	"time"

	"minglu/agent/timeserver"
)

// timeRetry is how often a time server that could not listen tries again: its network may come later.
const timeRetry = 30 * time.Second

// runTimeServer gives time to the cameras, if the configuration says so. That it cannot is a fault and
// no end.
func (a *agent) runTimeServer(ctx context.Context) error {
	for {
		s, err := timeserver.New(timeserver.Options{Listen: a.cfg.NTP.Listen, Now: a.clock.Now, Log: a.log})
		if err == nil {
			var wg sync.WaitGroup
			wg.Go(func() {
				if s.Addr(ctx) != "" {
					a.loop.Fault("timeserver.failed", "", false)
				}
			})
			err = s.Run(ctx)
			wg.Wait()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.log.Warn("no time for the cameras", "err", err)
		a.loop.Fault("timeserver.failed", "", true)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(timeRetry):
		}
	}
}
