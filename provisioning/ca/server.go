package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/emmansun/gmsm/smx509"
)

// serverCert is the office's own certificate for its listeners.
type serverCert struct {
	hosts []string
	key   *ecdsa.PrivateKey
	cert  *tls.Certificate
}

// Serve gives the TLS configuration of a listener of the office, with a certificate of this authority
// for the hosts (names and addresses), root included in its chain. It is made once, kept, and made anew
// at two thirds of its life or for other hosts. A client is asked for its certificate and let in with or
// without: who serves asks [CA.Check].
func (c *CA) Serve(hosts []string) (*tls.Config, error) {
	hosts = slices.Compact(slices.Sorted(slices.Values(hosts)))
	if len(hosts) == 0 {
		return nil, errors.New("ca: serve: no host names")
	}
	if err := c.serverCertificate(hosts); err != nil {
		return nil, fmt.Errorf("ca: serve: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := c.serverCertificate(nil); err != nil {
				c.o.Log.Error("ca: the office's certificate could not be renewed", "err", err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.server.cert, nil
		}}, nil
}

// serverCertificate finds or makes the certificate. nil hosts: those of before, if it is time.
func (c *CA) serverCertificate(hosts []string) error {
	now := c.o.Now()
	c.mu.Lock()
	s := c.server
	c.mu.Unlock()
	fresh := func(cert *x509.Certificate) bool {
		return now.Before(cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3))
	}
	if hosts == nil {
		if fresh(s.cert.Leaf) {
			return nil
		}
		hosts = s.hosts
	}
	var dns, ips []string
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			ips = append(ips, ip.String())
		} else {
			dns = append(dns, h)
		}
	}
	err := c.change(func() error {
		key, err := c.serverKey()
		if err != nil {
			return err
		}
		var leaf *x509.Certificate
		for _, e := range c.s.entries {
			if e.Kind == KindServer && e.good(now) {
				if cert, err := x509.ParseCertificate(e.DER); err == nil && fresh(cert) && key.PublicKey.Equal(cert.PublicKey) && sameNames(cert, dns, ips) {
					leaf = cert
				}
			}
		}
		if leaf == nil {
			tmpl := serverTemplate(now, now.Add(TLSFor))
			tmpl.DNSNames = dns
			for _, ip := range ips {
				tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
			}
			if leaf, err = c.sign(tmpl, key.Public()); err != nil {
				return err
			}
			if err := c.append(&issued{Kind: KindServer, Name: serverName, Serial: hex.EncodeToString(leaf.SerialNumber.Bytes()), Cert: b64(leaf.Raw), Until: leaf.NotAfter.UnixMicro()}); err != nil {
				return err
			}
		}
		c.server = &serverCert{hosts: hosts, key: key, cert: &tls.Certificate{Certificate: [][]byte{leaf.Raw, c.issuing.Raw, c.root.Raw}, PrivateKey: key, Leaf: leaf}}
		return nil
	})
	if errors.Is(err, ErrDamaged) && c.oldServer(dns, ips) {
		return nil
	}
	return err
}

// oldServer takes the best certificate there is of the office, for want of a log to enter a new one in.
func (c *CA) oldServer(dns, ips []string) bool {
	key, err := c.serverKey()
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var best *x509.Certificate
	for _, e := range c.s.entries {
		cert, err := x509.ParseCertificate(e.DER)
		if err != nil || e.Kind != KindServer || !e.good(c.o.Now()) || !key.PublicKey.Equal(cert.PublicKey) {
			continue
		}
		if best == nil || sameNames(cert, dns, ips) || !sameNames(best, dns, ips) {
			best = cert
		}
	}
	if best != nil {
		c.server = &serverCert{hosts: slices.Concat(dns, ips), key: key, cert: &tls.Certificate{Certificate: [][]byte{best.Raw, c.issuing.Raw, c.root.Raw}, PrivateKey: key, Leaf: best}}
	}
	return best != nil
}

// serverKey reads the key of the listeners or makes it.
func (c *CA) serverKey() (*ecdsa.PrivateKey, error) {
	name := filepath.Join(c.o.Dir, serverKeyFile)
	k, err := readKey(name)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := smx509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, c.files.Create(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no P-256 key: remove it", name)
	}
	return key, nil
}

// RenewAt is when a device renews a certificate: at two thirds of its life.
func RenewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3)
}
