package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// rotatedKey is the file of a signing key after a rotation.
var rotatedKey = regexp.MustCompile(`^device-[1-9][0-9]{0,5}\.key$`)

// Rotate gives the device another signing key under the same D: makes it, has the office certify it,
// lets announce put it into the ledger, signed by the key so far, and commits it with one rename. After a
// cut it may be asked again, and goes on with the same new key; until the commit the old one stands.
// announce may be called again with the same line. No session may be unsealed: it is sealed by the key it
// was begun with. The old key's file stays.
func Rotate(ctx context.Context, o Options, announce func(old *Identity, line evidence.Key) error) (*Identity, error) {
	id, err := Open(o)
	if err != nil {
		return nil, err
	}
	defer id.Close()
	switch {
	case id.Office == nil:
		return nil, errors.New("identity: rotate: the device is not enrolled: nobody could tell its new key from a stranger's")
	case id.TPM:
		return nil, errors.New("identity: rotate: the key is in the TPM and cannot be copied: to use another, move the identity folder away and enrol with --replace")
	}
	next, err := id.rotate(ctx, announce)
	if err != nil {
		return nil, fmt.Errorf("identity: rotate: %w", err)
	}
	return next, nil
}

func (id *Identity) rotate(ctx context.Context, announce func(old *Identity, line evidence.Key) error) (*Identity, error) {
	had, err := id.settle()
	if err != nil {
		return nil, err
	}
	file := fmt.Sprintf("device-%d.key", len(had.Earlier)+1)
	key, err := id.nextKey(filepath.Join(id.dir, file))
	if err != nil {
		return nil, err
	}
	next := &Identity{Key: key, D: id.D, dir: id.dir, files: id.files, keyFile: file}
	k, err := id.makeKeys()
	if err != nil {
		return nil, err
	}
	ask, err := next.request(id.Office.Name, k)
	if err != nil {
		return nil, err
	}
	var b []byte
	if err := call(ctx, id.Office.API, id.Office.ClientTLS(time.Now), http.MethodPost, report.PathRenew, ask, &b); err != nil {
		return nil, err
	}
	reply, err := report.ParseEnrolled(b)
	if err != nil {
		return nil, err
	}
	if err := next.check(&reply, id.Office.Name, k, id.Office.Root, time.Now()); err != nil {
		return nil, fmt.Errorf("the office's answer cannot be used: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	var device bytes.Buffer
	_ = pem.Encode(&device, &pem.Block{Type: "CERTIFICATE", Bytes: reply.Sign}) // to memory
	line := evidence.Key{SPKI: base64.StdEncoding.EncodeToString(spki), Cert: evidence.DigestFile(CertFile, device.Bytes()).SHA256, Use: "sign"}
	if err := announce(id, line); err != nil {
		return nil, err
	}
	old, err := x509.MarshalPKIXPublicKey(id.Key.Public())
	if err != nil {
		return nil, err
	}
	e := &enrolment{V: 1, Office: had.Office, Ref: had.Ref, Reply: reply, Key: file, Earlier: append(had.Earlier, old)}
	if err := next.commit(e); err != nil {
		return nil, err
	}
	if err := next.loadCerts(id.Office.Name); err != nil {
		return nil, err
	}
	return next, next.loadOffice(e)
}

// nextKey reads the key that an earlier try made, or makes it.
func (id *Identity) nextKey(name string) (*ecdsa.PrivateKey, error) {
	b, err := readSecret(name)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(name, id.files)
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it and try again", name, err)
	}
	return key, nil
}
