package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// Places in the TPM, within the owner's ranges (TCG Registry of Reserved TPM 2.0 Handles, 2.3.1).
const (
	firstHandle = 0x81004D4C // persistent: "ML"; the next ones if it is taken
	handles     = 8
	counterNV   = 0x01804D4C
)

// tpmFile is device.tpm.
type tpmFile struct {
	Handle uint32 `json:"handle"`
	SPKI   []byte `json:"spki"`
}

// tpmDevice is one goroutine that owns a TPM. No session is kept open in it, and each job flushes what
// it has loaded: a TPM has few places.
type tpmDevice struct {
	path string
	jobs chan tpmJob
	stop chan struct{}
	once sync.Once
	done chan struct{}
}

type tpmJob struct {
	do  func(transport.TPM) error
	err chan error
}

var errTPMClosed = errors.New("the TPM is closed")

func newTPM(path string) *tpmDevice {
	d := &tpmDevice{path: path, jobs: make(chan tpmJob), stop: make(chan struct{}), done: make(chan struct{})}
	go d.own()
	return d
}

func openTPM(path string) (transport.TPMCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return linuxudstpm.Open(path) // swtpm
	}
	return linuxtpm.Open(path)
}

// own does the jobs in turn. After an error of the way to the TPM it opens it anew.
func (d *tpmDevice) own() {
	defer close(d.done)
	var t transport.TPMCloser
	defer func() {
		if t != nil {
			_ = t.Close()
		}
	}()
	for {
		select {
		case <-d.stop:
			return
		case j := <-d.jobs:
			var err error
			if t == nil {
				t, err = openTPM(d.path)
			}
			if err == nil {
				if err = j.do(t); err != nil && !errors.As(err, new(tpm2.TPMRC)) {
					_ = t.Close()
					t = nil
				}
			}
			if err != nil {
				err = fmt.Errorf("TPM %s: %w", d.path, err)
			}
			j.err <- err
		}
	}
}

// do waits until the TPM has done a job.
func (d *tpmDevice) do(f func(transport.TPM) error) error {
	j := tpmJob{do: f, err: make(chan error, 1)}
	select {
	case d.jobs <- j:
		return <-j.err
	case <-d.stop:
		return fmt.Errorf("TPM %s: %w", d.path, errTPMClosed)
	}
}

// Close waits for the job under way.
func (d *tpmDevice) Close() error {
	d.once.Do(func() { close(d.stop) })
	<-d.done
	return nil
}

// template is the public area of the device's key: made in this TPM, never to leave it, for ECDSA
// P-256 with SHA-256 alone.
func template() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})}}),
	}
}

// tpmKey is a key in the TPM.
type tpmKey struct {
	d      *tpmDevice
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	pub    *ecdsa.PublicKey
}

// Public implements crypto.Signer.
func (k *tpmKey) Public() crypto.PublicKey { return k.pub }

// Sign implements crypto.Signer. It waits for the TPM, and takes no randomness from outside.
func (k *tpmKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != 32 {
		return nil, errors.New("identity: the key in the TPM signs SHA-256 only")
	}
	err = k.d.do(func(t transport.TPM) error {
		r, err := tpm2.Sign{KeyHandle: tpm2.NamedHandle{Handle: k.handle, Name: k.name}, Digest: tpm2.TPM2BDigest{Buffer: digest},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}}.Execute(t)
		if err != nil {
			return err
		}
		s, err := r.Signature.Signature.ECDSA()
		if err != nil {
			return err
		}
		sig, err = asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(s.SignatureR.Buffer), new(big.Int).SetBytes(s.SignatureS.Buffer)})
		return err
	})
	return sig, err
}

// keyAt reads the key at a persistent handle: nil if nothing is there, an error if it is not of our kind.
func (d *tpmDevice) keyAt(t transport.TPM, handle tpm2.TPMHandle) (*tpmKey, error) {
	r, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(t)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pub, err := r.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	want := template()
	if pub.Type != want.Type || pub.ObjectAttributes != want.ObjectAttributes {
		return nil, errors.New("holds a key of another kind")
	}
	any, err := tpm2.Pub(*pub)
	if err != nil {
		return nil, err
	}
	key, ok := any.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("holds a key of another kind")
	}
	return &tpmKey{d: d, handle: handle, name: r.Name, pub: key}, nil
}

// make makes the key persistent at the first free handle, or finds the one an earlier start left.
func (d *tpmDevice) make(t transport.TPM) (key *tpmKey, made bool, err error) {
	for handle := tpm2.TPMHandle(firstHandle); handle < firstHandle+handles; handle++ {
		key, err := d.keyAt(t, handle)
		if key != nil {
			return key, false, nil
		}
		if err != nil {
			continue // another program's
		}
		r, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template())}.Execute(t)
		if err != nil {
			return nil, false, err
		}
		_, err = tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: tpm2.NamedHandle{Handle: r.ObjectHandle, Name: r.Name}, PersistentHandle: handle}.Execute(t)
		if _, ferr := (tpm2.FlushContext{FlushHandle: r.ObjectHandle}).Execute(t); err == nil {
			err = ferr
		}
		if err != nil {
			return nil, false, err
		}
		key, err = d.keyAt(t, handle)
		return key, true, err
	}
	return nil, false, errors.New("all places for our key are taken by other programs: clear one of the persistent handles from 0x81004d4c on")
}

