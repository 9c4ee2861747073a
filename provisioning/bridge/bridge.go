// Package bridge is the office as a client of an MQTT broker that is there already (mosquitto, EMQX, NATS),
// in place of its own broker.
//
// It guarantees: what a device publishes below minglu/1/ITSNAME is handed to Receive, in the order the
// broker delivers it, before the broker is told that it arrived; a connection that is lost is made anew
// until Run ends; what is malformed in topic or size is told to Refused and dropped.
//
// It believes the broker: that broker has to let a device publish and subscribe below minglu/1/ITSNAME
// alone, by its certificate (docs/enrolment.md shows how for mosquitto). It keeps nothing: devices send
// anew what was not acknowledged.
package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/report"
)

// Limits and intervals.
const (
	MaxPayload = 256 << 10
	Timeout    = 10 * time.Second // for connecting, and for the broker to acknowledge what is sent
	KeepAlive  = 30 * time.Second
	Retry      = 2 * time.Second // between two tries to connect
)

// Options are what a Bridge needs.
type Options struct {
	URL     string      // mqtts://host:8883, or mqtt:// on loopback; user and password may stand in it
	TLS     *tls.Config // for mqtts
	Name    string      // client id: no device's name
	Receive func(device string, k report.Kind, payload []byte, will bool)
	Refused func(device, why, detail string)
	Log     *slog.Logger // nil: slog.Default
}

// Bridge is the connection. Its methods are safe for concurrent use.
type Bridge struct {
	o    Options
	user *url.Userinfo
	host string

	mu     sync.Mutex
	client mqtt.Client // nil: none now
}

// ErrAway means that there is no connection to the broker now.
var ErrAway = errors.New("no connection to the broker")

// New checks the options and connects to nothing yet.
func New(o Options) (*Bridge, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts" {
		return nil, errors.New("bridge: the broker's address should read mqtts://host:8883")
	}
	scheme := map[string]string{"mqtt": "tcp", "mqtts": "ssl"}[u.Scheme]
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Bridge{o: o, user: u.User, host: scheme + "://" + u.Host}, nil
}

// Run keeps a connection until ctx ends. It returns nil when it was asked to stop.
func (b *Bridge) Run(ctx context.Context) error {
	for {
		err := b.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		b.o.Log.Warn("broker", "err", err, "retry", Retry)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(Retry):
		}
	}
}

// Addr is the broker's address, without user and password. It does not block.
func (b *Bridge) Addr(context.Context) string { return b.host }

// connection makes one connection and serves it until it is lost or ctx ends.
func (b *Bridge) connection(ctx context.Context) error {
	lost := make(chan error, 1)
	o := mqtt.NewClientOptions().AddBroker(b.host).SetClientID(b.o.Name).SetTLSConfig(b.o.TLS).
		SetCleanSession(true).SetAutoReconnect(false).SetOrderMatters(true).
		SetConnectTimeout(Timeout).SetWriteTimeout(Timeout).SetKeepAlive(KeepAlive).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			select {
			case lost <- err:
			default:
			}
		}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { b.take(m) })
	if b.user != nil {
		password, _ := b.user.Password()
		o.SetUsername(b.user.Username()).SetPassword(password)
	}
	c := mqtt.NewClient(o)
	defer c.Disconnect(250)
	if err := await(c.Connect()); err != nil {
		return fmt.Errorf("bridge: connect: %w", err)
	}
	topics := map[string]byte{}
	for _, k := range report.Kinds() {
		if k.FromDevice() {
			topics[report.Topic("+", k)] = 1
		}
	}
	if err := await(c.SubscribeMultiple(topics, nil)); err != nil {
		return fmt.Errorf("bridge: subscribe: %w", err)
	}
	b.o.Log.Info("connected to the broker", "broker", b.host)
	b.set(c)
	defer b.set(nil)
	select {
	case err := <-lost:
		return fmt.Errorf("bridge: connection lost: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// await waits for a token; paho's own wait may hang for ever.
func await(t mqtt.Token) error {
	if !t.WaitTimeout(Timeout) {
		return errors.New("the broker does not answer")
	}
	return t.Error()
}

func (b *Bridge) set(c mqtt.Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.client = c
}

// take hands one message on. A state that says offline may be the broker's, speaking for a device that
// vanished: it is told so, as nobody can tell.
func (b *Bridge) take(m mqtt.Message) {
	device, kind, err := report.ParseTopic(m.Topic())
	switch {
	case err != nil || !kind.FromDevice():
		b.o.Refused("", "topic", fmt.Sprintf("%.120q", m.Topic()))
		return
	case len(m.Payload()) > MaxPayload:
		b.o.Refused(device, "oversized", fmt.Sprintf("%s of %d bytes", kind, len(m.Payload())))
		return
	}
	will := false
	if kind == report.KindState {
		s, err := report.ParseState(m.Payload())
		will = err == nil && !s.Online
	}
	b.o.Receive(device, kind, m.Payload(), will)
}

// Send publishes to one device. It does not wait for the broker.
func (b *Bridge) Send(device, kind string, payload []byte) error {
	b.mu.Lock()
	c := b.client
	b.mu.Unlock()
	if c == nil {
		return fmt.Errorf("bridge: send %s to %s: %w", kind, device, ErrAway)
	}
	c.Publish(report.Topic(device, report.Kind(kind)), 1, false, payload)
	return nil
}
