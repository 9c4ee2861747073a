package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minglu/agent/config"
	"minglu/agent/doctor"
	"minglu/agent/evidence"
	"minglu/agent/store"
)

const (
	adoptedFile  = "adopted.json"
	maxLedgerLog = 1 << 30
)

// adopted is a disk of another device that was taken in, in state/adopted.json.
type adopted struct {
	Disk    string    `json:"disk"` // its id
	Dir     string    `json:"dir"`
	Device  string    `json:"device"` // D of the device whose sessions it holds
	Name    string    `json:"name"`
	Room    string    `json:"room"`
	At      time.Time `json:"at"`
	Session []string  `json:"sessions"`
}

// readAdopted returns the disks that were taken in; none if there is no list.
func readAdopted(state string) ([]adopted, error) {
	b, err := os.ReadFile(filepath.Join(state, adoptedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []adopted
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", adoptedFile, err)
	}
	return list, nil
}

// adoptedDisks are those of them that are in their folders now. They are only read.
func adoptedDisks(state string) (disks []store.Disk) {
	list, err := readAdopted(state)
	if err != nil {
		return nil
	}
	for _, a := range list {
		if id, err := doctor.ReadDiskID(a.Dir); err == nil && id == a.Disk {
			disks = append(disks, store.Disk{ID: id, Dir: a.Dir})
		}
	}
	return disks
}

// adopt takes a dead board's disk in: read-only, judged by the old device's certificate (R12).
func (c *commands) adopt(stdout, stderr io.Writer) int {
	dir, err := filepath.Abs(c.Adopt.Disk)
	if err != nil {
		fmt.Fprintf(stderr, "adopt: %v\n", err)
		return exitUsage
	}
	id, err := doctor.ReadDiskID(dir)
	if err != nil {
		fmt.Fprintf(stderr, "adopt: %s: 不是录制磁盘：没有 ledger/disk.json / is no disk of a recorder: %v\n", dir, err)
		return exitUsage
	}
	return withOffline(c.Adopt.Config, "minglu-agent adopt", stderr, func(ctx context.Context, o *offline) (int, error) {
		i := slices.IndexFunc(o.cfg.Storage.Disks, func(d string) bool { return sameFolder(d, dir) })
		switch {
		case c.Adopt.Record && i < 0:
			return exitUsage, fmt.Errorf("%s 不在 storage.disks 中：请先写入，再用 --record / is none of storage.disks: name it there first", dir)
		case i >= 0 && !foreignDisk(o.cfg.State, o.id.D, dir, id):
			return exitUsage, fmt.Errorf("%s 已是本机的磁盘（storage.disks）/ is a disk of this room already (storage.disks)", dir)
		case c.Adopt.Record:
			return o.takeIn(ctx, dir, id, o.cfg.Storage.Disks[i], stdout, stderr)
		}
		return o.takeIn(ctx, dir, id, "", stdout, stderr)
	})
}

func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// takeIn adopts what is on a disk. With slot, as it stands in storage.disks, the room records on it from now on.
func (o *offline) takeIn(ctx context.Context, dir, id, slot string, stdout, stderr io.Writer) (int, error) {
	certs, err := oldCertificates(dir)
	if errors.Is(err, errNoCertificate) && slot != "" { // a ledger of another and no session: it stays beside
		if err := o.keepAdopted(adopted{Disk: id}, nil, slot); err != nil {
			return exitFailed, err
		}
		fmt.Fprintf(stdout, "磁盘 %s 上没有会话，今后用于本房间录制\nthe disk %s holds no session; this room records on it from now on\n", id[:8], id[:8])
		return exitGood, nil
	}
	if err != nil {
		return exitFailed, err
	}
	r := evidence.VerifyPlaces([]evidence.Place{{Path: filepath.ToSlash(dir), FS: ctxFS{ctx, os.DirFS(dir)}}},
		evidence.VerifyOptions{Trust: &evidence.Trust{Devices: certs}, Progress: progressLine(stderr)})
	if ctx.Err() != nil {
		return exitFailed, context.Cause(ctx)
	}
	took := adopted{Disk: id, Dir: dir, At: time.Now().UTC().Truncate(time.Second)}
	for _, s := range r.Sessions {
		if s.Signer == nil {
			continue
		}
		if s.Signer.Device == o.id.D {
			return exitUsage, fmt.Errorf("%s 上有本机自己的会话 %s：请写入 storage.disks，而不是接管 / holds sessions of this very device: name it in storage.disks instead", dir, s.ID)
		}
		took.Device, took.Name, took.Room = s.Signer.Device, s.Signer.Name, s.Room
		took.Session = append(took.Session, s.ID)
	}
	if len(took.Session) == 0 {
		return exitFailed, fmt.Errorf("%s: 没有可核验的会话 / no session that can be verified", dir)
	}
	lines := adoptLines(dir, id, certs)
	if len(lines) == 0 { // the sessions are there, the ledger is not: their origin is known all the same
		lines = append(lines, evidence.Adopt{Origin: strings.TrimSuffix(r.Sessions[0].Origin, "/"+r.Sessions[0].ID), Disk: id})
	}
	if err := o.keepAdopted(took, lines, slot); err != nil {
		return exitFailed, err
	}
	for _, s := range took.Session {
		if err := o.store.Put(ctx, store.FromFolder([]store.Disk{{ID: id, Dir: dir}}, s)); err != nil {
			return exitFailed, err
		}
	}
	zh, en := "该磁盘只读，不会写入", "it is only read, never written"
	if slot != "" {
		zh, en = "原有内容不改动，今后的会话写在其旁", "what it holds stays as it is, sessions from now on are recorded beside"
	}
	fmt.Fprintf(stdout, "已接管磁盘 %s：原设备 %s（%s），%d 次会话；%s\nadopted the disk %s of device %s (%s), %d sessions; %s\n",
		id[:8], took.Name, took.Device, len(took.Session), zh, id[:8], took.Name, took.Device, len(took.Session), en)
	for _, c := range certs {
		fmt.Fprintf(stdout, "原设备证书 its certificate: SHA-256 %s\n", evidence.DigestFile("", c.Raw).SHA256)
	}
	fmt.Fprintf(stdout, "证书取自磁盘本身：请按机关台账核对指纹，再将 device.pem 放入 %s\nthe certificate is the disk's own: compare it with the body's register, then put device.pem into %s\n\n",
		filepath.Join(o.cfg.State, trustFolder), filepath.Join(o.cfg.State, trustFolder))
	if err := writeVerdict(stdout, r); err != nil {
		return exitFailed, err
	}
	if r.Exit == evidence.ExitBad || r.Exit == evidence.ExitUnchecked {
		return exitFailed, nil
	}
	return exitGood, nil
}

// keepAdopted makes the adoption durable, once: a second time it says nothing new. The disk of a slot is one of
// the room's own then.
func (o *offline) keepAdopted(took adopted, lines []evidence.Adopt, slot string) error {
	list, err := readAdopted(o.cfg.State)
	if err != nil {
		return err
	}
	had, err := o.ledger.BytesFrom(0)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if !adoptedBefore(had, l) {
			if err := o.append(l); err != nil {
				return err
			}
		}
	}
	list = slices.DeleteFunc(list, func(a adopted) bool { return a.Disk == took.Disk })
	if slot == "" {
		list = append(list, took)
	}
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := o.files.Replace(filepath.Join(o.cfg.State, adoptedFile), append(b, '\n')); err != nil || slot == "" {
		return err
	}
	known := config.KnownDisks(o.cfg.State)
	known[slot] = took.Disk
	return o.keepKnown(known)
}

