package live

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"minglu/drivers"
)

// refusal is an answer that a person at the page can act on.
type refusal struct {
	status int
	code   string
	zh, en string
}

func (e *refusal) Error() string { return "live: " + e.code + ": " + e.en }

// Header fields of an answer.
const (
	// HeaderSound tells where the sound comes from: "CHANNEL", "none", or "none; codec=aac" if there is
	// sound that WebRTC cannot carry.
	HeaderSound = "Minglu-Sound"
	// HeaderPicture tells of the pictures: "h264" or "h265"; "; profile=other" if the browser named
	// another profile than the stream has, "; order=reordered" if the stream has B-frames and only
	// keyframes are shown; "none".
	HeaderPicture = "Minglu-Picture"
)

// Handler serves WHEP below any path, with the last one or two elements CHANNEL and CHANNEL/VIEW:
//
//	OPTIONS CHANNEL       what is served
//	POST    CHANNEL       offer (application/sdp) → 201, Location, answer; ?sound=CHANNEL or none
//	DELETE  CHANNEL/VIEW  end
//
// It asks nobody whether the caller may look: mount it behind what does. Errors are JSON
// {"error":{code,zh,en}}. A request waits at most some seconds.
func (l *Live) Handler(prefix string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+prefix+"{channel}", l.answerTo(l.post))
	mux.HandleFunc("OPTIONS "+prefix+"{channel}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "OPTIONS, POST")
		w.Header().Set("Accept-Post", "application/sdp")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE "+prefix+"{channel}/{view}", l.answerTo(l.remove))
	// No trickle: the answer names all addresses, and the viewer's are learned from its own requests.
	mux.HandleFunc("PATCH "+prefix+"{channel}/{view}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "DELETE")
		fail(w, &refusal{http.StatusMethodNotAllowed, "no-trickle", "不支持补充地址。", "Addresses are not added later."})
	})
	mux.HandleFunc(prefix, func(w http.ResponseWriter, _ *http.Request) {
		fail(w, &refusal{http.StatusNotFound, "not-found", "没有此实时画面。", "There is no such live picture."})
	})
	return mux
}

func (l *Live) answerTo(do func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := do(w, r); err != nil {
			l.o.Log.Debug("no view", "path", r.URL.Path, "err", err)
			fail(w, err)
		}
	}
}

func fail(w http.ResponseWriter, err error) {
	var e *refusal
	if !errors.As(err, &e) {
		e = &refusal{http.StatusInternalServerError, "internal", "实时画面出错，录制不受影响。请重试。", "The live view failed; recording is not touched. Try again."}
	}
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": e.code, "zh": e.zh, "en": e.en}}) // a client that left needs no answer
}

func (l *Live) remove(w http.ResponseWriter, r *http.Request) error {
	l.mu.Lock()
	v := l.viewers[r.PathValue("view")]
	l.mu.Unlock()
	if v == nil || v.channel != r.PathValue("channel") {
		return &refusal{http.StatusNotFound, "not-found", "该观看已结束。", "This view has ended already."}
	}
	v.end(errLeft)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (l *Live) post(w http.ResponseWriter, r *http.Request) error {
	ch := l.channel(r.PathValue("channel"))
	if ch == nil {
		return &refusal{http.StatusNotFound, "channel", "没有此通道。", "There is no such channel."}
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/sdp" {
		return &refusal{http.StatusUnsupportedMediaType, "content-type", "请求内容必须是 SDP（Content-Type: application/sdp）。", "Send an SDP offer with Content-Type: application/sdp."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOfferBytes))
	if err != nil {
		return &refusal{http.StatusBadRequest, "body", "请求未完整到达，或过长。", "The offer did not arrive whole, or is too long."}
	}
	all, err := offers(string(body))
	if err != nil {
		return &refusal{http.StatusBadRequest, "offer", "无法理解浏览器的请求：" + err.Error(), "The browser's offer cannot be understood: " + err.Error()}
	}
	if no := l.closedNow(); no != nil {
		return no
	}
	v, err := l.admit(ch, r)
	if err != nil {
		return err
	}
	answer, err := v.agree(r, ch, all, string(body), w.Header())
	if err != nil {
		v.abandon()
		return err
	}
	w.Header().Set("Content-Type", "application/sdp")
	w.Header().Set("Location", strings.TrimSuffix(r.URL.Path, "/")+"/"+v.id)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer) // a client that left does not connect, and its view ends by itself
	return nil
}

