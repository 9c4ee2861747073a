package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"minglu/provisioning/backup"
	"minglu/provisioning/config"
	"minglu/provisioning/witness"
)

// Names in a backup.
const (
	inBackupState   = "state"
	inBackupConfig  = "office.yaml"
	inBackupUsers   = "users.json"
	inBackupDevices = "devices.json"
)

// places are what a backup of an office holds, by its names there: the state, office.yaml, and each file that
// names, without which the office would not serve. named are the last.
func places(cfg *config.Config, file string) (own, named map[string]string) {
	own, named = map[string]string{inBackupState: cfg.State, inBackupConfig: file}, map[string]string{}
	elsewhere := func(to map[string]string, name, path string) {
		if rel, err := filepath.Rel(cfg.State, path); path != "" && (err != nil || !filepath.IsLocal(rel)) {
			to[name] = path
		}
	}
	elsewhere(own, inBackupUsers, cfg.Users)
	elsewhere(own, inBackupDevices, cfg.Devices)
	for name, t := range map[string]*config.TLS{"web": cfg.Web.TLS, "mqtt": cfg.MQTT.TLS} {
		if t != nil {
			elsewhere(named, name+".crt", t.Cert)
			elsewhere(named, name+".key", t.Key)
		}
	}
	elsewhere(named, "mqtt-ca.pem", cfg.MQTT.CA)
	for i, root := range cfg.Timestamp.Roots {
		elsewhere(named, fmt.Sprintf("timestamp-root-%d.pem", i+1), root)
	}
	return own, named
}

// makeBackup copies the office into one file, while it runs or not.
func makeBackup(ctx context.Context, cfg *config.Config, file, to string, stdout io.Writer) error {
	var sources []backup.Source
	own, named := places(cfg, file)
	for name, path := range own {
		sources = append(sources, backup.Source{Name: name, Path: path, Needed: name == inBackupState || name == inBackupConfig})
	}
	for name, path := range named {
		sources = append(sources, backup.Source{Name: name, Path: path, Needed: true})
	}
	if err := backup.Write(ctx, to, sources, time.Now()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "备份已写入 %s。其中含有密钥，未加密：请存放在安全的地方。\nThe backup is in %s. It holds keys and is not encrypted: keep it in a safe place.\n", to, to)
	return err
}

// restore builds an office from a backup. Its witness cosigns nothing until a person confirms it.
func restore(ctx context.Context, file, from string, stdout io.Writer) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if _, err := backup.Restore(ctx, from, map[string]string{inBackupConfig: file}); err != nil {
			return err
		}
	}
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	to, named := places(cfg, file)
	delete(to, inBackupConfig) // the one that is there says where everything goes
	for name, path := range named {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			to[name] = path
			continue
		}
		if _, err := fmt.Fprintf(stdout, "%s 已存在，保持不变 · is there already and stays as it is\n", path); err != nil {
			return err
		}
	}
	made, err := backup.Restore(ctx, from, to)
	if err != nil {
		return err
	}
	if err := witness.Freeze(filepath.Join(cfg.State, witnessFolder)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "已恢复 %s 的备份。见证人暂停见证，请负责人核对后执行：minglu-provisioning witness confirm --config %s\n"+
		"Restored the backup of %[1]s. The witness cosigns nothing until a person has looked and run: minglu-provisioning witness confirm --config %[2]s\n", made.Local().Format(time.DateTime), file)
	return err
}
