package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"minglu/agent/report"
	"minglu/agent/standard"
	"minglu/provisioning/broker"
	"minglu/provisioning/config"
	"minglu/provisioning/console"
	"minglu/provisioning/fleet"
	"minglu/provisioning/registry"
	"minglu/provisioning/relay"
	"minglu/provisioning/review"
	"minglu/provisioning/users"
)

// closeWithin is how long the end of the pages and the broker may take before the fleet ends too.
const closeWithin = 4 * time.Second

// where tells a test the addresses once both listen.
type where func(web, mqtt string)

// serve opens, wires and runs the office until ctx ends. Order of the end: the broker first, so that
// nothing more comes in, then the fleet, which writes what it has.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, listening where) error {
	authority, err := openAuthority(cfg, log)
	if err != nil {
		return err
	}
	webTLS, err := authority.tls("web", cfg.Web.TLS, false)
	if err != nil {
		return err
	}
	devices, err := users.Open(users.Devices, cfg.Devices, log)
	if err != nil {
		return &usageError{err}
	}
	people, err := users.Open(users.People, cfg.Users, log)
	if err != nil {
		return &usageError{err}
	}
	var b post
	f, err := fleet.Open(fleet.Options{Path: filepath.Join(cfg.State, "fleet.db"), Names: authority.names(devices.Names), Now: time.Now,
		Keep: cfg.Keep.For(), PerRoom: cfg.Keep.PerRoom, Log: log,
		Send: func(device string, kind report.Kind, payload []byte) error {
			return b.Send(device, string(kind), payload)
		}})
	if err != nil {
		return err
	}
	send := func(device string, kind report.Kind, payload []byte) error {
		return b.Send(device, string(kind), payload)
	}
	lists, err := registry.Open(registry.Options{Path: filepath.Join(cfg.State, registryFile), Now: time.Now})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	reviews, err := review.Open(filepath.Join(cfg.State, reviewsFolder), time.Now)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	listsPost := postLists(lists, f, send, log)
	stamps, err := openRelay(cfg, send, log)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	nobody := relay.Unwitnessed{Send: send}
	desks := map[report.Kind]report.Exchange{ // who answers what is not reported
		report.KindTimestamp: stamps, report.KindCheckpoint: nobody, report.KindLedger: nobody,
	}
	var watch *overseer
	if authority.CA != nil {
		if watch, err = openOverseer(cfg, authority.CA, send, f.Refuse, log); err != nil {
			return errors.Join(err, f.Close())
		}
		defer watch.witness.Close()
		desks[report.KindCheckpoint], desks[report.KindLedger] = watch.exchange, watch.exchange
	}
	b, err = openPost(cfg, authority, devices, log, f.Refuse, func(device string, kind report.Kind, payload []byte, will bool) {
		if x := desks[kind]; x != nil && !will {
			if err := x.Receive(device, kind, payload); err != nil {
				f.Refuse(device, string(kind), err.Error())
			}
			return
		}
		f.Receive(device, kind, payload, will)
	})
	if err != nil {
		return errors.Join(&usageError{err}, f.Close())
	}
	recheck := func() {}
	if own, ok := b.(*broker.Broker); ok {
		recheck = own.Recheck
	}
	if err := authority.openAPI(log, func() string { return b.Addr(ctx) }, f.Refuse, recheck); err != nil {
		return errors.Join(err, f.Close())
	}
	o := console.Options{Listen: cfg.Web.Listen, Hosts: cfg.Web.Hosts, TLS: webTLS, Name: cfg.Name, Fleet: f, Log: log,
		Reviews: reviews, Profile: standard.Default(),
		Lists: lists, Deliveries: func() []registry.Delivery { return listsPost.Deliveries(held(f)) }}
	if cfg.Web.Auth == "login" {
		o.Door = users.NewDoor(people, time.Now)
	}
	c, err := console.New(o)
	if err != nil {
		return errors.Join(&usageError{err}, f.Close())
	}

	keep, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	kept := make(chan error, 1)
	go func() { kept <- f.Run(keep) }()
	g, life := errgroup.WithContext(ctx)
	g.Go(func() error { return b.Run(life) })
	g.Go(func() error { return c.Run(life) })
	g.Go(func() error { return authority.run(life, log) })
	g.Go(func() error { return listsPost.Run(life) })
	if watch != nil {
		g.Go(func() error { return watch.Run(life) })
	}
	g.Go(func() error {
		if err := stamps.Run(life); life.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error {
		web, mqtt := c.Addr(life), b.Addr(life)
		if web != "" && mqtt != "" {
			log.Info("office is open", "pages", web, "mqtt", mqtt, "version", buildVersion())
			if listening != nil {
				listening(web, mqtt)
			}
		}
		return nil
	})
	// When the database cannot be written, devices wait in the broker for the fleet: it must not wait
	// for them in turn.
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		<-life.Done()
		select {
		case <-ended:
		case <-time.After(closeWithin):
		}
		stopKeeping()
	})
	err = g.Wait()
	close(ended)
	wg.Wait()
	return errors.Join(err, <-kept, f.Close())
}

func loadTLS(key string, t *config.TLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, &usageError{fmt.Errorf("%s.tls: %w: give cert (certificate, then chain) and key as PEM files that belong together", key, err)}
	}
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}, nil
}

// holds holds one device at an address off after a few failures, and the whole address only after
// many: a county's rooms may share one.
type holds struct{ device, address *users.HoldOff }

func (h holds) of(key string) *users.HoldOff {
	for _, r := range key {
		if r == '\n' {
			return h.device
		}
	}
	return h.address
}

func (h holds) Held(key string) bool { return h.of(key).Held(key) }
func (h holds) Fail(key string)      { h.of(key).Fail(key) }
func (h holds) OK(key string)        { h.of(key).OK(key) }
