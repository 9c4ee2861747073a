package onvif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"minglu/drivers"
)

// Identity is what a camera says of itself.
type Identity struct{ Maker, Model, Firmware, Serial string }

// Profile is one stream a camera offers.
type Profile struct {
	Token, Name   string
	Codec         string // "H264", "H265", "JPEG", "MPEG4", as the camera writes it
	Width, Height int
	FPS           int    // as limited, 0 unknown
	Kbps          int    // as limited, 0 unknown
	Sound         string // "G711", "AAC", "" none
}

// clockXML is tt:SystemDateTime; DateTime comes in UTC, in local time, or both.
type clockXML struct {
	Kind string   `xml:"DateTimeType"`
	Zone string   `xml:"TimeZone>TZ"`
	UTC  *dateXML `xml:"UTCDateTime"`
	Here *dateXML `xml:"LocalDateTime"`
}

type dateXML struct {
	Hour   int `xml:"Time>Hour"`
	Minute int `xml:"Time>Minute"`
	Second int `xml:"Time>Second"`
	Year   int `xml:"Date>Year"`
	Month  int `xml:"Date>Month"`
	Day    int `xml:"Date>Day"`
}

func (d *dateXML) time() time.Time {
	return time.Date(d.Year, time.Month(d.Month), d.Day, d.Hour, d.Minute, d.Second, 0, time.UTC)
}

// Clock is a camera's clock.
type Clock struct {
	Time    time.Time     // as the camera says, whole seconds
	Ahead   time.Duration // of ours, as of the middle of the question; known to a second and half the answer's delay
	FromNTP bool          // the camera takes its time from somewhere
}

// Clock asks for the time. It needs no password.
func (c *Camera) Clock(ctx context.Context) (Clock, error) {
	var a struct {
		S *clockXML `xml:"Body>GetSystemDateAndTimeResponse>SystemDateAndTime"`
	}
	began := c.o.Now()
	if err := c.call(ctx, c.service.Path, `<tds:GetSystemDateAndTime/>`, &a, true); err != nil {
		return Clock{}, err
	}
	middle := began.Add(c.o.Now().Sub(began) / 2)
	if a.S == nil {
		return Clock{}, c.problem("protocol", "摄像机 %s 没有给出时间", "the camera %s tells no time", errors.New("no SystemDateAndTime"))
	}
	d := a.S.UTC
	if d == nil || d.Year == 0 { // 8.3.2.5: UTC is optional; local time without its zone is a guess nobody should make
		return Clock{}, c.problem("protocol", "摄像机 %s 没有给出 UTC 时间；请升级固件", "the camera %s does not tell UTC: its firmware is to be renewed", errors.New("no UTCDateTime"))
	}
	t := d.time()
	return Clock{Time: t, Ahead: t.Sub(middle), FromNTP: a.S.Kind == "NTP"}, nil
}

