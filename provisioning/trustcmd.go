package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
)

type trustCommands struct {
	Export struct {
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
		To     string `required:"" placeholder:"DIR" help:"a folder that is empty or does not exist yet"`
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
	if list, err := os.ReadDir(to); err == nil && len(list) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &usageError{fmt.Errorf("--to %s: name a folder that is empty or does not exist yet", to)}
	}
	d := durable.In(to)
	for name, b := range files {
		path := filepath.Join(to, filepath.FromSlash(name))
		if err := errors.Join(d.Mkdir(filepath.Dir(path)), d.Replace(path, b)); err != nil {
			return fmt.Errorf("trust: %w", err)
		}
	}
	_, err = fmt.Fprintf(stdout, "信任文件夹已写入 %s（不含密钥），根证书指纹 SHA-256：\n%[2]s\n请通过另一途径把指纹告知接收人。\n"+
		"The trust folder is in %[1]s (no secret in it). SHA-256 of the root certificate:\n%[2]s\nTell whoever gets it that number by another way.\n", to, ca.Fingerprint(authority.Root()))
	return err
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