func adoptedBefore(ledger []byte, want evidence.Adopt) bool {
	for raw := range bytes.Lines(ledger) {
		if !bytes.Contains(raw, []byte(`"type":"adopt"`)) {
			continue
		}
		var a evidence.Adopt
		l, err := evidence.ParseLine(bytes.TrimSuffix(raw, []byte("\n")))
		if err == nil && l.Type == "adopt" && l.Decode(&a) == nil && a.Origin == want.Origin && a.Disk == want.Disk && a.Size == want.Size {
			return true
		}
	}
	return false
}

// oldCertificates are the distinct device certificates in the session folders of a disk.
func oldCertificates(dir string) (certs []*x509.Certificate, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "sessions", "*", "device.pem"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := readAtMost(name, evidence.MaxDER)
		if err != nil {
			return nil, err
		}
		some, err := evidence.CertsPEM(b)
		if err != nil {
			continue // the verifier says so of the session
		}
		for _, c := range some {
			if !slices.ContainsFunc(certs, c.Equal) {
				certs = append(certs, c)
			}
		}
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, errNoCertificate)
	}
	return certs, nil
}

var errNoCertificate = errors.New("会话中没有设备证书 / no device certificate in its sessions")

// adoptLines names the newest signed state of each ledger on the disk that one of the certificates signed.
func adoptLines(dir, disk string, certs []*x509.Certificate) (lines []evidence.Adopt) {
	logs, _ := filepath.Glob(filepath.Join(dir, "ledger", "*", "log.jsonl")) // the pattern is sound
	for _, name := range logs {
		b, err := readAtMost(name, maxLedgerLog)
		if err != nil {
			continue
		}
		generation := filepath.Base(filepath.Dir(name))
		for _, c := range certs {
			d, err := evidence.CertDevice(c)
			if err != nil {
				continue
			}
			pub, ok := c.PublicKey.(*ecdsa.PublicKey)
			if !ok {
				continue
			}
			origin := evidence.LedgerOrigin(d, generation)
			if dec, err := evidence.Decide(b, origin, pub); err == nil {
				lines = append(lines, evidence.Adopt{Origin: origin, Size: dec.Size, Root: dec.Root.String(), Disk: disk})
				break
			}
		}
	}
	return lines
}

