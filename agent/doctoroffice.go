package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"minglu/agent/doctor"
	"minglu/agent/identity"
)

// identity reads the certificate and looks whether the key fits.
func (e *examination) identity(context.Context) []doctor.Finding {
	dir := filepath.Join(e.cfg.State, identity.Folder)
	b, err := os.ReadFile(filepath.Join(dir, identity.CertFile))
	if err == nil {
		err = errors.New(identity.CertFile + ": no certificate in it")
		if block, _ := pem.Decode(b); block != nil {
			e.cert, err = x509.ParseCertificate(block.Bytes)
		}
	}
	name := identity.KeyFile
	if o, oerr := identity.Enrolled(e.cfg.State); oerr == nil && o != nil {
		name = o.Key // another one after a rotation
	}
	if key := filepath.Join(dir, name); err == nil {
		if _, absent := os.Lstat(key); absent == nil || e.cfg.Identity.TPM == "" { // a TPM gives its key to nobody
			err = doctor.KeyFits(key, e.cert)
		}
	}
	return doctor.Identity(e.cert, err)
}

// enrolled looks where the device is enrolled.
func (e *examination) enrolled(context.Context) []doctor.Finding {
	var err error
	e.office, err = identity.Enrolled(e.cfg.State)
	var known *doctor.Enrolment
	if o := e.office; o != nil {
		known = &doctor.Enrolment{API: o.API, Name: o.Name, RenewAt: o.RenewAt(), EndsAt: o.EndsAt()}
	}
	u, uerr := url.Parse(configuredURL(e.cfg))
	needed := e.cfg.MQTT != nil && uerr == nil && u.User == nil
	return doctor.Enrolled(known, err, e.cfg.Device.Name, needed, time.Now())
}

// standing asks the office what it makes of the device's certificate.
func (e *examination) standing(ctx context.Context) []doctor.Finding {
	if e.office == nil {
		return nil
	}
	st, err := e.office.Standing(ctx, time.Now)
	return doctor.Standing(e.office.API, st, err)
}

// broker looks whether the way of the reports is open.
func (e *examination) broker(ctx context.Context) []doctor.Finding {
	u, err := url.Parse(officeURL(e.cfg, e.office))
	if err != nil || u.Host == "" {
		return nil // there is no office; a wrong address the configuration has told of
	}
	secure := u.Scheme == "mqtts"
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = map[bool]string{true: "8883", false: "1883"}[secure]
	}
	var conf *tls.Config
	if secure {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
		if e.office != nil {
			conf = e.office.ClientTLS(time.Now)
		}
		conf.ServerName = host
		if m := e.cfg.MQTT; m != nil && m.CA != "" {
			conf.RootCAs, conf.InsecureSkipVerify, conf.VerifyConnection = x509.NewCertPool(), false, nil
			if b, err := os.ReadFile(m.CA); err == nil {
				conf.RootCAs.AppendCertsFromPEM(b)
			}
		}
	}
	return doctor.Office(ctx, net.JoinHostPort(host, port), conf)
}
