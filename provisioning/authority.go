package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"minglu/agent/report"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
	"minglu/provisioning/enrol"
	"minglu/provisioning/users"
)

// Folders of the state folder.
const (
	caFolder  = "ca"
	codesFile = "enrol/codes.json"
)

func openCA(cfg *config.Config, log *slog.Logger) (*ca.CA, error) {
	return ca.Open(ca.Options{Dir: filepath.Join(cfg.State, caFolder), Log: log})
}

// authority is the certification authority as the office uses it while it runs.
type authority struct {
	*ca.CA     // nil: there is none
	cfg        *config.Config
	api        *enrol.Server // nil: none
	stamper    ca.Stamper    // nil: the log is not stamped
	serverConf *tls.Config
}

// openAuthority opens the authority, if there is one.
func openAuthority(cfg *config.Config, log *slog.Logger) (*authority, error) {
	a := &authority{cfg: cfg}
	c, err := openCA(cfg, log)
	needed := cfg.DevicesAPI != nil || !cfg.MQTT.Passwords || cfg.Web.TLS != nil && cfg.Web.TLS.FromCA || cfg.MQTT.TLS != nil && cfg.MQTT.TLS.FromCA
	switch {
	case errors.Is(err, ca.ErrNone) && !needed:
		return a, nil
	case err != nil:
		return nil, &usageError{err}
	}
	a.CA = c
	if a.stamper, err = openStamper(cfg); err != nil {
		return nil, err
	}
	a.serverConf, err = c.Serve(hostsOf(cfg))
	return a, err
}

// hostsOf are the names and addresses by which boards may reach the office.
func hostsOf(cfg *config.Config) []string {
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Web.Hosts...)
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	listens := []string{cfg.Web.Listen, cfg.MQTT.Listen}
	if a := cfg.DevicesAPI; a != nil {
		hosts = append(hosts, a.Hosts...)
		listens = append(listens, a.Listen)
	}
	everywhere := false
	for _, l := range listens {
		host, _, _ := net.SplitHostPort(l)
		switch addr, err := netip.ParseAddr(host); {
		case host == "" || err == nil && addr.IsUnspecified():
			everywhere = true
		default:
			hosts = append(hosts, host)
		}
	}
	if addrs, err := net.InterfaceAddrs(); err == nil && everywhere {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				hosts = append(hosts, n.IP.String())
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// tls loads the TLS of a listener. With an authority, clients of the devices' listener are asked for
// their certificate.
func (a *authority) tls(key string, t *config.TLS, devices bool) (conf *tls.Config, err error) {
	if t != nil && t.FromCA {
		conf = a.serverConf.Clone()
	} else if conf, err = loadTLS(key, t); conf == nil || err != nil {
		return conf, err
	}
	conf.ClientAuth = tls.NoClientCert
	if devices && a.CA != nil {
		conf.ClientAuth = tls.RequestClientCert
	}
	return conf, nil
}

// certificate judges what a device has shown to the broker.
func (a *authority) certificate() func(*x509.Certificate) (device, why string) {
	if a.CA == nil {
		return nil
	}
	return func(c *x509.Certificate) (string, string) {
		e, st := a.Check(c, "")
		if st.State == report.StandingGood {
			return e.Name, ""
		}
		if st.Reason != "" {
			st.State += ": " + st.Reason
		}
		return e.Name, st.State
	}
}

// names adds the enrolled devices to those with a password.
func (a *authority) names(registered func() []string) func() []string {
	if a.CA == nil {
		return registered
	}
	return func() []string {
		all := append(registered(), a.Names()...)
		slices.Sort(all)
		return slices.Compact(all)
	}
}

// openAPI makes the device API, if the configuration has one. mqtt tells the broker's address, refused
// tells the office of what the API refused, changed that there are other certificates.
func (a *authority) openAPI(log *slog.Logger, mqtt func() string, refused func(device, why, detail string), changed func()) (err error) {
	if a.cfg.DevicesAPI == nil {
		return nil
	}
	conf := a.serverConf.Clone()
	conf.ClientAuth = tls.RequestClientCert
	a.api, err = enrol.New(enrol.Options{Listen: a.cfg.DevicesAPI.Listen, TLS: conf, CA: a.CA, Codes: enrol.Codes{File: filepath.Join(a.cfg.State, codesFile)},
		Hold: users.NewHoldOff(users.FreeFailures, time.Now), Refused: refused, Changed: changed, Log: log,
		Trust: func() (map[string][]byte, error) { return outsideTrust(a.cfg) },
		MQTT: func() string {
			host, port, err := net.SplitHostPort(mqtt())
			switch {
			case a.cfg.MQTT.URL != "" && strings.HasPrefix(a.cfg.MQTT.URL, "mqtts:") && err == nil:
				return net.JoinHostPort(host, port) // a broker elsewhere
			case err != nil || a.cfg.MQTT.TLS == nil || a.cfg.MQTT.URL != "":
				return ""
			}
			return port
		}})
	return err
}

// run keeps revocation lists fresh, has the log stamped, and serves the device API.
func (a *authority) run(ctx context.Context, log *slog.Logger) error {
	if a.CA == nil {
		<-ctx.Done()
		return nil
	}
	g, life := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := a.Run(life, a.stamper); err != nil && life.Err() == nil {
			return err
		}
		return nil
	})
	if a.api != nil {
		g.Go(func() error { return a.api.Run(life) })
		g.Go(func() error {
			if addr := a.api.Addr(life); addr != "" {
				log.Info("devices may enrol", "api", addr, "root", ca.Fingerprint(a.Root()))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	return nil
}