// lost enters that a person gave up what an absent disk holds of a session.
func (c *commands) lost(stdout, stderr io.Writer) int {
	l := c.Lost
	switch {
	case !sessionID.MatchString(l.Session):
		fmt.Fprintf(stderr, "lost: %q 不是会话编号 / is no session id\n", l.Session)
		return exitUsage
	case strings.TrimSpace(l.Who) == "" || strings.TrimSpace(l.Cause) == "":
		fmt.Fprintln(stderr, "lost: 请说明谁决定（--who）与原因（--cause）/ say who decided (--who) and why (--cause)")
		return exitUsage
	}
	return withOffline(l.Config, "minglu-agent lost", stderr, func(ctx context.Context, o *offline) (int, error) {
		disk, err := o.absentDisk(l.Session, l.Disk)
		if err != nil {
			return exitUsage, err
		}
		size := o.signedLines(l.Session)
		line := evidence.LostTail{Session: l.Session, Size: size, Disk: disk, Cause: strings.TrimSpace(l.Cause) + " (" + strings.TrimSpace(l.Who) + ")"}
		if err := o.append(line); err != nil {
			return exitFailed, err
		}
		fmt.Fprintf(stdout, "已登记：会话 %s 在磁盘 %s 上第 %d 行之后的内容已丢失\nentered: what disk %s held of session %s beyond line %d is lost\n",
			l.Session, disk[:8], size, disk[:8], l.Session, size)
		return exitGood, nil
	})
}

// absentDisk is the disk that a person means: one that the session or the ledger names, and that is not here.
func (o *offline) absentDisk(session, given string) (string, error) {
	known := map[string]bool{}
	for _, d := range o.disks {
		var open evidence.Open
		if l, err := evidence.ParseLine(firstLine(filepath.Join(d.dir, "sessions", session, "log.jsonl"))); err == nil && l.Decode(&open) == nil {
			for _, id := range open.Disks {
				known[id] = true
			}
		}
	}
	b, err := o.ledger.BytesFrom(0)
	if err != nil {
		return "", err
	}
	if !bytes.Contains(b, []byte(session)) && len(known) == 0 {
		return "", fmt.Errorf("本机没有会话 %s 的任何记录 / nothing here knows session %s", session, session)
	}
	found := []string{}
	for id := range known {
		if strings.HasPrefix(id, given) && len(given) >= 8 {
			found = append(found, id)
		}
	}
	if len(found) == 0 && len(given) == 32 && strings.Trim(given, "0123456789abcdef") == "" {
		found = append(found, given) // the folder is gone with the disk: nothing else names it
	}
	if len(found) != 1 {
		return "", fmt.Errorf("磁盘 %q 不能确定；会话记有 %s / which disk is %q? The session names %s", given, strings.Join(sortedKeys(known), ", "), given, strings.Join(sortedKeys(known), ", "))
	}
	for _, d := range o.disks {
		if d.id == found[0] {
			return "", fmt.Errorf("磁盘 %s 在 %s，没有丢失 / disk %s is here at %s, not lost", found[0][:8], d.dir, found[0][:8], d.dir)
		}
	}
	return found[0], nil
}

func sortedKeys(m map[string]bool) []string {
	keys := []string{}
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// signedLines is how much of a session's log the disks that are here hold, 0 if none of it.
func (o *offline) signedLines(session string) (size int64) {
	for _, d := range o.disks {
		b, err := readAtMost(filepath.Join(d.dir, "sessions", session, "log.jsonl"), evidence.MaxLog)
		if err != nil {
			continue
		}
		for raw := range bytes.Lines(b) {
			var s evidence.Sign
			if bytes.HasSuffix(raw, []byte(`,"type":"sign"}`+"\n")) && evidence.UnmarshalCanonical(bytes.TrimSuffix(raw, []byte("\n")), &s, true) == nil {
				size = max(size, s.Size)
			}
		}
	}
	return size
}
