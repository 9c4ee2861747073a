package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"minglu/agent/durable"
	"minglu/agent/report"
	"minglu/provisioning/config"
	"minglu/provisioning/fleet"
	"minglu/provisioning/registry"
)

// registryFile of the office's state holds bodies, rooms, officers, matters, bookings and cases.
const registryFile = "registry.json"

// reviewsFolder of the office's state holds samples of sessions and their scores.
const reviewsFolder = "reviews"

// maxRecorded is how many cases with sessions in a room are looked for.
const maxRecorded = 2000

// postLists brings each room that is connected the lists it needs.
func postLists(r *registry.Registry, f *fleet.Fleet, send func(device string, kind report.Kind, payload []byte) error, log *slog.Logger) *registry.Post {
	return registry.NewPost(registry.PostOptions{Registry: r, Now: time.Now, Log: log,
		Online: func() (list []registry.Held) {
			for _, h := range f.Held() {
				if h.Online {
					list = append(list, registry.Held{Device: h.Device, Version: h.Version, Since: h.Since})
				}
			}
			return list
		},
		Recorded: func(device string) []string {
			list, err := f.RecordedCases(context.Background(), device, maxRecorded)
			if err != nil {
				log.Error("cases with sessions in a room", "device", device, "err", err)
			}
			return list
		},
		Send: func(device string, payload []byte) error { return send(device, report.KindLists, payload) }})
}

// held is what devices last said they hold, those that are away included.
func held(f *fleet.Fleet) map[string]string {
	m := map[string]string{}
	for _, h := range f.Held() {
		m[h.Device] = h.Version
	}
	return m
}

type listsCommands struct {
	Export struct {
		Device string `arg:"" name:"DEVICE" help:"name of the device"`
		Config string `required:"" placeholder:"FILE" help:"office.yaml"`
		To     string `required:"" placeholder:"FILE" help:"a file that does not exist yet"`
	} `cmd:"" help:"导出一个房间的清单，供不联网的房间用 minglu-agent lists import 导入 · the lists of one room, for a room without a network: minglu-agent lists import"`
}

// exportLists writes what a device would be sent. The office may be running.
func exportLists(cfg *config.Config, device, to string, stdout io.Writer) error {
	r, err := registry.Open(registry.Options{Path: filepath.Join(cfg.State, registryFile), Now: time.Now})
	if err != nil {
		return err
	}
	d := r.Data()
	if _, ok := d.Room(device); !ok {
		return &usageError{fmt.Errorf("lists: device %q is not in the sheet of rooms (房间): import it at the page of lists first", device)}
	}
	l := d.For(device, nil, time.Now())
	b, err := report.Marshal(l)
	if err != nil {
		return fmt.Errorf("lists: %w", err)
	}
	if err := (durable.Files{Layer: durable.OS{}, Tmp: filepath.Dir(to), Perm: 0o600}).Create(to, b); err != nil {
		return fmt.Errorf("lists: %w: name a file that does not exist yet", err)
	}
	_, err = fmt.Fprintf(stdout, "%s：单位 %d、人员 %d、事项 %d、预约 %d、案件 %d，未列入 %d · bodies, officers, matters, bookings, cases, left out\n",
		to, len(l.Bodies), len(l.Officers), len(l.Matters), len(l.Bookings), len(l.Cases), l.LeftOut)
	return err
}