// admit makes room for one more viewer.
func (l *Live) admit(ch *Channel, r *http.Request) (*viewer, error) {
	v := &viewer{l: l, id: strings.ToLower(rand.Text()), channel: ch.ID, who: l.o.Who(r), since: time.Now(), connected: make(chan struct{}), wake: make(chan struct{}, 1)}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		v.remote = a.Addr().Unmap()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	for _, o := range l.viewers {
		if o.channel == ch.ID {
			same++
		}
	}
	switch {
	case l.mux.Load() == nil || l.ended != nil:
		return nil, &refusal{http.StatusServiceUnavailable, "starting", "实时画面正在启动或停止，请稍候重试。", "The live view is starting or stopping. Try again soon."}
	case len(l.viewers) >= l.o.MaxAll || same >= l.o.MaxOfOne:
		return nil, &refusal{http.StatusServiceUnavailable, "too-many", "同时观看的人过多。请关闭其他页面后重试。", "Too many are watching. Close some pages and try again."}
	}
	v.ctx, v.end = context.WithCancelCause(context.Background())
	l.viewers[v.id] = v
	l.wg.Add(1)
	return v, nil
}

// forget makes room again.
func (l *Live) forget(v *viewer) {
	v.end(errLeft) // sets its context free
	l.mu.Lock()
	delete(l.viewers, v.id)
	l.mu.Unlock()
	l.wg.Done()
}

// abandon takes back what a request that failed had begun.
func (v *viewer) abandon() {
	for _, f := range v.feeds {
		v.l.unuse(f)
	}
	if v.pc != nil {
		v.l.closePeer(v.pc)
	}
	v.l.forget(v)
}

// feed uses the feed of a channel and waits until it is known what it delivers.
func (v *viewer) feed(ctx context.Context, ch string) (*feed, error) {
	f := v.l.use(ch)
	v.feeds = append(v.feeds, f)
	v.wants = append(v.wants, want{})
	ctx, cancel := context.WithTimeout(ctx, describeWithin)
	defer cancel()
	select {
	case <-f.known:
		return f, nil
	case <-v.ctx.Done():
	case <-ctx.Done():
	}
	return nil, &refusal{http.StatusServiceUnavailable, "no-signal", "通道 " + ch + " 没有信号。请检查设备，稍后自动重试。", "Channel " + ch + " has no signal. Check the device; it is tried again."}
}

// agree answers an offer and starts the viewer. On an error the caller abandons it.
func (v *viewer) agree(r *http.Request, ch *Channel, all []offered, offer string, h http.Header) (string, error) {
	f, err := v.feed(r.Context(), ch.ID)
	if err != nil {
		return "", err
	}
	k, reordered := f.what()
	from, sound, err := v.chooseSound(r, ch, k)
	if err != nil {
		return "", err
	}
	c := choose(all, k, sound)
	if c.video == nil && k.video != nil {
		return "", pictureRefused(k.video)
	}
	if c.video == nil && c.audio == nil {
		return "", soundRefused(k)
	}
	v.wants[0].video = c.video != nil
	if c.audio != nil {
		v.sound = from
		v.wants[len(v.wants)-1].sound = true
	}
	h.Set(HeaderPicture, pictureWord(k, &c, reordered))
	h.Set(HeaderSound, soundWord(k, v.sound))
	return v.connect(&c, offer)
}

