package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/report"
)

const (
	grace     = time.Second            // for the goodbye
	unwind    = 10 * time.Second       // for the client's goroutines after their connection was closed
	writeWait = 5 * time.Second        // for one packet to leave
	flush     = 250 * time.Millisecond // for DISCONNECT to leave
)

// link is one connection: one MQTT client, used once. The client's own queue, store and reconnecting are
// not used: they reorder and lose (paho#563, #731, #681).
type link struct {
	client mqtt.Client
	lost   chan error // the connection ended

	mu  sync.Mutex // guards raw
	raw net.Conn
}

// dialer connects to the host of u.
func dialer(u *url.URL, config *tls.Config) func(context.Context) (net.Conn, error) {
	port := u.Port()
	if u.Scheme == "mqtt" {
		if port == "" {
			port = "1883"
		}
		d := net.Dialer{}
		return func(ctx context.Context) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
		}
	}
	if port == "" {
		port = "8883"
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	d := tls.Dialer{Config: config} // takes the server's name from the address
	return func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	}
}

// connect makes a connection with a Will and subscribes, within Timeout each. end must be called if it
// returns nil.
func (u *Uplink) connect(ctx context.Context) (*link, error) {
	will, err := report.Marshal(report.State{Device: u.o.Device, BdSeq: u.bdseq.Add(1), Run: u.run})
	if err != nil {
		return nil, err
	}
	l := &link{lost: make(chan error, 1)}
	o := mqtt.NewClientOptions().AddBroker("mqtt://office").SetProtocolVersion(4).SetClientID(u.o.Device).
		SetUsername(u.o.Username).SetPassword(u.o.Password).
		SetBinaryWill(report.Topic(u.o.Device, report.KindState), will, 1, true).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetStore(mqtt.NewMemoryStore()).SetOrderMatters(true).
		SetKeepAlive(u.o.KeepAlive).SetPingTimeout(u.o.Timeout).SetConnectTimeout(u.o.Timeout).SetWriteTimeout(writeWait).
		SetDefaultPublishHandler(u.receive).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { l.lost <- err }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, u.o.Timeout)
			defer cancel()
			c, err := u.dial(ctx)
			if err != nil {
				return nil, err
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.raw = &guard{Conn: c}
			return l.raw, nil
		})
	l.client = mqtt.NewClient(o)
	stop := context.AfterFunc(ctx, l.cut)
	defer stop()
	if err := wait(l.client.Connect(), 2*u.o.Timeout+unwind); err != nil {
		l.cut()
		return nil, err
	}
	s := u.subscribe(l)
	err = wait(s, u.o.Timeout)
	for topic, code := range s.Result() {
		// MQTT 3.1.1, 3.9.3. An office of a version without lists does not let them be read.
		if err == nil && code > 1 && topic != report.Topic(u.o.Device, report.KindLists) {
			err = fmt.Errorf("the broker refuses to let %s read %s", u.o.Device, topic)
		}
	}
	if err != nil {
		l.drop()
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return l, nil
}

// subscribe asks for what is sent to a device. Doing so again is harmless.
func (u *Uplink) subscribe(l *link) *mqtt.SubscribeToken {
	filters := make(map[string]byte, subscriptions)
	for _, k := range report.Kinds() {
		if k.ToDevice() {
			filters[report.Topic(u.o.Device, k)] = 1
		}
	}
	return l.client.SubscribeMultiple(filters, nil).(*mqtt.SubscribeToken)
}

// wait waits for a token, but not for ever (paho#613).
func wait(t mqtt.Token, atMost time.Duration) error {
	if !t.WaitTimeout(atMost) {
		return fmt.Errorf("no answer within %v", atMost)
	}
	return t.Error()
}

// cut closes the network connection, which makes the client give up.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.raw != nil {
		l.raw.Close()
	}
}

// drop ends the connection without a word, so that the broker sends the Will, and waits until the client
// has ended. It returns why it had, if it had before.
func (l *link) drop() error {
	l.cut()
	select {
	case err := <-l.lost:
		return err
	case <-time.After(unwind):
		return nil
	}
}

// bye ends the connection in order: the broker forgets the Will.
func (l *link) bye() {
	l.client.Disconnect(uint(flush / time.Millisecond))
	l.cut()
}

var (
	errSilent  = errors.New("the broker does not acknowledge")
	errPublish = errors.New("publish")
)
