package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
)

const (
	ratesFile  = "rates.json"     // what each channel delivered, in bit/s by id; doctor reads it too
	ratesTick  = 2 * time.Second  // between two looks
	ratesEvery = 10 * time.Minute // between two writes, once it has run for
	ratesBegin = time.Minute      // … so long
)

// readRates returns what was kept of the channels' rates; nothing if there is no such file.
func readRates(state string) map[string]int64 {
	rates := map[string]int64{}
	if b, err := readAtMost(filepath.Join(state, ratesFile), 1<<16); err != nil || json.Unmarshal(b, &rates) != nil {
		return map[string]int64{}
	}
	return rates
}

// bitRate is what all channels deliver together, in bit/s: each now, or when it last delivered.
func (a *agent) bitRate() (sum int64) {
	st := a.capture.Status()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range st {
		if c.BitsPerSec > 0 {
			a.rates[c.ID] = c.BitsPerSec
		}
		sum += a.rates[c.ID]
	}
	return sum
}

// runRates keeps them, so that the hours left are known before a camera delivers, and to doctor.
func (a *agent) runRates(ctx context.Context) error {
	tick := time.NewTicker(ratesTick)
	defer tick.Stop()
	kept, at := readRates(a.cfg.State), time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		a.bitRate()
		now := clock.Uptime()
		if at > 0 && now-at < ratesEvery && now-a.began > ratesBegin {
			continue
		}
		a.mu.Lock()
		rates := sameChannels(a.rates, a.cfg)
		a.mu.Unlock()
		if near(kept, rates) {
			continue
		}
		b, err := json.Marshal(rates)
		if err == nil {
			err = a.files.Replace(filepath.Join(a.cfg.State, ratesFile), append(b, '\n'))
		}
		if err != nil {
			a.log.Warn("rates are not kept", "err", err)
		}
		kept, at = rates, now
	}
}

// sameChannels are the rates of the channels that are configured.
func sameChannels(all map[string]int64, cfg *config.Config) map[string]int64 {
	rates := map[string]int64{}
	for _, c := range cfg.Channels {
		if all[c.ID] > 0 {
			rates[c.ID] = all[c.ID]
		}
	}
	return rates
}

// near tells whether two sets of rates differ by less than a tenth each.
func near(a, b map[string]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for id, x := range a {
		if d := x - b[id]; max(d, -d) > x/10 {
			return false
		}
	}
	return true
}
