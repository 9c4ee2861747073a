package broker

import (
	"log/slog"
	"net"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

const listenerID = "devices"

// listener is listeners.Net of mochi, but for its end: that asks Clients.GetByListener, which takes a read lock twice
// and stands still for ever when a client goes between the two (mochi-mqtt/server issue 488, v2.7.9).
type listener struct {
	net.Listener
	server *mqtt.Server
}

func (l *listener) ID() string              { return listenerID }
func (l *listener) Address() string         { return l.Addr().String() }
func (l *listener) Protocol() string        { return l.Addr().Network() }
func (l *listener) Init(*slog.Logger) error { return nil }

// Serve takes connections until the door is shut.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _ = establish(listenerID, c) }() // the fence tells what went wrong
	}
}

// Close says good-bye to all.
func (l *listener) Close(listeners.CloseFn) {
	for _, cl := range l.server.Clients.GetAll() {
		if cl.Net.Listener == listenerID && !cl.Closed() {
			_ = l.server.DisconnectClient(cl, packets.ErrServerShuttingDown)
		}
	}
	_ = l.Listener.Close()
}
