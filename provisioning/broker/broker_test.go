package broker

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// office records what the broker tells.
type office struct {
	*Broker
	addr string
	stop func()

	mu      sync.Mutex
	got     []Message
	refused []Refusal
	held    map[string]bool
	failed  []string
	here    int
}

func (o *office) Held(k string) bool { o.mu.Lock(); defer o.mu.Unlock(); return o.held[k] }
func (o *office) Fail(k string)      { o.mu.Lock(); defer o.mu.Unlock(); o.failed = append(o.failed, k) }
func (o *office) OK(string)          {}

func (o *office) messages() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, m := range o.got {
		out = append(out, fmt.Sprintf("%s/%s %s %v", m.Device, m.Kind, m.Payload, m.Will))
	}
	return out
}

func (o *office) whys() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, r := range o.refused {
		out = append(out, strings.TrimSuffix(r.Device+" "+r.Why+" "+r.Detail, " "))
	}
	return out
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{held: map[string]bool{}}
	locked := func(f func()) { o.mu.Lock(); defer o.mu.Unlock(); f() }
	b, err := New(Options{Listen: "127.0.0.1:0", Login: func(d, p string) bool { return p == "secret of "+d }, Knows: func(d, p string) bool { return d == "known" && p == "secret of known" },
		Receive: func(m Message) { locked(func() { o.got = append(o.got, m) }) }, Refused: func(r Refusal) { locked(func() { o.refused = append(o.refused, r) }) },
		Here: func(string) { locked(func() { o.here++ }) }, Gone: func(string) { locked(func() { o.here-- }) }, Hold: o})
	if err != nil {
		t.Fatal(err)
	}
	o.Broker = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	if o.addr = b.Addr(ctx); o.addr == "" {
		t.Fatal(<-done)
	}
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(o.stop)
	return o
}

// until waits for what another goroutine of the broker does.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) { // the network is between
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func (o *office) client(name, password string, change func(*paho.ClientOptions)) (paho.Client, error) {
	c := paho.NewClientOptions().AddBroker("tcp://" + o.addr).SetClientID(name).SetUsername(name).SetPassword(password).SetAutoReconnect(false).
		SetConnectRetry(false).SetProtocolVersion(4).SetConnectTimeout(5 * time.Second)
	if change != nil {
		change(c)
	}
	p := paho.NewClient(c)
	tok := p.Connect()
	if !tok.WaitTimeout(5 * time.Second) {
		return nil, fmt.Errorf("no answer")
	}
	return p, tok.Error()
}

