package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// SM2SigFile is the signature of the national suite in a session folder.
const SM2SigFile = "manifest.json.sm2"

// loadSM2 reads the key for the national suite; none is no error.
func loadSM2(dir string) (*sm2.PrivateKey, error) {
	name := filepath.Join(dir, SM2KeyFile)
	b, err := readSecret(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	der, err := keyBlock(b)
	if err == nil {
		if parsed, perr := smx509.ParsePKCS8PrivateKey(der); perr != nil {
			err = errors.New("is damaged: not PKCS #8")
		} else if key, ok := parsed.(*sm2.PrivateKey); ok {
			return key, nil
		} else {
			err = errors.New("holds no SM2 key")
		}
	}
	return nil, fmt.Errorf("%s: %w: put it back from a backup, or remove it and enrol again", name, err)
}

// makeSM2 reads the key or makes it.
func makeSM2(dir string, files durable.Files) (*sm2.PrivateKey, error) {
	key, err := loadSM2(dir)
	if key != nil || err != nil {
		return key, err
	}
	if key, err = sm2.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, putSecret(files, filepath.Join(dir, SM2KeyFile), der)
}

// SealExtras gives the further files of a sealed session: the SM2 signature over its manifest, if the
// device has a certificate for one. nil if there is none.
func (id *Identity) SealExtras(manifest []byte) (map[string][]byte, error) {
	if id.SM2PEM == nil {
		return nil, nil
	}
	sig, err := evidence.SignSM2(rand.Reader, manifest, id.sm2Key)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return map[string][]byte{SM2SigFile: sig}, nil
}

// SM2Line is the ledger line that announces the SM2 key, signed by the device's own; ok is false if
// there is no such key.
func (id *Identity) SM2Line() (line evidence.Key, ok bool, err error) {
	if id.SM2PEM == nil {
		return line, false, nil
	}
	spki, cert, err := evidence.SM2KeyLine(id.SM2PEM)
	if err != nil {
		return line, false, fmt.Errorf("identity: %w", err)
	}
	return evidence.Key{SPKI: spki, Cert: cert, Use: "sm2"}, true, nil
}
