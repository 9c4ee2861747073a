package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
)

type trustCommands struct {
	Export struct {
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
		To     string `required:"" placeholder:"DIR" help:"a folder that is empty, does not exist yet, or holds an earlier export, which is replaced at once"`
	} `cmd:"" help:"导出信任文件夹（根证书、吊销列表、见证人与时间戳机构），交给审计人员或法院 · roots, revocation lists, witnesses and time-stamp authorities, for auditors and courts"`
}

// knownFolder of a trust folder holds the certificates of all devices. A verifier does not read it (a
// certificate is believed for its authority, not for lying there); a witness that stands alone does.
const knownFolder = "known"

// exportTrust writes the folder that auditors, courts and witnesses elsewhere judge recordings with. It
// holds no secret.
func exportTrust(cfg *config.Config, to string, stdout io.Writer) error {
	authority, err := openCA(cfg, nil)
	if err != nil {
		return &usageError{err}
	}
	files, err := authority.Export()
	if err != nil {
		return err
	}
	for _, e := range authority.Entries() {
		if e.Kind == ca.KindSign {
			c, err := x509.ParseCertificate(e.DER)
			if err != nil {
				return err
			}
			files[knownFolder+"/"+e.Name+"-"+e.Serial+".pem"] = evidence.MarshalCertsPEM(c)
		}
	}
	outside, err := outsideTrust(cfg)
	if err != nil {
		return &usageError{err}
	}
	maps.Copy(files, outside)
	at, err := resolved(to)
	if err != nil {
		return &usageError{fmt.Errorf("--to: %w", err)}
	}
	if err := replaceable(at, files["ca/root.pem"]); err != nil {
		return &usageError{fmt.Errorf("--to %s: %w", to, err)}
	}
	if err := putFolder(at, files); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "信任文件夹已写入 %s（不含密钥），根证书指纹 SHA-256：\n%[2]s\n请通过另一途径把指纹告知接收人。\n"+
		"The trust folder is in %[1]s (no secret in it). SHA-256 of the root certificate:\n%[2]s\nTell whoever gets it that number by another way.\n", to, ca.Fingerprint(authority.Root()))
	return err
}

// exported are the names of an export's files.
var exported = regexp.MustCompile(`^(ca/(root|issuing)\.pem|ca/ca\.crl|sm2/(root|issuing)\.pem|sm2/ca\.crl|log/(checkpoint\.txt|log\.jsonl)|known/[a-z0-9-]+\.pem|witness/witnesses\.vkey|tsa/root-[0-9]+\.pem)$`)

// replaceable fails unless there is nothing at a path, or an earlier export of the authority with this root and
// nothing else: what a person has put there stays.
func replaceable(to string, root []byte) error {
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	found := 0
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		if rel, err := filepath.Rel(to, path); err != nil || !exported.MatchString(filepath.ToSlash(rel)) {
			return fmt.Errorf("%s is of no export: name another folder, or move that away", path)
		}
		return nil
	})
	if err != nil || found == 0 {
		return err
	}
	if have, err := os.ReadFile(filepath.Join(to, "ca", "root.pem")); err != nil || !bytes.Equal(have, root) {
		return errors.New("it holds the export of another authority: name another folder")
	}
	return nil
}

// putFolder makes a folder hold these files alone, in one step: who reads it finds the old or the new ones.
func putFolder(to string, files map[string][]byte) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	next, err := os.MkdirTemp(filepath.Dir(to), ".trust-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next) // the new ones after an error, else the old ones
	if err := os.Chmod(next, 0o755); err != nil {
		return err
	}
	d := durable.In(next)
	for name, b := range files {
		path := filepath.Join(next, filepath.FromSlash(name))
		if err := errors.Join(d.MkdirAll(filepath.Dir(path)), d.Create(path, b)); err != nil {
			return err
		}
	}
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(next, to)
		return errors.Join(err, d.SyncDir(filepath.Dir(to)))
	}
	if err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("%s cannot be exchanged for the new export (%w): name a folder that does not exist yet", to, err)
	}
	return d.SyncDir(filepath.Dir(to))
}

// resolved is the absolute path behind a symbolic link, where there is one.
func resolved(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	to, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	return to, err
}

// outsideTrust are the witnesses and time-stamping authorities of this office, by name as in a trust folder.
func outsideTrust(cfg *config.Config) (map[string][]byte, error) {
	keys, err := witnessKeys(cfg)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"witness/witnesses.vkey": keys}
	for i, name := range cfg.Timestamp.Roots {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("timestamp.roots: %w", err)
		}
		files[fmt.Sprintf("tsa/root-%d.pem", i+1)] = b
	}
	return files, nil
}

// witnessKeys lists the office's own witness, marked as such, and those it asks.
func witnessKeys(cfg *config.Config) ([]byte, error) {
	key, err := loadWitnessKey(filepath.Join(cfg.State, witnessFolder))
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	own, err := evidence.NewWitness(witnessName(cfg), key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# own\n%s\n", own.VKey())
	for _, w := range cfg.Witness.Others {
		fmt.Fprintln(&b, w.VKey)
	}
	return []byte(b.String()), nil
}
