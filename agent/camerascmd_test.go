package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestCamerasCommand asks a camera (drivers/onvif tests the protocol against another process): streams without the
// password, clock, and what was set.
func TestCamerasCommand(t *testing.T) {
	raw, err := os.ReadFile("../drivers/onvif/testdata/dahua.txt")
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{}
	for _, part := range strings.Split(string(raw), "-- ")[1:] {
		name, text, _ := strings.Cut(part, " --\n")
		answers[name] = text
	}
	ntp := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, body, _ := strings.Cut(string(b), "<s:Body>")
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(body, "<tds:"), "<trt:"), ">")
		name = strings.TrimSuffix(name, "/")
		kind := "Manual"
		if ntp = ntp || name == "SetNTP"; ntp {
			kind = "NTP"
		}
		now := time.Now().UTC().Add(-time.Hour)
		date := fmt.Sprintf("<tt:Time><tt:Hour>%d</tt:Hour><tt:Minute>%d</tt:Minute><tt:Second>%d</tt:Second></tt:Time><tt:Date><tt:Year>%d</tt:Year><tt:Month>%d</tt:Month><tt:Day>%d</tt:Day></tt:Date>", now.Hour(), now.Minute(), now.Second(), now.Year(), now.Month(), now.Day())
		text, ok := answers[name]
		if !ok {
			text = `<Envelope><Body/></Envelope>`
		}
		fmt.Fprint(w, strings.NewReplacer("{host}", "198.51.100.7", "{kind}", kind, "{utc}", date, "{local}", date).Replace(text))
	}))
	defer s.Close()
	at := strings.TrimPrefix(s.URL, "http://")
	var out, complaint bytes.Buffer
	if code := command([]string{"cameras", "--at", at, "--user", "admin", "--ntp", "192.168.9.1"}, strings.NewReader("hunter2\n"), &out, &complaint); code != exitGood {
		t.Errorf("exit %d: %s", code, complaint.String())
	}
	for _, want := range []string{"# Dahua IPC-HDW3441EM-AS", "H265 2688×1520 25/s", `rtsp://admin:PASSWORD@127.0.0.1:554/cam/realmonitor?channel=1&subtype=0`, "clock ahead by -1h0m", "from NTP", "was set: ntp 192.168.9.1", "--ntp"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String()+complaint.String(), "hunter2") {
		t.Error("the password was printed")
	}
	out.Reset()
	if code := command([]string{"cameras", "--at", "127.0.0.1:1", "--json"}, nil, &out, &complaint); code != exitFailed || !strings.Contains(out.String(), "does not answer") {
		t.Errorf("nobody there: exit %d, %s", code, out.String())
	}
}
