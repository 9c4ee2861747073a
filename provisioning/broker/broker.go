// Package broker is the MQTT broker inside the office: mochi-mqtt with a door and a fence.
//
// It guarantees: a device logs in with its own certificate, or name and password, uses its own name as client id, and
// may publish and subscribe only below minglu/1/ITSNAME as the contract says ([MayPublish],
// [MaySubscribe]); its Will may only be its own state. Whatever else it tries is refused, told to
// Options.Refused and done no harm by. Packets, connections, packets in flight, subscriptions and the
// pace of each device are bounded; somebody who does not log in within [LoginWithin] is dropped; an
// address that fails to log in is held off, but never a device whose password was right before.
// Receive is called once for each report and Will, in the order a device sent them, before the
// broker's PUBACK; a Receive that blocks slows that device alone.
//
// It does not guarantee delivery: a PUBACK means only that Receive has returned. What was stored is
// acknowledged by the office's own message on the topic ack. Nothing is kept over a restart; devices
// say everything anew when they connect.
//
// Use: [New], then Run until its context ends; [Broker.Send] from anywhere.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// Limits.
const (
	MaxPacketBytes = 257 << 10        // a report of 256 KiB with its header and topic
	MaxDevices     = 20000            // connections
	MaxKnocking    = 512              // of them not logged in yet: more wait in the kernel
	LoginWithin    = 10 * time.Second // from connection to CONNECT, TLS included
	MaxKeepAlive   = 90 * time.Second // a device silent for half as long again is disconnected
	MaxInflight    = 64               // messages on the way to one device
	MaxPending     = 256              // writes waiting for one device
	MaxSubscribed  = 32               // subscriptions of one device
	MessageExpiry  = time.Hour        // of what waits for a device that is away
	PaceBytes      = 512 << 10        // a device may send so much a second, each packet counting as 4 KiB at least
	BurstBytes     = 4 << 20          // after a pause so much at once
	RecheckEvery   = 5 * time.Second  // a revoked certificate ends its connection within this and a moment
	CloseWithin    = time.Second      // Run waits so long for devices that do not read
	packetCost     = 4 << 10
)

// Message is one report from a device.
type Message struct {
	Device  string
	Kind    string // "state", "health", "compliance", "session", "checkpoint", "ledger", "alarm", "timestamp"
	Payload []byte // the receiver's own
	Will    bool   // sent by the broker for a device that vanished
}

// Why something was refused: stable codes.
const (
	WhyLogin     = "login"     // wrong name or password
	WhyCert      = "cert"      // a certificate that is not good, or none where one is needed; the detail begins with why
	WhyHeld      = "held"      // too many wrong ones from there
	WhyNoLogin   = "no-login"  // connected, and went or was dropped without logging in
	WhyClientID  = "client-id" // the client id is not the device's name
	WhyWill      = "will"      // a Will that is not the device's own state
	WhyPublish   = "foreign"   // a topic that is not the device's own
	WhySubscribe = "subscribe" // a filter that is not the device's own
	WhyOversized = "oversized" // a packet larger than MaxPacketBytes
	WhyProtocol  = "protocol"  // not MQTT as it should be
)

// Refusal is something a device or a stranger was not allowed to do.
type Refusal struct {
	Device string // "" if nobody is logged in
	Remote string // address
	Why    string
	Detail string // the topic or name concerned, at most 128 bytes
}

// Options of [New]. The functions are called from many goroutines.
type Options struct {
	Listen string
	TLS    *tls.Config // nil: Listen must be a loopback address
	// Login checks a password; it may take a moment. Knows says whether it was right before, at once.
	Login func(device, password string) bool
	Knows func(device, password string) bool
	// Certificate judges the certificate a client has shown over TLS: the device it is of, or why it is
	// not good. It is asked again for each open connection every RecheckEvery. nil: passwords alone count.
	Certificate func(*x509.Certificate) (device, why string)
	NoPasswords bool // a certificate is needed
	Receive     func(Message)
	Refused     func(Refusal)
	// Here and Gone tell that a device has logged in, and that its connection ended.
	Here, Gone func(device string)
	// Hold counts failed logins by key. Held keys are refused without a check.
	Hold interface {
		Held(key string) bool
		Fail(key string)
		OK(key string)
	}
	Log *slog.Logger // nil: none
}

