package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"minglu/agent/report"
	"minglu/provisioning/bridge"
	"minglu/provisioning/broker"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
	"minglu/provisioning/users"
)

// post is the way to the devices: the office's own broker, or one that is there already.
type post interface {
	Run(ctx context.Context) error
	Send(device, kind string, payload []byte) error
	Addr(ctx context.Context) string // blocks until it is known
}

// openPost opens the way that the configuration names.
func openPost(cfg *config.Config, a *authority, devices *users.Book, log *slog.Logger,
	refuse func(device, why, detail string), receive func(device string, k report.Kind, payload []byte, will bool)) (post, error) {
	if cfg.MQTT.URL != "" {
		t, err := brokerTLS(cfg.MQTT)
		if err != nil {
			return nil, err
		}
		return bridge.New(bridge.Options{URL: cfg.MQTT.URL, TLS: t, Name: ca.BrokerName, Receive: receive, Refused: refuse, Log: log})
	}
	t, err := a.tls("mqtt", cfg.MQTT.TLS, true)
	if err != nil {
		return nil, err
	}
	return broker.New(broker.Options{Listen: cfg.MQTT.Listen, TLS: t, Log: log,
		Login: func(device, password string) bool { _, ok := devices.Check(device, password); return ok },
		Knows: devices.Knows, Certificate: a.certificate(), NoPasswords: !cfg.MQTT.Passwords,
		Hold:    holds{users.NewHoldOff(users.FreeFailures, time.Now), users.NewHoldOff(20*users.FreeFailures, time.Now)},
		Receive: func(m broker.Message) { receive(m.Device, report.Kind(m.Kind), m.Payload, m.Will) },
		Refused: func(r broker.Refusal) { refuse(r.Device, r.Why, r.Remote+" "+r.Detail) }})
}

// brokerTLS is how to reach a broker that is there already.
func brokerTLS(m config.MQTT) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.CA != "" {
		b, err := os.ReadFile(m.CA)
		if err != nil {
			return nil, fmt.Errorf("mqtt.ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("mqtt.ca: %s holds no PEM certificate", m.CA)
		}
	}
	if m.TLS != nil {
		if m.TLS.FromCA {
			return nil, errors.New("mqtt.tls: with mqtt.url give cert and key: minglu-provisioning ca server makes them")
		}
		pair, err := tls.LoadX509KeyPair(m.TLS.Cert, m.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("mqtt.tls: %w: give cert (certificate, then chain) and key as PEM files that belong together", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