// chooseSound finds where the sound comes from: what the request says, else the channel's own, else
// the microphone that goes with it.
func (v *viewer) chooseSound(r *http.Request, ch *Channel, own kind) (from string, f *drivers.Format, err error) {
	asked := r.URL.Query().Get("sound")
	switch {
	case asked == "none":
		return "", nil, nil
	case asked == "" && own.sound != nil, asked == ch.ID:
		return ch.ID, own.sound, nil
	case asked == "" && ch.Sound == "":
		return "", nil, nil
	}
	from = asked
	if asked == "" {
		from = ch.Sound
	}
	if v.l.channel(from) == nil {
		return "", nil, &refusal{http.StatusNotFound, "channel", "没有此声音通道。", "There is no such channel for the sound."}
	}
	other, err := v.feed(r.Context(), from)
	if err != nil && asked == "" { // pictures without sound are better than none
		v.l.unuse(v.feeds[1])
		v.feeds, v.wants = v.feeds[:1], v.wants[:1]
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	k, _ := other.what()
	return from, k.sound, nil
}

func pictureRefused(f *drivers.Format) error {
	if f.Codec == drivers.H265 {
		return &refusal{http.StatusNotAcceptable, "h265", "此摄像机使用 H.265，当前浏览器不支持实时播放。请将摄像机子码流设为 H.264，或换用支持 H.265 的浏览器。",
			"This camera sends H.265, which this browser cannot show live. Set a stream of the camera to H.264, or use a browser with H.265."}
	}
	return &refusal{http.StatusNotAcceptable, "h264", "当前浏览器不支持 H.264 实时播放。请换用其他浏览器。", "This browser cannot show H.264 live. Use another browser."}
}

func soundRefused(k kind) error {
	if k.other != "" && k.sound == nil {
		return &refusal{http.StatusNotAcceptable, string(k.other), "此通道的声音编码（" + string(k.other) + "）无法在浏览器中实时播放。录制不受影响。",
			"The sound of this channel (" + string(k.other) + ") cannot be played live in a browser. Recording is not touched."}
	}
	return &refusal{http.StatusNotAcceptable, "nothing", "此通道没有可实时播放的内容。", "This channel has nothing that can be played live."}
}

func pictureWord(k kind, c *choice, reordered bool) string {
	if k.video == nil {
		return "none"
	}
	w := string(k.video.Codec)
	if !c.exact {
		w += "; profile=other"
	}
	if reordered {
		w += "; order=reordered"
	}
	return w
}

func soundWord(k kind, from string) string {
	switch {
	case from != "":
		return from
	case k.other != "":
		return "none; codec=" + string(k.other)
	}
	return "none"
}

// connect answers the offer and starts the viewer.
func (v *viewer) connect(c *choice, offer string) (string, error) {
	pc, err := v.l.newPeer(c)
	if err != nil {
		return "", err
	}
	v.pc = pc
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			v.once.Do(func() { close(v.connected) })
		case webrtc.PeerConnectionStateFailed:
			v.end(errLost)
		case webrtc.PeerConnectionStateClosed:
			v.end(errLeft)
		}
	})
	var senders []*webrtc.RTPSender
	for _, t := range []struct {
		to    **track
		codec *webrtc.RTPCodecParameters
		kind  webrtc.RTPCodecType
	}{{&v.video, c.video, webrtc.RTPCodecTypeVideo}, {&v.audio, c.audio, webrtc.RTPCodecTypeAudio}} {
		if t.codec == nil {
			continue
		}
		*t.to = &track{codec: *t.codec, kind: t.kind}
		s, err := pc.AddTrack(*t.to)
		if err != nil {
			return "", err
		}
		senders = append(senders, s)
	}
	bad := func(err error) error {
		return &refusal{http.StatusBadRequest, "offer", "无法与浏览器协商：" + err.Error(), "The browser's offer cannot be answered: " + err.Error()}
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", bad(err)
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", bad(err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", bad(err)
	}
	select {
	case <-gathered:
	case <-v.ctx.Done():
		return "", context.Cause(v.ctx)
	}
	for _, s := range senders {
		go v.listen(s)
	}
	go v.run()
	return pc.LocalDescription().SDP, nil
}
