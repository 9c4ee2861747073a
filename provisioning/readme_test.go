package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"minglu/provisioning/config"
)

// TestReadme: the office.yaml of the READMEs is one, and its pages answer to the name in the address that they
// tell people to open.
func TestReadme(t *testing.T) {
	for _, file := range []string{"../README.md", "../README.zh-CN.md"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		yaml := regexp.MustCompile("(?s)```yaml\n(# office.yaml.*?)```").FindSubmatch(b)
		open := regexp.MustCompile(`# https://([^:/]+):8090/`).FindSubmatch(b)
		if yaml == nil || open == nil {
			t.Errorf("%s: no office.yaml, or no address of its pages", file)
			continue
		}
		cfg, err := config.Parse(file, yaml[1])
		if err != nil {
			t.Error(err)
		} else if host := string(open[1]); !slices.Contains(cfg.Web.Hosts, host) {
			t.Errorf("%s: web.hosts %q, people open %s", file, cfg.Web.Hosts, host)
		}
	}
}
