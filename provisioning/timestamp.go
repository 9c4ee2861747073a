package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"minglu/agent/report"
	"minglu/provisioning/config"
	"minglu/provisioning/relay"
)

// openRelay makes what asks time-stamping authorities for the rooms.
func openRelay(cfg *config.Config, send func(device string, k report.Kind, payload []byte) error, log *slog.Logger) (*relay.Relay, error) {
	o := relay.Options{Send: send, Log: log}
	client := &http.Client{Timeout: 2 * relay.AskWithin}
	for i, u := range cfg.Timestamp.URLs {
		a, err := relay.HTTP(u, client)
		if err != nil {
			return nil, &usageError{fmt.Errorf("timestamp.urls[%d]: %w", i, err)}
		}
		o.Authorities = append(o.Authorities, a)
	}
	for i, file := range cfg.Timestamp.Roots {
		certs, err := readCertificates(file)
		if err != nil {
			return nil, &usageError{fmt.Errorf("timestamp.roots[%d]: %w", i, err)}
		}
		o.Roots = append(o.Roots, certs...)
	}
	return relay.New(o), nil
}

// readCertificates reads the certificates of a PEM file.
func readCertificates(file string) (certs []*x509.Certificate, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for p, rest := pem.Decode(b); p != nil; p, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(p.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return certs, nil
}