// openTPMKey opens the key that device.tpm names, or makes it.
func (id *Identity) openTPMKey(path string, there bool) error {
	name := filepath.Join(id.dir, TPMFile)
	id.TPM, id.tpm = true, newTPM(path)
	if !there {
		if _, err := os.Lstat(filepath.Join(id.dir, CertFile)); err == nil {
			return fmt.Errorf("%s is missing, but its certificate is there: put it back from a backup, or remove %s too and be a new device from then on", name, CertFile)
		}
		return id.tpm.do(func(t transport.TPM) error {
			key, made, err := id.tpm.make(t)
			if err != nil {
				return err
			}
			spki, err := x509.MarshalPKIXPublicKey(key.pub)
			if err != nil {
				return err
			}
			b, err := json.Marshal(tpmFile{uint32(key.handle), spki})
			if err != nil {
				return err
			}
			id.Key, id.Made = key, made
			return id.files.Create(name, b)
		})
	}
	b, err := os.ReadFile(name)
	var f tpmFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: put it back from a backup", name, err)
	}
	return id.tpm.do(func(t transport.TPM) error {
		key, err := id.tpm.keyAt(t, tpm2.TPMHandle(f.Handle))
		if err != nil {
			return err
		}
		var spki []byte
		if key != nil {
			if spki, err = x509.MarshalPKIXPublicKey(key.pub); err != nil {
				return err
			}
		}
		if !bytes.Equal(spki, f.SPKI) {
			return fmt.Errorf("it does not hold the key that %s names: is this another board, or was the TPM cleared? Move %s away and be a new device from then on", name, id.dir)
		}
		id.Key = key
		return nil
	})
}

// bootCount is boot.json.
type bootCount struct {
	Boot string `json:"boot"`
	NV   int64  `json:"nv"`
}

// BootCount counts a start of the board in the TPM's counter, once for each boot id, and returns it: it
// may skip, but an older image of the disk cannot turn it back. 0 without a TPM.
func (id *Identity) BootCount(boot string) (int64, error) {
	if !id.TPM {
		return 0, nil
	}
	name := filepath.Join(id.dir, bootFile)
	var last bootCount
	if b, err := os.ReadFile(name); err == nil && json.Unmarshal(b, &last) == nil && last.Boot == boot {
		return last.NV, nil
	}
	var n int64
	err := id.tpm.do(func(t transport.TPM) (err error) {
		n, err = increment(t)
		return err
	})
	var b []byte
	if err == nil {
		b, err = json.Marshal(bootCount{boot, n})
	}
	if err == nil {
		err = id.files.Replace(name, b)
	}
	if err != nil {
		return 0, fmt.Errorf("identity: count the start: %w", err)
	}
	return n, nil
}

func increment(t transport.TPM) (int64, error) {
	index := tpm2.TPMHandle(counterNV)
	want := tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, AuthWrite: true, NT: tpm2.TPMNTCounter, NoDA: true}
	r, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t)
	if errors.Is(err, tpm2.TPMRCHandle) {
		def := tpm2.NVDefineSpace{AuthHandle: tpm2.TPMRHOwner, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8, Attributes: want})}
		if _, err := def.Execute(t); err != nil {
			return 0, err
		}
		r, err = tpm2.NVReadPublic{NVIndex: index}.Execute(t)
	}
	if err != nil {
		return 0, err
	}
	pub, err := r.NVPublic.Contents()
	if err != nil {
		return 0, err
	}
	if pub.Attributes.NT != tpm2.TPMNTCounter || pub.DataSize != 8 {
		return 0, fmt.Errorf("index %#x is no counter: another program took it", counterNV)
	}
	h := tpm2.NamedHandle{Handle: index, Name: r.NVName}
	if _, err := (tpm2.NVIncrement{AuthHandle: tpm2.TPMRHOwner, NVIndex: h}).Execute(t); err != nil {
		return 0, err
	}
	// The name changes with the first increment.
	if r, err = (tpm2.NVReadPublic{NVIndex: index}).Execute(t); err != nil {
		return 0, err
	}
	v, err := tpm2.NVRead{AuthHandle: tpm2.TPMRHOwner, NVIndex: tpm2.NamedHandle{Handle: index, Name: r.NVName}, Size: 8}.Execute(t)
	if err != nil {
		return 0, err
	}
	if len(v.Data.Buffer) != 8 {
		return 0, errors.New("the counter is not 8 bytes")
	}
	return int64(binary.BigEndian.Uint64(v.Data.Buffer) & (1<<53 - 1)), nil
}
