package broker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const root = "minglu/1/"

// Topic is where kind is published for or by a device.
func Topic(device, kind string) string { return root + device + "/" + kind }

var (
	reports = []string{"state", "health", "compliance", "session", "checkpoint", "ledger", "alarm", "timestamp"}
	orders  = []string{"command", "ack", "cosignature", "lists", "timestamp"}
	both    = []string{"live/"} // both ways, with anything below
)

// own gives what stands after the device's own part of a topic or filter.
func own(device, topic string) (rest string, ok bool) {
	if device == "" {
		return "", false
	}
	return strings.CutPrefix(topic, root+device+"/")
}

func below(rest string) bool {
	return slices.ContainsFunc(both, func(p string) bool { return strings.HasPrefix(rest, p) && len(rest) > len(p) })
}

// MayPublish reports whether device may publish on topic: its reports, and live/….
func MayPublish(device, topic string) bool {
	rest, ok := own(device, topic)
	return ok && (slices.Contains(reports, rest) || below(rest)) && !strings.ContainsAny(topic, "+#")
}

// MaySubscribe reports whether device may subscribe to filter: what is sent to it, each by its name,
// and anything below its live/.
func MaySubscribe(device, filter string) bool {
	rest, ok := own(device, filter)
	return ok && (slices.Contains(orders, rest) || below(rest))
}

// fence is the hook between mochi and the office.
type fence struct {
	mqtt.HookBase
	b *Broker
}

// device is one that is logged in.
type device struct {
	name string
	cert *x509.Certificate // it logged in with; nil: a password
	mu   sync.Mutex
	have float64 // bytes it may still send at once
	at   time.Time
}

func (f *fence) ID() string { return "fence" }

func (f *fence) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablished, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnSubscribe,
		mqtt.OnPublish, mqtt.OnWill, mqtt.OnWillSent, mqtt.OnDisconnect}, []byte{b})
}

// OnConnect bounds the keep-alive: without one a vanished device would hold its connection for ever.
func (f *fence) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	const most = uint16(MaxKeepAlive / time.Second)
	if k := pk.Connect.Keepalive; k == 0 || k > most {
		cl.State.Keepalive, cl.State.ServerKeepalive = most, true
	}
	return nil
}

func visitorOf(cl *mqtt.Client) *visitor {
	c := cl.Net.Conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	v, _ := c.(*visitor)
	return v
}

// certOf is the certificate the client has shown and holds the key of.
func certOf(cl *mqtt.Client) *x509.Certificate {
	if t, ok := cl.Net.Conn.(*tls.Conn); ok {
		if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			return certs[0]
		}
	}
	return nil
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 128)], "") }

// OnConnectAuthenticate is the door.
func (f *fence) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	name, password, remote := string(pk.Connect.Username), string(pk.Connect.Password), host(cl.Net.Remote)
	v := visitorOf(cl)
	refuse := func(why, detail string) bool {
		if v != nil {
			v.refused.Store(true)
		}
		who := name
		if why == WhyLogin || why == WhyHeld {
			who = "" // anybody can say a name
		}
		f.b.o.Refused(Refusal{who, remote, why, clip(detail)})
		return false
	}
	cert := certOf(cl)
	switch {
	case cert != nil && f.b.o.Certificate != nil:
		of, why := f.b.o.Certificate(cert)
		if why == "" && name != "" && name != of {
			why = "misnamed: the certificate is of " + of
		}
		if why != "" {
			why += " (" + name + ")"
			name = of // anybody can say a name
			return refuse(WhyCert, why)
		}
		name = of
	case f.b.o.NoPasswords:
		why := "notenrolled (" + name + ")"
		name = ""
		return refuse(WhyCert, why)
	case !f.b.o.Knows(name, password):
		cert = nil
		// Many rooms may share an address, so one wrong device is held off long before its address is.
		one := remote + "\n" + name
		if f.b.o.Hold.Held(one) || f.b.o.Hold.Held(remote) {
			return refuse(WhyHeld, name)
		}
		if !f.b.o.Login(name, password) {
			f.b.o.Hold.Fail(one)
			f.b.o.Hold.Fail(remote)
			return refuse(WhyLogin, name)
		}
		f.b.o.Hold.OK(one)
	default:
		cert = nil
	}
	if pk.Connect.ClientIdentifier != name {
		return refuse(WhyClientID, pk.Connect.ClientIdentifier)
	}
	if pk.Connect.WillFlag && (pk.Connect.WillTopic != Topic(name, "state") || pk.Connect.WillProperties.WillDelayInterval != 0) {
		return refuse(WhyWill, pk.Connect.WillTopic)
	}
	if v == nil {
		return false // no connection of ours
	}
	v.loggedIn(&device{name: name, cert: cert, have: BurstBytes, at: time.Now()})
	return true
}

