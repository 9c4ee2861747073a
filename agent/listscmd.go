package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// listsImport puts lists in place by hand; an agent that runs finds them within seconds. A file without
// device or version, written by hand, gets them here.
func (c *commands) listsImport(stdout, stderr io.Writer) int {
	cfg := load(c.Lists.Import.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	l, err := readLists(c.Lists.Import.File, cfg.Device.Name)
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
		return exitUsage
	}
	b, err := report.Marshal(l)
	if err == nil {
		files := durable.Files{Layer: durable.OS{}, Tmp: cfg.State, Perm: 0o600}
		err = files.Replace(filepath.Join(cfg.State, listsFile), b)
	}
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent: lists:", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "清单已导入：单位 %d、人员 %d、事项 %d、预约 %d、案件 %d · lists are in place: bodies, officers, matters, bookings, cases\n",
		len(l.Bodies), len(l.Officers), len(l.Matters), len(l.Bookings), len(l.Cases))
	return exitGood
}

func readLists(path, device string) (report.Lists, error) {
	var l report.Lists
	f, err := os.Open(path)
	if err != nil {
		return l, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, report.MaxSize+1))
	if err != nil {
		return l, err
	}
	if len(raw) > report.MaxSize {
		return l, fmt.Errorf("%s: %w", path, report.ErrSize)
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return l, fmt.Errorf("%s: not the JSON of lists: export it at the office with minglu-provisioning lists export: %w", path, err)
	}
	switch {
	case l.Device == "":
		l.Device = device
	case l.Device != device:
		return l, fmt.Errorf("%s: 这是 %s 的清单，本机是 %s：请为本机另行导出 / these are the lists of %s, this device is %s: export its own", path, l.Device, device, l.Device, device)
	}
	if l.Version == "" {
		l.Version = l.Digest()
	}
	return l, nil
}
