package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/evidence"
)

// BrokerName is the common name of certificates of [CA.IssueServer]. It can be no device's name, so an
// MQTT broker that takes the common name for the user knows the office by it.
const BrokerName = "Minglu.Office"

// IssueServer makes a key and a certificate for another server of the office, such as an MQTT broker that
// is there already: for TLS as server and as client. It is good for [TLSFor]; issue another before.
func (c *CA) IssueServer(hosts []string) (certPEM, keyPEM []byte, until time.Time, err error) {
	if len(hosts) == 0 {
		return nil, nil, until, errors.New("ca: server: name at least one host or address")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, until, fmt.Errorf("ca: server: %w", err)
	}
	var leaf *x509.Certificate
	err = c.change(func() error {
		now := c.o.Now()
		tmpl := serverTemplate(now, now.Add(TLSFor))
		tmpl.Subject.CommonName = BrokerName
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		for _, h := range hosts {
			if ip := net.ParseIP(h); ip != nil {
				tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
			} else {
				tmpl.DNSNames = append(tmpl.DNSNames, h)
			}
		}
		if leaf, err = c.sign(tmpl, key.Public()); err != nil {
			return err
		}
		return c.append(&issued{Kind: KindServer, Name: BrokerName, Serial: hex.EncodeToString(leaf.SerialNumber.Bytes()), Cert: b64(leaf.Raw), Until: leaf.NotAfter.UnixMicro()})
	})
	if err != nil {
		return nil, nil, until, fmt.Errorf("ca: server: %w", err)
	}
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, until, fmt.Errorf("ca: server: %w", err)
	}
	return evidence.MarshalCertsPEM(leaf, c.issuing), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), leaf.NotAfter, nil
}
