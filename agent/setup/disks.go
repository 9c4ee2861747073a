package setup

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// LsblkArgs make lsblk(8) print what [ParseDisks] reads.
var LsblkArgs = []string{"--json", "--bytes", "--output", "NAME,FSTYPE,LABEL,UUID,SIZE,MOUNTPOINTS,RO"}

// fileSystems are those a recording may be put on: journalled, with fsync that means it.
var fileSystems = []string{"ext4", "xfs", "btrfs", "f2fs"}

type blockDevice struct {
	Name        string        `json:"name"`
	FSType      string        `json:"fstype"`
	Label       string        `json:"label"`
	UUID        string        `json:"uuid"`
	Size        int64         `json:"size"`
	ReadOnly    bool          `json:"ro"`
	Mountpoints []*string     `json:"mountpoints"`
	Children    []blockDevice `json:"children"`
}

// ParseDisks returns the file systems a recording may be put on: those mounted nowhere, or below /srv, /mnt
// or /media, in lsblk's order.
func ParseDisks(lsblk []byte) ([]Disk, error) {
	var all struct {
		Devices []blockDevice `json:"blockdevices"`
	}
	if err := json.Unmarshal(lsblk, &all); err != nil {
		return nil, fmt.Errorf("setup: lsblk: %w", err)
	}
	var disks []Disk
	var walk func([]blockDevice)
	walk = func(list []blockDevice) {
		for _, d := range list {
			if k, ok := d.disk(); ok {
				disks = append(disks, k)
			}
			walk(d.Children)
		}
	}
	walk(all.Devices)
	return disks, nil
}

func (d *blockDevice) disk() (Disk, bool) {
	k := Disk{Label: d.Label, Type: d.FSType, Bytes: d.Size}
	switch {
	case d.ReadOnly || !slices.Contains(fileSystems, d.FSType):
		return k, false
	case d.Label != "" && !strings.ContainsAny(d.Label, "\n\"\\"):
		k.Source = "LABEL=" + d.Label
	case d.UUID != "":
		k.Source = "UUID=" + d.UUID
	default:
		return k, false
	}
	for _, m := range d.Mountpoints {
		if m == nil {
			continue
		}
		if k.Dir != "" || !strings.HasPrefix(*m, "/srv/") && !strings.HasPrefix(*m, "/mnt/") && !strings.HasPrefix(*m, "/media/") {
			return k, false // the system's own, or mounted twice
		}
		k.Dir = *m
	}
	return k, true
}
