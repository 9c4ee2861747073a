package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"

	"minglu/agent/evidence"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
	"minglu/provisioning/relay"
)

// stampers ask the configured authorities, in order, for a token over the log of certificates.
type stampers struct {
	list  []relay.Authority
	roots []*x509.Certificate
}

// openStamper returns nil if no time-stamping authority is configured.
func openStamper(cfg *config.Config) (ca.Stamper, error) {
	if len(cfg.Timestamp.URLs) == 0 {
		return nil, nil
	}
	s := &stampers{}
	for i, u := range cfg.Timestamp.URLs {
		a, err := relay.HTTP(u, &http.Client{Timeout: 2 * relay.AskWithin})
		if err != nil {
			return nil, &usageError{fmt.Errorf("timestamp.urls[%d]: %w", i, err)}
		}
		s.list = append(s.list, a)
	}
	for i, file := range cfg.Timestamp.Roots {
		certs, err := readCertificates(file)
		if err != nil {
			return nil, &usageError{fmt.Errorf("timestamp.roots[%d]: %w", i, err)}
		}
		s.roots = append(s.roots, certs...)
	}
	return s, nil
}

// Stamp implements ca.Stamper. A token of an authority that no configured root vouches for is kept all
// the same if no root is configured: an auditor may know it.
func (s *stampers) Stamp(ctx context.Context, imprint [32]byte) ([]byte, error) {
	var all error
	for _, a := range s.list {
		token, err := s.ask(ctx, a, imprint)
		if err == nil {
			return token, nil
		}
		all = errors.Join(all, fmt.Errorf("%s: %w", a.Name, err))
	}
	return nil, all
}

func (s *stampers) ask(ctx context.Context, a relay.Authority, imprint [32]byte) ([]byte, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, err
	}
	type hashed struct { // RFC 3161 2.4.1
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	request, err := asn1.Marshal(struct {
		Version int
		Imprint hashed
		Nonce   *big.Int
		CertReq bool
	}{1, hashed{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}, imprint[:]}, nonce, true})
	if err != nil {
		return nil, err
	}
	reply, err := a.Ask(ctx, request)
	if err != nil {
		return nil, err
	}
	token, err := evidence.NormalToken(reply)
	if err != nil {
		return nil, err
	}
	info, err := evidence.VerifyToken(token, imprint, s.roots)
	if err != nil && (len(s.roots) > 0 || !errors.Is(err, evidence.ErrUntrusted)) {
		return nil, err
	}
	if info.Nonce == nil || info.Nonce.Cmp(nonce) != 0 {
		return nil, errors.New("its token answers another request (nonce)")
	}
	return token, nil
}
