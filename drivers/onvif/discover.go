package onvif

import (
	"context"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Discovery says where to look.
type Discovery struct {
	Targets []string      // addresses asked, host:port; default: the group of WS-Discovery on every network
	Wait    time.Duration // for answers; default 3 s
}

// Found is a camera that answered.
type Found struct {
	ID      string // urn:uuid:…
	Service string // address of its device service, at the host that answered
	Host    string
	Name    string // as its owner called it; "" unknown
	Model   string // hardware
}

const (
	group        = "239.255.255.250:3702" // WS-Discovery 1.0, 2.4
	discoverWait = 3 * time.Second
	again        = 500 * time.Millisecond // UDP loses: the question is sent twice (2.4.1 allows for it)
	maxFound     = 256
	maxDatagram  = 64 << 10
)

const probe = `<?xml version="1.0" encoding="UTF-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><e:Header><w:MessageID>uuid:%s</w:MessageID><w:To e:mustUnderstand="true">urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To><w:Action e:mustUnderstand="true">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header><e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>`

// Discover asks who is there and lists who answers, by host. It takes Discovery.Wait. A network that cannot be asked
// is in the error, which does not make the list wrong.
func Discover(ctx context.Context, d Discovery) ([]Found, error) {
	if d.Wait == 0 {
		d.Wait = discoverWait
	}
	ctx, cancel := context.WithTimeout(ctx, d.Wait)
	defer cancel()
	var sockets []*net.UDPConn
	var errs error
	if len(d.Targets) == 0 {
		d.Targets = []string{group}
		sockets, errs = eachNetwork()
	} else {
		c, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return nil, fmt.Errorf("onvif: discover: %w", err)
		}
		sockets = []*net.UDPConn{c}
	}
	answers := make(chan []Found)
	for _, c := range sockets {
		go func() {
			defer c.Close()
			answers <- ask(ctx, c, d.Targets)
		}()
	}
	var list []Found
	for range sockets {
		for _, f := range <-answers {
			if len(list) < maxFound && !slices.ContainsFunc(list, func(g Found) bool { return g.ID == f.ID && g.Host == f.Host }) {
				list = append(list, f)
			}
		}
	}
	slices.SortFunc(list, func(a, b Found) int { return strings.Compare(a.Host+a.ID, b.Host+b.ID) })
	return list, errs
}

// eachNetwork opens a socket on each network that takes multicast.
func eachNetwork() (list []*net.UDPConn, errs error) {
	networks, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("onvif: discover: %w", err)
	}
	for _, n := range networks {
		if n.Flags&net.FlagUp == 0 || n.Flags&net.FlagMulticast == 0 {
			continue
		}
		addrs, err := n.Addrs()
		errs = errors.Join(errs, err)
		for _, a := range addrs {
			ip, ok := a.(*net.IPNet)
			if !ok || ip.IP.To4() == nil {
				continue
			}
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip.IP})
			if err == nil {
				if err = leaveBy(c, ip.IP.To4()); err != nil {
					c.Close()
				}
			}
			if err != nil {
				errs = errors.Join(errs, fmt.Errorf("onvif: discover: %s: %w", n.Name, err))
				continue
			}
			list = append(list, c)
		}
	}
	return list, errs
}

// leaveBy lets multicast leave by the network of an address.
func leaveBy(c *net.UDPConn, ip net.IP) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	if err := raw.Control(func(fd uintptr) {
		e = syscall.SetsockoptInet4Addr(int(fd), syscall.IPPROTO_IP, syscall.IP_MULTICAST_IF, [4]byte(ip))
	}); err != nil {
		return err
	}
	return e
}

// ask sends the question twice and collects answers until ctx ends.
func ask(ctx context.Context, c *net.UDPConn, targets []string) (list []Found) {
	id := messageID()
	send := func() {
		for _, t := range targets {
			if to, err := net.ResolveUDPAddr("udp4", t); err == nil {
				_, _ = c.WriteToUDP(fmt.Appendf(nil, probe, id), to) // who does not get it does not answer
			}
		}
	}
	send()
	second := time.AfterFunc(again, send)
	defer second.Stop()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	defer stop()
	b := make([]byte, maxDatagram)
	for len(list) < maxFound {
		n, from, err := c.ReadFromUDP(b)
		if err != nil {
			return list
		}
		list = append(list, parseMatches(b[:n], from.IP, id)...)
	}
	return list
}

func messageID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // does not fail (Go 1.24)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// parseMatches reads one answer that came from a host. One to another's question is left out.
func parseMatches(b []byte, from net.IP, id string) (list []Found) {
	var a struct {
		RelatesTo string `xml:"Header>RelatesTo"`
		M         []struct {
			ID     string `xml:"EndpointReference>Address"`
			Types  string `xml:"Types"`
			Scopes string `xml:"Scopes"`
			XAddrs string `xml:"XAddrs"`
		} `xml:"Body>ProbeMatches>ProbeMatch"`
	}
	if xml.Unmarshal(b, &a) != nil || id != "" && !strings.HasSuffix(strings.TrimSpace(a.RelatesTo), id) {
		return nil
	}
	for _, m := range a.M[:min(len(a.M), maxFound)] {
		f := Found{ID: clip(strings.TrimSpace(m.ID)), Host: from.String()}
		for _, x := range strings.Fields(m.XAddrs) {
			u, err := url.Parse(x)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				continue
			}
			own, port := u.Hostname() == f.Host, u.Port()
			if u.Host, u.User = f.Host, nil; port != "" {
				u.Host = net.JoinHostPort(f.Host, port)
			}
			if f.Service == "" || own {
				f.Service = u.String()
			}
			if own {
				break
			}
		}
		for _, s := range strings.Fields(m.Scopes) {
			s, ok := strings.CutPrefix(s, "onvif://www.onvif.org/")
			if !ok {
				continue
			}
			key, value, _ := strings.Cut(s, "/")
			if v, err := url.PathUnescape(value); err == nil {
				value = v
			}
			switch strings.ToLower(key) {
			case "name":
				f.Name = clip(value)
			case "hardware":
				f.Model = clip(value)
			}
		}
		if f.Service != "" {
			list = append(list, f)
		}
	}
	return list
}