func (o *Options) valid() error {
	if o.Login == nil || o.Knows == nil || o.Receive == nil || o.Refused == nil || o.Hold == nil {
		return errors.New("broker: Options.Login, Knows, Receive, Refused and Hold are needed")
	}
	if o.TLS == nil && o.NoPasswords {
		return errors.New("broker: certificates need TLS: set mqtt.tls, or allow mqtt.passwords")
	}
	if o.TLS == nil {
		ap, err := netip.ParseAddrPort(o.Listen)
		if err != nil || !ap.Addr().IsLoopback() {
			return fmt.Errorf("broker: listen %q: without TLS only a loopback address such as 127.0.0.1:1883 will do: passwords would be readable on the wire", o.Listen)
		}
	}
	return nil
}

// Broker is one broker. Safe for concurrent use.
type Broker struct {
	o       Options
	server  *mqtt.Server
	door    *door
	bound   chan struct{}
	once    sync.Once
	addr    string
	closing atomic.Bool
}

// New checks the options and opens nothing yet.
func New(o Options) (*Broker, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Here == nil {
		o.Here = func(string) {}
	}
	if o.Gone == nil {
		o.Gone = func(string) {}
	}
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumClients = MaxDevices
	limits.MaximumMessageExpiryInterval = int64(MessageExpiry / time.Second)
	limits.MaximumSessionExpiryInterval = uint32(MessageExpiry / time.Second)
	limits.MaximumClientWritesPending = MaxPending
	limits.MaximumPacketSize = MaxPacketBytes
	limits.MaximumInflight = MaxInflight
	limits.ReceiveMaximum = MaxInflight
	limits.TopicAliasMaximum = 0 // an alias is resolved after the fence has looked at the topic
	limits.SharedSubAvailable = 0
	limits.SubIDAvailable = 0
	limits.MinimumProtocolVersion = 4 // MQTT 3.1.1
	limits.MaximumQos = 1
	b := &Broker{o: o, bound: make(chan struct{})}
	b.server = mqtt.New(&mqtt.Options{Capabilities: limits, InlineClient: true, SysTopicResendInterval: 3600,
		Logger: slog.New(slog.DiscardHandler)}) // it would log whole packets; the fence logs what matters
	if err := b.server.AddHook(&fence{b: b}, nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

// Run listens and serves until ctx ends and then waits until every connection has ended. It returns
// nil when it was asked to stop, else why it cannot serve. Call it once.
func (b *Broker) Run(ctx context.Context) error {
	defer b.once.Do(func() { close(b.bound) })
	raw, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.o.Listen)
	if err != nil {
		return fmt.Errorf("broker: listen %q: %w: is another program there? change mqtt.listen", b.o.Listen, err)
	}
	b.addr = raw.Addr().String()
	b.door = newDoor(raw, func(remote string) { b.o.Refused(Refusal{Remote: remote, Why: WhyNoLogin}) })
	l := net.Listener(b.door)
	if b.o.TLS != nil {
		l = tls.NewListener(b.door, b.o.TLS.Clone())
	}
	if err := b.server.AddListener(&listener{l, b.server}); err != nil {
		return errors.Join(fmt.Errorf("broker: %w", err), raw.Close())
	}
	if err := b.server.Serve(); err != nil {
		return errors.Join(fmt.Errorf("broker: %w", err), raw.Close())
	}
	b.once.Do(func() { close(b.bound) })
	b.recheck(ctx)
	b.closing.Store(true) // from here on a Will says nothing about the device
	b.door.shut(CloseWithin)
	if err := b.server.Close(); err != nil {
		return fmt.Errorf("broker: close: %w", err)
	}
	b.door.wait()
	return nil
}

// recheck ends connections whose certificate is no longer good, until ctx ends.
func (b *Broker) recheck(ctx context.Context) {
	if b.o.Certificate == nil {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(RecheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.Recheck()
		}
	}
}

// Recheck judges the certificates of all open connections anew and ends those that are no longer good.
func (b *Broker) Recheck() {
	select {
	case <-b.bound: // and with it the door is there for all to see, if there ever will be one
	default:
		return
	}
	if b.o.Certificate == nil || b.door == nil {
		return
	}
	for _, v := range b.door.all() {
		d := v.in.Load()
		if d == nil || d.cert == nil {
			continue
		}
		if name, why := b.o.Certificate(d.cert); why != "" || name != d.name {
			b.o.Refused(Refusal{d.name, host(v.RemoteAddr().String()), WhyCert, clip(why)})
			_ = v.Close()
		}
	}
}

// Addr blocks until the broker listens and gives the address; "" when ctx ends or Run has failed.
func (b *Broker) Addr(ctx context.Context) string {
	select {
	case <-b.bound:
		return b.addr
	case <-ctx.Done():
		return ""
	}
}

// Send publishes to one device with QoS 1, on minglu/1/DEVICE/KIND. It does not wait. A device that
// is away gets it when it is back within MessageExpiry, if it keeps a session; else it is lost.
func (b *Broker) Send(device, kind string, payload []byte) error {
	if err := b.server.Publish(Topic(device, kind), payload, false, 1); err != nil {
		return fmt.Errorf("broker: send %s to %q: %w", kind, device, err)
	}
	return nil
}

// door accepts connections, drops those that do not log in in time, and knows all that are open.
type door struct {
	net.Listener
	noLogin  func(remote string)
	knocking chan struct{}
	shutting chan struct{}

	mu   sync.Mutex
	open map[*visitor]bool
	wg   sync.WaitGroup // one for each open connection
}

func newDoor(l net.Listener, noLogin func(remote string)) *door {
	return &door{Listener: l, noLogin: noLogin, knocking: make(chan struct{}, MaxKnocking), shutting: make(chan struct{}), open: map[*visitor]bool{}}
}

// Accept waits for a place, then for a connection. It outlives passing errors, such as too many open
// files, because mochi's listener would end at the first.
func (d *door) Accept() (net.Conn, error) {
	select {
	case d.knocking <- struct{}{}:
	case <-d.shutting:
		return nil, net.ErrClosed
	}
	for {
		c, err := d.Listener.Accept()
		if err == nil {
			return d.enter(c), nil
		}
		if errors.Is(err, net.ErrClosed) {
			<-d.knocking
			return nil, err
		}
		select {
		case <-time.After(100 * time.Millisecond): // nothing tells when a file is free again
		case <-d.shutting:
		}
	}
}

func (d *door) enter(c net.Conn) *visitor {
	_ = c.SetDeadline(time.Now().Add(LoginWithin))
	v := &visitor{Conn: c, d: d}
	d.mu.Lock()
	d.open[v] = true
	d.wg.Add(1)
	d.mu.Unlock()
	return v
}

// shut takes no more connections and gives those open a last moment to read what they are told.
func (d *door) shut(last time.Duration) {
	close(d.shutting)
	_ = d.Listener.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for v := range d.open {
		_ = v.Conn.SetDeadline(time.Now().Add(last))
		v.last.Store(true)
	}
}

func (d *door) all() []*visitor {
	d.mu.Lock()
	defer d.mu.Unlock()
	open := make([]*visitor, 0, len(d.open))
	for v := range d.open {
		open = append(open, v)
	}
	return open
}

// wait returns when every connection has ended; those that mochi forgot end now.
func (d *door) wait() {
	for _, v := range d.all() {
		_ = v.Close()
	}
	d.wg.Wait()
}

// visitor is one connection.
type visitor struct {
	net.Conn
	d       *door
	in      atomic.Pointer[device] // logged in
	refused atomic.Bool            // already told
	last    atomic.Bool            // the deadline may not be moved any more
	leave   sync.Once
	place   sync.Once
}

func (v *visitor) loggedIn(d *device) {
	v.in.Store(d)
	v.place.Do(func() { <-v.d.knocking })
}

// SetDeadline is how mochi refreshes the keep-alive.
func (v *visitor) SetDeadline(t time.Time) error {
	if v.last.Load() {
		return nil
	}
	return v.Conn.SetDeadline(t)
}

func (v *visitor) Close() error {
	err := v.Conn.Close()
	v.leave.Do(func() {
		v.place.Do(func() { <-v.d.knocking })
		if v.in.Load() == nil && !v.refused.Load() && !v.last.Load() {
			v.d.noLogin(host(v.RemoteAddr().String()))
		}
		v.d.mu.Lock()
		delete(v.d.open, v)
		v.d.mu.Unlock()
		v.d.wg.Done()
	})
	return err
}

// host takes the port off an address.
func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}