func (o *office) mustClient(t *testing.T, name string) paho.Client {
	t.Helper()
	c, err := o.client(name, "secret of "+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func TestWhoGetsIn(t *testing.T) {
	for _, tt := range []struct {
		rule, name, password string
		change               func(*paho.ClientOptions)
		held                 string
		why                  string // "" gets in
	}{
		{"name and password", "room-3", "secret of room-3", nil, "", ""},
		{"a wrong password", "room-3", "secret of room-4", nil, "", " login room-3"},
		{"no password", "room-3", "", nil, "", " login room-3"},
		{"nobody", "", "", func(o *paho.ClientOptions) { o.SetClientID("x") }, "", " login"},
		{"another client id", "room-3", "secret of room-3", func(o *paho.ClientOptions) { o.SetClientID("room-4") }, "", "room-3 client-id room-4"},
		{"its own Will", "room-3", "secret of room-3", func(o *paho.ClientOptions) { o.SetWill("minglu/1/room-3/state", "x", 1, true) }, "", ""},
		{"another's Will", "room-3", "secret of room-3", func(o *paho.ClientOptions) { o.SetWill("minglu/1/room-4/state", "x", 1, true) }, "", "room-3 will minglu/1/room-4/state"},
		{"a Will that is no state", "room-3", "secret of room-3", func(o *paho.ClientOptions) { o.SetWill("minglu/1/room-3/alarm", "x", 1, false) }, "", "room-3 will minglu/1/room-3/alarm"},
		{"a held-off address", "room-3", "secret of room-3", nil, "127.0.0.1", " held room-3"},
		{"a held-off device at its address", "room-3", "secret of room-3", nil, "127.0.0.1\nroom-3", " held room-3"},
		{"another device at that address", "room-4", "secret of room-4", nil, "127.0.0.1\nroom-3", ""},
		{"a held-off address does not shut out who was right before", "known", "secret of known", nil, "127.0.0.1", ""},
	} {
		o := open(t)
		o.held[tt.held] = true
		c, err := o.client(tt.name, tt.password, tt.change)
		if (err == nil) != (tt.why == "") {
			t.Errorf("%s: %v", tt.rule, err)
		}
		if tt.why != "" && !slices.Equal(o.whys(), []string{tt.why}) {
			t.Errorf("%s: told %q, want %q", tt.rule, o.whys(), tt.why)
		}
		if err == nil {
			c.Disconnect(0)
		}
		o.stop()
	}
}

func TestFence(t *testing.T) {
	for _, tt := range []struct {
		topic    string
		pub, sub bool
	}{
		{"minglu/1/room-3/state", true, false}, {"minglu/1/room-3/health", true, false}, {"minglu/1/room-3/compliance", true, false},
		{"minglu/1/room-3/session", true, false}, {"minglu/1/room-3/checkpoint", true, false}, {"minglu/1/room-3/alarm", true, false},
		{"minglu/1/room-3/command", false, true}, {"minglu/1/room-3/ack", false, true}, {"minglu/1/room-3/cosignature", false, true},
		{"minglu/1/room-3/ledger", true, false}, {"minglu/1/room-3/timestamp", true, true}, {"minglu/1/room-4/timestamp", false, false}, {"minglu/1/room-3/timestamp/1", false, false},
		{"minglu/1/room-3/live/offer", true, true}, {"minglu/1/room-3/live/#", false, true},
		{"minglu/1/room-3/live", false, false}, {"minglu/1/room-3/live/", false, false}, {"minglu/1/room-3", false, false}, {"minglu/1/room-3/#", false, false}, {"minglu/1/room-3/+", false, false},
		{"minglu/1/room-3/other", false, false}, {"minglu/1/room-3/state/x", false, false}, {"minglu/1/room-31/state", false, false}, {"minglu/1/room/state", false, false},
		{"minglu/1/room-4/state", false, false}, {"minglu/1/room-4/command", false, false}, {"minglu/1/room-4/live/offer", false, false}, {"minglu/1/+/command", false, false}, {"minglu/1/+/live/#", false, false},
		{"minglu/2/room-3/state", false, false}, {"#", false, false}, {"+/1/room-3/ack", false, false}, {"$SYS/broker/uptime", false, false}, {"$SYS/#", false, false}, {"$share/g/minglu/1/room-3/ack", false, false},
	} {
		if got := MayPublish("room-3", tt.topic); got != tt.pub {
			t.Errorf("publish %s: %v", tt.topic, got)
		}
		if got := MaySubscribe("room-3", tt.topic); got != tt.sub {
			t.Errorf("subscribe %s: %v", tt.topic, got)
		}
		if MayPublish("", tt.topic) || MaySubscribe("", tt.topic) {
			t.Errorf("nobody may use %s", tt.topic)
		}
	}
}

func TestARealClientAtTheFence(t *testing.T) {
	o := open(t)
	c := o.mustClient(t, "room-3")
	for _, kind := range []string{"state", "health", "compliance", "session", "checkpoint", "ledger", "timestamp", "alarm"} {
		if tok := c.Publish(Topic("room-3", kind), 1, kind == "state", "hello"); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
			t.Errorf("publish %s: %v", kind, tok.Error())
		}
	}
	if got := o.messages(); len(got) != 8 || got[0] != "room-3/state hello false" || got[7] != "room-3/alarm hello false" {
		t.Errorf("received %q", got)
	}
	acks := make(chan string, 10)
	tok := c.SubscribeMultiple(map[string]byte{Topic("room-3", "ack"): 1, Topic("room-3", "live/#"): 1}, func(_ paho.Client, m paho.Message) { acks <- m.Topic() + " " + string(m.Payload()) })
	if !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	if err := o.Send("room-3", "ack", []byte("to 3")); err != nil {
		t.Fatal(err)
	}
	if err := o.Send("room-4", "ack", []byte("to 4")); err != nil {
		t.Fatal(err)
	}
	if err := o.Send("room-3", "live/answer", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if a, b := <-acks, <-acks; a != "minglu/1/room-3/ack to 3" || b != "minglu/1/room-3/live/answer x" {
		t.Errorf("sent %q, %q", a, b)
	}
	// A refused subscription is answered with 0x80; everything else stays as it was.
	for _, filter := range []string{"#", "minglu/1/+/command", Topic("room-4", "command"), Topic("room-3", "state")} {
		tok := c.Subscribe(filter, 1, nil)
		if !tok.WaitTimeout(5 * time.Second) {
			t.Fatalf("subscribe %s: no answer", filter)
		}
		if code := tok.(*paho.SubscribeToken).Result()[filter]; code != 0x80 {
			t.Errorf("subscribe %s: granted %#x", filter, code)
		}
	}
	// A foreign publication with QoS 1 ends the connection (MQTT 3.1.1 has no other answer), with QoS 0 it is dropped.
	c.Publish(Topic("room-4", "state"), 0, true, "evil").WaitTimeout(5 * time.Second)
	until(t, "counted", func() bool { return slices.Contains(o.whys(), "room-3 foreign minglu/1/room-4/state") })
	c.Publish(Topic("room-4", "session"), 1, false, "evil").WaitTimeout(time.Second)
	until(t, "counted and disconnected", func() bool {
		return slices.Contains(o.whys(), "room-3 foreign minglu/1/room-4/session") && !c.IsConnectionOpen()
	})
	if got := o.messages(); len(got) != 8 {
		t.Errorf("something foreign came through: %q", got)
	}
}

func TestMosquittoClientAtTheFence(t *testing.T) {
	o := open(t)
	host, port, _ := strings.Cut(o.addr, ":")
	pub := func(user, topic, message string) error {
		return exec.Command("mosquitto_pub", "-h", host, "-p", port, "-i", user, "-u", user, "-P", "secret of "+user, "-q", "1", "-t", topic, "-m", message).Run()
	}
	if err := pub("room-3", Topic("room-3", "health"), "from C"); err != nil {
		t.Fatalf("mosquitto_pub (Debian's mosquitto-clients, make test installs it): %v", err)
	}
	if got := o.messages(); !slices.Equal(got, []string{"room-3/health from C false"}) {
		t.Errorf("received %q", got)
	}
	if err := pub("room-3", Topic("room-9", "health"), "evil"); err == nil {
		t.Error("a foreign publication was answered as if it had gone well")
	}
	if !slices.Contains(o.whys(), "room-3 foreign minglu/1/room-9/health") {
		t.Errorf("told %q", o.whys())
	}
}

func TestWillAndTakeover(t *testing.T) {
	o := open(t)
	will := func(n string) func(*paho.ClientOptions) {
		return func(c *paho.ClientOptions) { c.SetWill(Topic("room-3", "state"), "dead "+n, 1, true) }
	}
	a, err := o.client("room-3", "secret of room-3", will("1"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := o.client("room-3", "secret of room-3", will("2"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the newer connection takes over and the older one's Will is told", func() bool {
		return !a.IsConnectionOpen() && b.IsConnectionOpen() && slices.Equal(o.messages(), []string{"room-3/state dead 1 true"})
	})
	b.Disconnect(100)
	until(t, "gone", func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.here == 0 })
	c, err := o.client("room-3", "secret of room-3", will("3"))
	if err != nil {
		t.Fatal(err)
	}
	o.stop()
	until(t, "closed", func() bool { return !c.IsConnectionOpen() })
	if got := o.messages(); len(got) != 1 {
		t.Errorf("the office's own end is no death of a device, nor is a farewell: %q", got)
	}
}

func TestStrangersAndBrokenPackets(t *testing.T) {
	o := open(t)
	for _, b := range []string{"GET / HTTP/1.1\r\n\r\n", "\x10\xff\xff\xff\xff", "\x10\x00", "\x30\x05\x00\x01a", strings.Repeat("\xff", 1000), "\x10\xff\xff\xff\x7f"} {
		c, err := net.Dial("tcp", o.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := bufio.NewReader(c).ReadByte(); err == nil {
			t.Errorf("%q was answered", b)
		}
		c.Close()
	}
	until(t, "all told", func() bool { return len(o.whys()) == 6 && o.whys()[0] == " no-login" })
	c := o.mustClient(t, "room-3")
	c.Publish(Topic("room-3", "health"), 1, false, make([]byte, MaxPacketBytes)).WaitTimeout(time.Second)
	until(t, "an oversized packet is told and its connection ended", func() bool { return slices.Contains(o.whys(), "room-3 oversized") && !c.IsConnectionOpen() })
	if got := o.messages(); len(got) != 0 {
		t.Errorf("received %q", got)
	}
	again := o.mustClient(t, "room-3")
	if tok := again.Publish(Topic("room-3", "health"), 1, false, make([]byte, 256<<10)); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Errorf("the largest report: %v", tok.Error())
	}
}

func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	d := &device{have: BurstBytes, at: now}
	if w := d.spend(BurstBytes, now); w != 0 {
		t.Errorf("a burst waits %v", w)
	}
	if w := d.spend(PaceBytes, now); w != time.Second {
		t.Errorf("beyond it the pace holds: %v", w)
	}
	if w := d.spend(0, now.Add(time.Second)); w != 0 {
		t.Errorf("a second later: %v", w)
	}
	if w := d.spend(BurstBytes, now.Add(time.Hour)); w != 0 {
		t.Errorf("a pause earns one burst and no more: %v", w)
	}
	if w := d.spend(PaceBytes/2, now.Add(time.Hour)); w != time.Second/2 {
		t.Errorf("a pause earns one burst and no more: %v", w)
	}
}

func TestOnlyLoopbackWithoutTLS(t *testing.T) {
	for _, listen := range []string{":1883", "0.0.0.0:1883", "192.0.2.1:1883", "office.example:1883", "localhost:1883", ""} {
		f := func(string, string) bool { return true }
		_, err := New(Options{Listen: listen, Login: f, Knows: f, Receive: func(Message) {}, Refused: func(Refusal) {}, Hold: &office{}})
		if err == nil {
			t.Errorf("%q was accepted", listen)
		}
	}
}