// begin asks once for what all further questions need: the camera's clock and where its media service is.
func (c *Camera) begin(ctx context.Context) error {
	c.mu.Lock()
	asked := c.asked
	c.mu.Unlock()
	if asked {
		return nil
	}
	clock, err := c.Clock(ctx)
	if p := (*drivers.Problem)(nil); errors.As(err, &p) && p.Code == "address" {
		return err
	} // one that hides its clock may take our own time
	c.mu.Lock()
	c.offset = clock.Ahead
	c.mu.Unlock()
	var a struct {
		Media string `xml:"Body>GetCapabilitiesResponse>Capabilities>Media>XAddr"`
	}
	if err := c.call(ctx, c.service.Path, `<tds:GetCapabilities><tds:Category>All</tds:Category></tds:GetCapabilities>`, &a, false); err != nil {
		return err
	}
	path := c.service.Path
	if u, err := url.Parse(a.Media); err == nil && u.Path != "" {
		path = u.RequestURI()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.media = true, path
	return nil
}

// Identity asks who it is.
func (c *Camera) Identity(ctx context.Context) (Identity, error) {
	if err := c.begin(ctx); err != nil {
		return Identity{}, err
	}
	var a struct {
		Maker    string `xml:"Body>GetDeviceInformationResponse>Manufacturer"`
		Model    string `xml:"Body>GetDeviceInformationResponse>Model"`
		Firmware string `xml:"Body>GetDeviceInformationResponse>FirmwareVersion"`
		Serial   string `xml:"Body>GetDeviceInformationResponse>SerialNumber"`
	}
	err := c.call(ctx, c.service.Path, `<tds:GetDeviceInformation/>`, &a, false)
	return Identity{clip(a.Maker), clip(a.Model), clip(a.Firmware), clip(a.Serial)}, err
}

// Profiles lists the streams, the camera's main one first.
func (c *Camera) Profiles(ctx context.Context) ([]Profile, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	var a struct {
		P []struct {
			Token string `xml:"token,attr"`
			Name  string `xml:"Name"`
			Video struct {
				Codec  string `xml:"Encoding"`
				Width  int    `xml:"Resolution>Width"`
				Height int    `xml:"Resolution>Height"`
				FPS    int    `xml:"RateControl>FrameRateLimit"`
				Kbps   int    `xml:"RateControl>BitrateLimit"`
			} `xml:"VideoEncoderConfiguration"`
			Sound string `xml:"AudioEncoderConfiguration>Encoding"`
		} `xml:"Body>GetProfilesResponse>Profiles"`
	}
	if err := c.call(ctx, c.mediaPath(), `<trt:GetProfiles/>`, &a, false); err != nil {
		return nil, err
	}
	var list []Profile
	for _, p := range a.P[:min(len(a.P), maxProfiles)] {
		if p.Token == "" {
			continue
		}
		list = append(list, Profile{Token: p.Token, Name: clip(p.Name), Codec: clip(p.Video.Codec), Width: p.Video.Width, Height: p.Video.Height, FPS: p.Video.FPS, Kbps: p.Video.Kbps, Sound: clip(p.Sound)})
	}
	if len(list) == 0 {
		return nil, c.problem("not-found", "摄像机 %s 没有可用的码流；请查看其编码设置", "the camera %s offers no stream: see its encoder settings", errors.New("no profile"))
	}
	return list, nil
}

func (c *Camera) mediaPath() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.media
}

// Stream returns the RTSP address of a profile, without user and password, at the host that was reached.
func (c *Camera) Stream(ctx context.Context, token string) (string, error) {
	u, err := c.uri(ctx, `<trt:GetStreamUri><trt:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP</tt:Protocol></tt:Transport></trt:StreamSetup><trt:ProfileToken>`+escape(token)+`</trt:ProfileToken></trt:GetStreamUri>`)
	if err != nil {
		return "", err
	}
	if u.Scheme != "rtsp" && u.Scheme != "rtsps" {
		return "", c.problem("protocol", "摄像机 %s 给出的码流地址不是 RTSP", "the stream's address of the camera %s is not RTSP", fmt.Errorf("scheme %q", clip(u.Scheme)))
	}
	if port := u.Port(); port != "" {
		u.Host = net.JoinHostPort(c.Host(), port)
	} else if u.Host = c.Host(); net.ParseIP(u.Host) != nil && net.ParseIP(u.Host).To4() == nil {
		u.Host = "[" + u.Host + "]"
	}
	u.User = nil
	return u.String(), nil
}

// Snapshot fetches a picture (JPEG) of a profile, at most 8 MiB: for looking at, never for recording.
func (c *Camera) Snapshot(ctx context.Context, token string) ([]byte, error) {
	u, err := c.uri(ctx, `<trt:GetSnapshotUri><trt:ProfileToken>`+escape(token)+`</trt:ProfileToken></trt:GetSnapshotUri>`)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Wait)
	defer cancel()
	at := c.at(u.RequestURI())
	if port := u.Port(); port != "" && (u.Scheme == "http" || u.Scheme == "https") {
		at.Scheme, at.Host = u.Scheme, net.JoinHostPort(c.Host(), port)
	}
	status, b, err := c.fetch(ctx, http.MethodGet, at, nil, maxPicture)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusUnauthorized:
		return nil, c.problem("credentials", "摄像机 %s 不给看画面；请核对其用户的权限", "the camera %s gives no picture: check the rights of its user", nil)
	case status != http.StatusOK || len(b) < 4 || b[0] != 0xFF || b[1] != 0xD8:
		return nil, c.problem("protocol", "摄像机 %s 没有给出 JPEG 画面", "what the camera %s gives is no JPEG picture", fmt.Errorf("HTTP status %d, %d bytes", status, len(b)))
	}
	return b, nil
}

