package hil

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Debian root for boards: what a board's card has before our package comes. The packages of debootstrap's
// minbase, systemd as PID 1 and what our package depends on.
const (
	debianRelease = "bookworm"
	debianMirror  = "http://deb.debian.org/debian"
	debianWith    = "systemd-sysv,udev,adduser,kmod"
	debianImage   = "debian-" + debianRelease + "-arm64.img"
	debianSize    = "2G"
	secondStage   = 25 * time.Minute
)

// setUp is PID 1 of the guest that finishes the root: debootstrap unpacks packages of another architecture, and
// their scripts run here.
const setUp = `#!/bin/sh
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
/debootstrap/debootstrap --second-stage >/dev/console 2>&1 && touch /set-up
rm -f /set-up.sh
sync
mount -o remount,ro /
[ ! -e /set-up ] || echo "` + ended + `" >/dev/console
echo o >/proc/sysrq-trigger
sleep 60
`

// Debian returns the image of a Debian root for arm64, made once and kept in the kernel's cache. Making it
// takes about five minutes and needs root (debootstrap). Boot it with snapshot=on.
func (k *Kernel) Debian(ctx context.Context) (image string, err error) {
	image = filepath.Join(k.cache, debianImage)
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	dir, err := os.MkdirTemp(k.cache, "debian-")
	if err != nil {
		return "", fmt.Errorf("hil: debian: %w", err)
	}
	defer os.RemoveAll(dir)
	root, raw := filepath.Join(dir, "root"), filepath.Join(dir, "image")
	do := func(name string, args ...string) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("hil: debian: %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out[max(0, len(out)-2000):]))
		}
		return nil
	}
	if err := do("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", "--include="+debianWith, debianRelease, root, debianMirror); err != nil {
		return "", err
	}
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp"} { // in a container debootstrap links some to the machine's own
		name = filepath.Join(root, name)
		if fi, err := os.Lstat(name); err == nil && fi.Mode().Type() == fs.ModeSymlink {
			if err := os.Remove(name); err != nil {
				return "", fmt.Errorf("hil: debian: %w", err)
			}
		}
		if err := os.MkdirAll(name, 0o755); err != nil {
			return "", fmt.Errorf("hil: debian: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "set-up.sh"), []byte(setUp), 0o755); err != nil {
		return "", fmt.Errorf("hil: debian: %w", err)
	}
	if err := errors.Join(do("truncate", "-s", debianSize, raw), do("mkfs.ext4", "-q", "-L", "rootfs", "-d", root, raw)); err != nil {
		return "", err
	}
	ctx, stop := context.WithTimeout(ctx, secondStage)
	defer stop()
	g, err := k.Boot(ctx, Options{Job: Job{Root: &Root{Device: "/dev/vda", Init: []string{"/set-up.sh"}}}, QEMU: Drive("root", raw, false), Modules: []string{"virtio_blk", "ext4"}})
	if err != nil {
		return "", err
	}
	if _, err := g.Wait(); err != nil {
		return "", fmt.Errorf("hil: debian: second stage: %w", err)
	}
	return image, os.Rename(raw, image)
}

// Drive are the emulator's arguments for one more disk, a file of the host. Drives come in the order they
// are given, after [Options].Disks. With a snapshot the file is not changed, and nothing is kept.
func Drive(id, file string, snapshot bool) []string {
	on := "snapshot=off"
	if snapshot {
		on = "snapshot=on,cache=unsafe"
	}
	return []string{"-drive", fmt.Sprintf("if=none,id=%s,format=raw,%s,file=%s", id, on, file), "-device", "virtio-blk-pci,drive=" + id}
}