func (f *fence) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if d := deviceOf(cl); d != nil {
		f.b.o.Here(d.name)
	}
}

// deviceOf gives who is logged in on this connection, or nil.
func deviceOf(cl *mqtt.Client) *device {
	if v := visitorOf(cl); v != nil {
		return v.in.Load()
	}
	return nil
}

func (f *fence) refused(cl *mqtt.Client, why, detail string) {
	name := ""
	if d := deviceOf(cl); d != nil {
		name = d.name
	}
	f.b.o.Refused(Refusal{name, host(cl.Net.Remote), why, clip(detail)})
}

// OnACLCheck is the fence: asked for each publish, each filter and each delivery. Deliveries to a
// client that has just gone find no device and are refused without a word.
func (f *fence) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	d := deviceOf(cl)
	switch {
	case d == nil:
		return false
	case write && !MayPublish(d.name, topic):
		f.refused(cl, WhyPublish, topic)
		return false
	case !write && !MaySubscribe(d.name, topic):
		f.refused(cl, WhySubscribe, topic)
		return false
	}
	return true
}

// OnPacketRead lets a device that sends too fast wait; its own connection then fills up, nobody else's.
func (f *fence) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if d := deviceOf(cl); d != nil {
		if wait := d.spend(max(len(pk.Payload), packetCost), time.Now()); wait > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-t.C:
			case <-f.b.door.shutting:
			}
		}
	}
	return pk, nil
}

// spend takes n bytes of the allowance and says how long to wait for them.
func (d *device) spend(n int, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.have = min(d.have+now.Sub(d.at).Seconds()*PaceBytes, BurstBytes)
	d.at = now
	d.have -= float64(n)
	if d.have >= 0 {
		return 0
	}
	return time.Duration(-d.have / PaceBytes * float64(time.Second))
}

// OnSubscribe bounds how many filters a device has; one too many is made invalid.
func (f *fence) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if cl.Net.Inline || cl.State.Subscriptions.Len()+len(pk.Filters) <= MaxSubscribed {
		return pk
	}
	f.refused(cl, WhySubscribe, "too many")
	for i := range pk.Filters {
		pk.Filters[i].Filter = ""
	}
	return pk
}

// OnPublish hands a report to the office. The broker passes it to nobody else and keeps no copy: the
// office's database is what is asked.
func (f *fence) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	d := deviceOf(cl)
	if cl.Net.Inline || d == nil {
		return pk, nil
	}
	rest, _ := own(d.name, pk.TopicName)
	if !slices.Contains(reports, rest) {
		pk.FixedHeader.Retain = false
		return pk, nil
	}
	f.b.o.Receive(Message{Device: d.name, Kind: rest, Payload: pk.Payload})
	return pk, packets.CodeSuccessIgnore
}

func (f *fence) OnWill(_ *mqtt.Client, w mqtt.Will) (mqtt.Will, error) {
	w.Retain = false
	return w, nil
}

// OnWillSent tells the office. A Will that the office's own end caused says nothing.
func (f *fence) OnWillSent(cl *mqtt.Client, pk packets.Packet) {
	if d := deviceOf(cl); d != nil && !f.b.closing.Load() {
		f.b.o.Receive(Message{Device: d.name, Kind: "state", Payload: pk.Payload, Will: true})
	}
}

func (f *fence) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	d := deviceOf(cl)
	if d == nil {
		return
	}
	var code packets.Code
	switch {
	case errors.Is(err, packets.ErrPacketTooLarge):
		f.refused(cl, WhyOversized, "")
	case errors.As(err, &code) && code.Code >= packets.ErrUnspecifiedError.Code && code != packets.ErrNotAuthorized && code != packets.ErrSessionTakenOver && code != packets.ErrServerShuttingDown:
		f.refused(cl, WhyProtocol, code.Reason)
	}
	f.b.o.Gone(d.name)
}