func (c *Camera) uri(ctx context.Context, body string) (*url.URL, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	var a struct {
		Stream   string `xml:"Body>GetStreamUriResponse>MediaUri>Uri"`
		Snapshot string `xml:"Body>GetSnapshotUriResponse>MediaUri>Uri"`
	}
	if err := c.call(ctx, c.mediaPath(), body, &a, false); err != nil {
		return nil, err
	}
	u, err := url.Parse(a.Stream + a.Snapshot) // one of them
	if err != nil || u.Host == "" && u.Path == "" {
		return nil, c.problem("not-found", "摄像机 %s 没有给出地址；请查看其 ONVIF 设置", "the camera %s gives no address: see its ONVIF settings", errors.New("no Uri"))
	}
	return u, nil
}

// Synchronize asks for a keyframe now. Not every camera can: that is no fault of the recording.
func (c *Camera) Synchronize(ctx context.Context, token string) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	return c.call(ctx, c.mediaPath(), `<trt:SetSynchronizationPoint><trt:ProfileToken>`+escape(token)+`</trt:ProfileToken></trt:SetSynchronizationPoint>`, &struct{}{}, false)
}

// SetClock sets the clock by hand, in UTC. It keeps the camera's time zone.
func (c *Camera) SetClock(ctx context.Context, t time.Time) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	t = t.UTC().Round(time.Second)
	body := fmt.Sprintf(`<tds:SetSystemDateAndTime><tds:DateTimeType>Manual</tds:DateTimeType><tds:DaylightSavings>false</tds:DaylightSavings><tds:UTCDateTime><tt:Time><tt:Hour>%d</tt:Hour><tt:Minute>%d</tt:Minute><tt:Second>%d</tt:Second></tt:Time><tt:Date><tt:Year>%d</tt:Year><tt:Month>%d</tt:Month><tt:Day>%d</tt:Day></tt:Date></tds:UTCDateTime></tds:SetSystemDateAndTime>`,
		t.Hour(), t.Minute(), t.Second(), t.Year(), t.Month(), t.Day())
	err := c.call(ctx, c.service.Path, body, &struct{}{}, false)
	c.forget()
	return err
}

// SetNTP lets the camera take its time from a host: the board's address in the cameras' network.
func (c *Camera) SetNTP(ctx context.Context, host string) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	manual := `<tt:Type>DNS</tt:Type><tt:DNSname>` + escape(host) + `</tt:DNSname>`
	if ip := net.ParseIP(host); ip != nil && ip.To4() != nil {
		manual = `<tt:Type>IPv4</tt:Type><tt:IPv4Address>` + host + `</tt:IPv4Address>`
	} else if ip != nil {
		manual = `<tt:Type>IPv6</tt:Type><tt:IPv6Address>` + escape(host) + `</tt:IPv6Address>`
	}
	if err := c.call(ctx, c.service.Path, `<tds:SetNTP><tds:FromDHCP>false</tds:FromDHCP><tds:NTPManual>`+manual+`</tds:NTPManual></tds:SetNTP>`, &struct{}{}, false); err != nil {
		return err
	}
	err := c.call(ctx, c.service.Path, `<tds:SetSystemDateAndTime><tds:DateTimeType>NTP</tds:DateTimeType><tds:DaylightSavings>false</tds:DaylightSavings></tds:SetSystemDateAndTime>`, &struct{}{}, false)
	c.forget()
	return err
}

// forget lets the camera's clock be asked again: it has just been changed.
func (c *Camera) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = false
}
