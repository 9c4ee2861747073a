package live

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"golang.org/x/sys/cpu"
)

func newCertificate() (webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return webrtc.Certificate{}, err
	}
	c, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return webrtc.Certificate{}, err
	}
	return *c, nil
}

// socket is the one UDP socket of all viewers.
type socket struct {
	*ice.UDPMuxDefault
	conn *net.UDPConn
	addr netip.AddrPort
}

// listen opens address, or a port after it up to portMax.
func listen(address string, portMax int) (*socket, error) {
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("live: listen %q: %w: give an address and a port as live.listen", address, err)
	}
	network := "udp4" // an unspecified address is IPv4: rooms are, and one family halves what must be tried
	if a.IP != nil && a.IP.To4() == nil {
		network = "udp6"
	}
	var c *net.UDPConn
	for p := a.Port; ; p++ {
		c, err = net.ListenUDP(network, &net.UDPAddr{IP: a.IP, Port: p, Zone: a.Zone})
		if err == nil {
			break
		}
		if a.Port == 0 || p >= portMax {
			return nil, fmt.Errorf("live: listen %q: %w: is another program there? change live.listen", address, err)
		}
	}
	_ = c.SetWriteBuffer(socketBufferBytes) // what the kernel gives is enough for few viewers
	_ = c.SetReadBuffer(socketBufferBytes)
	m := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: c, Logger: quiet{}})
	return &socket{UDPMuxDefault: m, conn: c, addr: c.LocalAddr().(*net.UDPAddr).AddrPort()}, nil
}

func (s *socket) close() {
	_ = s.Close()
	_ = s.conn.Close()
}

// GetListenAddresses names the addresses the board has now: networks come and go while the socket stays.
func (s *socket) GetListenAddresses() []net.Addr {
	if !s.addr.Addr().IsUnspecified() {
		return []net.Addr{net.UDPAddrFromAddrPort(s.addr)}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []net.Addr
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLinkLocalUnicast() || (n.IP.To4() == nil) != s.addr.Addr().Is6() {
			continue
		}
		out = append(out, &net.UDPAddr{IP: n.IP, Port: int(s.addr.Port())})
	}
	return out
}

// srtpProfiles is the order in which encryption is agreed: GCM where the CPU has AES, else the one with
// SHA-1, which is cheaper in software (RFC 5764 4.1.2, RFC 7714).
func srtpProfiles() []dtls.SRTPProtectionProfile {
	if cpu.X86.HasAES || cpu.ARM64.HasAES {
		return []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}
	}
	return []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AEAD_AES_128_GCM}
}

// newPeer makes a connection that carries exactly the codecs of c.
func (l *Live) newPeer(c *choice) (*webrtc.PeerConnection, error) {
	s := webrtc.SettingEngine{LoggerFactory: loggers{l.o.Log}}
	s.SetICEUDPMux(l.mux.Load())
	s.SetIncludeLoopbackCandidate(true)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	// Consent is asked for five times before it is missed (RFC 7675 5.1); failed counts from disconnected.
	s.SetICETimeouts(l.o.Silent*2/5, l.o.Silent*3/5, l.o.Silent/5)
	s.SetSRTPProtectionProfiles(srtpProfiles()...)
	// Only a server chooses the profile: browsers would take SHA-1 from any list.
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		return nil, err
	}
	var m webrtc.MediaEngine
	for kind, p := range map[webrtc.RTPCodecType]*webrtc.RTPCodecParameters{webrtc.RTPCodecTypeVideo: c.video, webrtc.RTPCodecTypeAudio: c.audio} {
		if p == nil {
			continue
		}
		if err := m.RegisterCodec(*p, kind); err != nil {
			return nil, err
		}
	}
	if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: playoutDelay}, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, err
	}
	// Payloads are shared and read-only, headers are made per packet: nothing needs a copy.
	resend, err := nack.NewResponderInterceptor(nack.ResponderSize(nackPackets), nack.DisableCopy())
	if err != nil {
		return nil, err
	}
	var r interceptor.Registry
	r.Add(resend)
	api := webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(&m), webrtc.WithInterceptorRegistry(&r))
	return api.NewPeerConnection(webrtc.Configuration{Certificates: []webrtc.Certificate{l.cert}})
}

// closePeer closes a connection, with its goroutines, within Options.Close or counts it.
func (l *Live) closePeer(pc *webrtc.PeerConnection) {
	done := make(chan error, 1)
	go func() { done <- pc.GracefulClose() }()
	t := time.NewTimer(l.o.Close)
	defer t.Stop()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, net.ErrClosed) {
			l.o.Log.Debug("closing a view", "err", err)
		}
	case <-t.C:
		l.o.Log.Warn("a view does not close", "stuck", l.stuck.Add(1))
	}
}

// loggers lets pion speak through slog: what it calls an error is the network of one viewer.
type loggers struct{ log *slog.Logger }

func (l loggers) NewLogger(scope string) logging.LeveledLogger {
	return quiet{l.log.With("pion", scope)}
}

type quiet struct{ log *slog.Logger }

func (q quiet) say(s string) {
	if q.log != nil {
		q.log.Debug(s)
	}
}

func (q quiet) Trace(string)              {}
func (q quiet) Tracef(string, ...any)     {}
func (q quiet) Debug(string)              {}
func (q quiet) Debugf(string, ...any)     {}
func (q quiet) Info(string)               {}
func (q quiet) Infof(string, ...any)      {}
func (q quiet) Warn(s string)             { q.say(s) }
func (q quiet) Warnf(s string, a ...any)  { q.say(fmt.Sprintf(s, a...)) }
func (q quiet) Error(s string)            { q.say(s) }
func (q quiet) Errorf(s string, a ...any) { q.say(fmt.Sprintf(s, a...)) }
