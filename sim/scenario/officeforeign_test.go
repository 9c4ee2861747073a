package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/report"
)

// knock connects to the office's broker as a device would. change may make it worse.
func (o *Office) knock(device string, change func(*paho.ClientOptions)) (paho.Client, error) {
	c := paho.NewClientOptions().AddBroker("tcp://" + o.Broker).SetClientID(device).SetUsername(device).SetPassword(o.pass[device]).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(5 * time.Second)
	if change != nil {
		change(c)
	}
	p := paho.NewClient(c)
	tok := p.Connect()
	if !tok.WaitTimeout(10 * time.Second) {
		return p, fmt.Errorf("no answer to connect")
	}
	return p, tok.Error()
}

// TestForeign has a registered device say what it may not and what nobody can read, and strangers try
// the door. The office counts all of it by reason and shows it, believes none of it, and goes on, as
// does the room whose name was used.
func TestForeign(t *testing.T) {
	t.Parallel()
	const good, bad = "room-good", "room-bad"
	office := lab.Office(t, good, bad)
	disks := Disks(t, 2, 500)
	a := lab.Start(t, Room{Name: good, Channels: map[string]string{"voice": SimMicrophone}, Disks: []string{disks[0].Dir, disks[1].Dir}, Preroll: "1s", Postroll: "0s", Extra: office.Reports(good)})
	a.WaitLive(20 * time.Second)
	Wait(t, 10*time.Second, "the room is at the office", func() bool { r := office.Room(good); return r.State == "idle" && r.Compliance != nil })

	for _, tt := range []struct {
		who    string
		device string // whom it counts for
		why    string
		change func(*paho.ClientOptions)
	}{
		{"a stranger", "", "login", func(o *paho.ClientOptions) { o.SetClientID("x").SetUsername("x").SetPassword("x") }},
		{"a device with a wrong password", "", "login", func(o *paho.ClientOptions) { o.SetPassword("wrong") }},
		{"a device under another client id", bad, "client-id", func(o *paho.ClientOptions) { o.SetClientID(good) }},
		{"a device with a Will for another", bad, "will", func(o *paho.ClientOptions) {
			o.SetWill(report.Topic(good, report.KindState), `{"v":1,"device":"room-good","online":false,"bdseq":1,"run":"0000000000000000"}`, 1, false)
		}},
	} {
		before := refusals(office, tt.device, tt.why)
		if c, err := office.knock(bad, tt.change); err == nil {
			t.Errorf("%s may log in", tt.who)
			c.Disconnect(0)
		}
		Wait(t, 5*time.Second, tt.who+" is counted as "+tt.why, func() bool { return refusals(office, tt.device, tt.why) == before+1 })
	}

	for _, filter := range []string{"#", "minglu/1/#", "minglu/1/+/state", report.Topic(good, report.KindCommand)} {
		before := refusals(office, bad, "subscribe")
		c, err := office.knock(bad, nil)
		if err != nil {
			t.Fatalf("a registered device: %v", err)
		}
		heard := make(chan string, 100)
		c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { heard <- m.Topic() }).WaitTimeout(5 * time.Second)
		Wait(t, 5*time.Second, "the filter "+filter+" is counted", func() bool { return refusals(office, bad, "subscribe") > before })
		select {
		case topic := <-heard:
			t.Errorf("with the filter %s it hears %s", filter, topic)
		default:
		}
		c.Disconnect(0)
	}

	number := func(n int64, device, typ, body string) string {
		return fmt.Sprintf(`{"v":1,"device":%q,"outbox":"00112233445566ff","n":%d,"t":"2026-01-01T00:00:00Z","type":%q,"body":%s}`, device, n, typ, body)
	}
	const alarm = `{"code":"disk.full","ch":"A","severity":"failure","zh":"满","en":"full","do_zh":"清","do_en":"free"}`
	online := func(device string) string {
		return fmt.Sprintf(`{"v":1,"device":%q,"online":true,"bdseq":1,"run":"0123456789abcdef","boot":"b","t":"2026-01-01T00:00:00Z","since":"2026-01-01T00:00:00Z","room":"冒名室","body":{"name":"某单位"},"state":"recording","version":"1"}`, device)
	}
	for _, tt := range []struct {
		what, topic, payload, why string
	}{
		{"the state of another", report.Topic(good, report.KindState), online(good), "foreign"},
		{"an alarm of another", report.Topic(good, report.KindAlarm), number(1, good, report.AlarmRaised, alarm), "foreign"},
		{"a command to another", report.Topic(good, report.KindCommand), `{"v":1,"id":"1","do":"start","who":"x"}`, "foreign"},
		{"an acknowledgement to another", report.Topic(good, report.KindAck), `{"v":1,"outbox":"00112233445566ff","upto":1000}`, "foreign"},
		{"a topic outside", "other/topic", "x", "foreign"},
		{"a state that speaks for another", report.Topic(bad, report.KindState), online(good), "foreign"},
		{"an alarm that speaks for another", report.Topic(bad, report.KindAlarm), number(1, good, report.AlarmRaised, alarm), "foreign"},
		{"nothing", report.Topic(bad, report.KindState), "", "malformed"},
		{"half a message", report.Topic(bad, report.KindState), online(bad)[:60], "malformed"},
		{"no object", report.Topic(bad, report.KindCompliance), "[]", "malformed"},
		{"no text", report.Topic(bad, report.KindHealth), "\xff\xfe\x00", "malformed"},
		{"a deep nest", report.Topic(bad, report.KindSession), number(1, bad, report.SessionOpened, strings.Repeat("[", 5000)+strings.Repeat("]", 5000)), "malformed"},
		{"an alarm without a code", report.Topic(bad, report.KindAlarm), number(1, bad, report.AlarmRaised, `{}`), "malformed"},
		{"a verdict nobody knows", report.Topic(bad, report.KindCompliance), `{"v":1,"device":"room-bad","t":"2026-01-01T00:00:00Z","profile":{"id":"x","version":"1"},"items":[{"item":"a.b","subject":"","verdict":"fine"}]}`, "malformed"},
		{"a version to come", report.Topic(bad, report.KindState), strings.Replace(online(bad), `"v":1`, `"v":2`, 1), "newer"},
		{"a number far ahead", report.Topic(bad, report.KindAlarm), number(1<<50, bad, report.AlarmRaised, alarm), "number"},
		{"more than a message may have", report.Topic(bad, report.KindHealth), strings.Repeat(" ", report.MaxSize+100), "oversized"},
		{"more than a packet may have", report.Topic(bad, report.KindHealth), strings.Repeat("x", 2<<20), "oversized"},
	} {
		before := refusals(office, bad, tt.why)
		c, err := office.knock(bad, nil)
		if err != nil {
			t.Fatalf("before %s: %v", tt.what, err)
		}
		c.Publish(tt.topic, 1, false, tt.payload).WaitTimeout(time.Second)
		Wait(t, 5*time.Second, tt.what+" is counted as "+tt.why, func() bool { return refusals(office, bad, tt.why) > before })
		c.Disconnect(0)
	}

	r := office.Room(bad)
	if r.Class != "silent" || r.State != "" || r.Events != 0 || r.Compliance != nil || r.Health != nil || len(r.Alarms) != 0 || len(office.EventsOf(bad)) != 0 {
		t.Errorf("the office believes some of it: %+v", r)
	}
	var counts struct{ Refused, Missing int64 }
	office.Get("/counts", &counts)
	var shown int64
	for _, x := range office.Refusals() {
		shown += x.N
		figure(t, "refused: %s of %q: %d", x.Why, x.Device, x.N)
	}
	if r.Refused == 0 || len(r.Refusals) == 0 || counts.Refused != shown || counts.Missing != 0 {
		t.Errorf("refusals: %d of the device, %d in all, %d listed; %d numbers missing", r.Refused, counts.Refused, shown, counts.Missing)
	}

	// Office and room go on: what is right is taken, from the one and the other.
	c, err := office.knock(bad, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Disconnect(0)
	c.Publish(report.Topic(bad, report.KindState), 1, false, strings.Replace(online(bad), "recording", "idle", 1))
	Wait(t, 5*time.Second, "a right state is taken", func() bool { r := office.Room(bad); return r.State == "idle" && r.Class != "silent" })
	if st := a.State(); st.State != "idle" || st.Session != nil {
		t.Errorf("the other room is %s", st.State)
	}
	id := a.Begin()
	pause(time.Second)
	a.End(id)
	Wait(t, 10*time.Second, "the session of the other room is told", func() bool {
		return slices.ContainsFunc(office.EventsOf(good), func(e OfficeEvent) bool { return e.Type == report.SessionSealed && e.Body.Session == id })
	})
	if r := office.Room(good); r.Missing != 0 || r.Refused != 0 || r.Class == "silent" || slices.ContainsFunc(r.Alarms, func(x struct{ report.Alarm }) bool { return x.Code == "disk.full" }) {
		t.Errorf("the other room at the office: %+v", r)
	}
}

func refusals(o *Office, device, why string) int64 {
	for _, r := range o.Refusals() {
		if r.Device == device && r.Why == why {
			return r.N
		}
	}
	return 0
}
