package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/drivers"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// State looks at the state folder.
func State(dir string, running bool) []Finding {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{note("state", "", text("状态文件夹尚未建立："+dir, "The state folder is not there yet: "+dir), text("首次启动时自动建立", "It is made at the first start"))}
	case err != nil || !info.IsDir():
		return []Finding{bad("state", "", text(fmt.Sprintf("状态文件夹 %s 不可用：%v", dir, err), fmt.Sprintf("The state folder %s cannot be used: %v", dir, err)), text("请检查路径和权限", "Check path and rights"))}
	case info.Mode().Perm()&0o077 != 0:
		return []Finding{note("state", "", text(fmt.Sprintf("状态文件夹 %s 可被他人读取（%#o）", dir, info.Mode().Perm()), fmt.Sprintf("The state folder %s may be read by others (%#o)", dir, info.Mode().Perm())), text("请执行 chmod 700", "chmod 700 it"))}
	}
	if running {
		return []Finding{good("state", "", "代理正在运行；只做只读检查", "The agent is running: only what needs no writing is checked")}
	}
	return []Finding{good("state", "", "状态文件夹可用，代理没有运行", "The state folder is there, the agent is not running")}
}

// Identity looks at the certificate. Of one from an office [Enrolled] tells the end.
func Identity(cert *x509.Certificate, err error) []Finding {
	do := text("请从备份恢复状态文件夹；新密钥会使本机成为另一台设备", "Put the state folder back from a backup: a new key would make this another device")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{note("identity", "", text("还没有设备密钥", "There is no device key yet"), text("首次启动时自动生成", "It is made at the first start"))}
	case err != nil:
		return []Finding{bad("identity", "", text("设备密钥或证书不可用："+err.Error(), "The device's key or certificate cannot be used: "+err.Error()), do)}
	}
	d, err := evidence.CertDevice(cert)
	if err != nil {
		return []Finding{bad("identity", "", text("设备证书不合规："+err.Error(), "The device certificate is not as it must be: "+err.Error()), do)}
	}
	zh, en := "设备 "+cert.Subject.CommonName+"，编号 "+d, "Device "+cert.Subject.CommonName+", "+d
	if cert.Issuer.String() == cert.Subject.String() {
		zh, en = zh+"，证书自签", en+", certificate made by itself"
	}
	return []Finding{good("identity", "", zh, en)}
}

// KeyFits tells whether a key file is its owner's alone and holds the key of the certificate.
func KeyFits(name string, cert *x509.Certificate) error {
	info, err := os.Lstat(name)
	if err != nil {
		return fmt.Errorf("%s is not there: %v", name, err) // not wrapped: a certificate without its key is no new device
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s may be read by others (%s)", name, info.Mode())
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return fmt.Errorf("%s is damaged", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s is damaged", name) // err might quote bytes of the key
	}
	if k, ok := key.(*ecdsa.PrivateKey); !ok || !k.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("%s is not the key of the certificate beside it", name)
	}
	return nil
}

// Ledger reads the newest generation of the device ledger and checks its signature.
func Ledger(state string, cert *x509.Certificate) []Finding {
	dir := filepath.Join(state, "ledger")
	b, err := os.ReadFile(filepath.Join(dir, "current.json"))
	var current struct {
		Generation string `json:"generation"`
		Published  int64  `json:"published"`
	}
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{note("ledger", "", text("还没有设备台账", "There is no device ledger yet"), text("首次启动时自动建立", "It is begun at the first start"))}
	}
	broken := func(err error) []Finding {
		return []Finding{bad("ledger", "", text("设备台账不可用："+err.Error(), "The device ledger cannot be used: "+err.Error()),
			text("启动代理会另起新一代台账并报警；旧台账会保留，请查明原因", "Starting the agent begins a new generation and says so; the old one is kept: find out why"))}
	}
	if err == nil {
		err = evidence.UnmarshalCanonical(b, &current, false)
	}
	if err != nil {
		return broken(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, filepath.Base(current.Generation), "log.jsonl"))
	if err != nil {
		return broken(err)
	}
	d, err := evidence.CertDevice(cert)
	if err != nil {
		return broken(err)
	}
	pub, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return broken(errors.New("the certificate has no ECDSA key"))
	}
	dec, err := evidence.Decide(log, evidence.LedgerOrigin(d, current.Generation), pub)
	switch {
	case err != nil:
		return broken(err)
	case dec.Damaged >= 0:
		return broken(fmt.Errorf("line %d was altered after it was signed", dec.FirstBad))
	case dec.Size < current.Published:
		return broken(fmt.Errorf("%d lines are signed, %d were published", dec.Size, current.Published))
	case dec.End < int64(len(log)):
		return []Finding{note("ledger", "", text("设备台账末尾有断电留下的残行", "The device ledger has a torn end, as a power cut leaves it"), text("启动代理时自动处理", "The next start takes care of it"))}
	}
	return []Finding{good("ledger", "", fmt.Sprintf("设备台账完好，%d 行已签名", dec.Size), fmt.Sprintf("The device ledger is sound, %d lines signed", dec.Size))}
}

// Catalogue puts into words what the catalogue's own check said.
func Catalogue(err error) []Finding {
	switch {
	case err == nil:
		return []Finding{good("catalogue", "", "目录库完好", "The catalogue is sound")}
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{note("catalogue", "", text("还没有目录库", "There is no catalogue yet"), text("首次启动时自动建立", "It is made at the first start"))}
	}
	f := bad("catalogue", "", text("目录库损坏："+err.Error(), "The catalogue is damaged: "+err.Error()),
		text("录像不受影响；启动代理会自动重建，或运行 minglu-agent doctor --repair", "No recording is harmed; starting the agent builds it anew, or run minglu-agent doctor --repair"))
	f.Cure = true
	return []Finding{f}
}

// Clock says what the wall clock is worth. floor is a time that has certainly passed.
func Clock(r clock.Reading, floor time.Time) []Finding {
	do := text("请检查校时服务（NTP）和 RTC 电池", "Check the time service (NTP) and the RTC battery")
	switch {
	case r.T.Before(floor):
		return []Finding{bad("clock", "", text("时钟 "+r.T.Format(time.DateTime)+" 早于已知的时间", "The clock says "+r.T.Format(time.DateTime)+", which has passed long ago"), do)}
	case r.Error < 0:
		return []Finding{note("clock", "", text("时钟未经校准", "Nothing vouches for the clock"), do)}
	case r.Error > time.Second:
		return []Finding{note("clock", "", text("时钟误差可达 "+r.Error.Round(time.Millisecond).String(), "The clock may be wrong by "+r.Error.Round(time.Millisecond).String()), do)}
	}
	return []Finding{good("clock", "", "时钟已校准（"+r.Source+"，误差 "+r.Error.Round(time.Microsecond).String()+"）", "The clock is right ("+r.Source+", within "+r.Error.Round(time.Microsecond).String()+")")}
}

// Port looks whether an address can be listened on.
func Port(addr string) []Finding {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return []Finding{bad("web.port", addr, text("页面地址 "+addr+" 不能监听："+err.Error(), "The pages' address "+addr+" cannot be listened on: "+err.Error()),
			text("请停止占用该端口的程序，或更改 web.listen", "Stop what uses the port, or change web.listen"))}
	}
	l.Close()
	return []Finding{good("web.port", addr, "页面地址 "+addr+" 可用", "The pages' address "+addr+" is free")}
}

// listening is how long a channel is listened to once it delivers.
const listening = 2 * time.Second

// Channel connects to a camera or microphone and says what it sends. measured gets the bit/s of all its tracks,
// if it delivers.
func Channel(ctx context.Context, id string, src drivers.Source, measured func(rate int64)) []Finding {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	k := &ear{bytes: map[int]int64{}, count: map[int]int64{}, first: map[int]int64{}, last: map[int]int64{}}
	k.enough = func() { time.AfterFunc(listening, stop) }
	err := src.Run(ctx, k)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.d.Formats) == 0 || len(k.count) == 0 {
		do := text("请检查电源、网线和 agent.yaml 中的地址", "Check its power, its cable, and the address in agent.yaml")
		zh, en := "通道 "+id+" 没有送来画面或声音", "Channel "+id+" delivers nothing"
		if p := (*drivers.Problem)(nil); errors.As(err, &p) {
			return []Finding{bad("channel", id, text(zh, en), text(p.Zh, p.En))}
		}
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			zh, en = zh+"："+err.Error(), en+": "+err.Error()
		}
		return []Finding{bad("channel", id, text(zh, en), do)}
	}
	var what string
	var rate float64
	for i, f := range k.d.Formats {
		if i > 0 {
			what += ", "
		}
		secs := max(float64(k.last[i]-k.first[i])/float64(max(f.ClockHz, 1)), 1e-3) // by the source's own clock
		what += string(f.Codec)
		if f.Codec.Video() {
			what += fmt.Sprintf(" %d×%d %.0f/s", f.Width, f.Height, float64(k.count[i]-1)/secs)
		}
		bps := float64(k.bytes[i]) * 8 / secs
		what, rate = what+fmt.Sprintf(" %.2f Mbit/s", bps/1e6), rate+bps
	}
	measured(int64(rate))
	return []Finding{good("channel", id, "通道 "+id+"："+what, "Channel "+id+": "+what)}
}

// ear listens to a source.
type ear struct {
	enough func()

	mu          sync.Mutex // guards what follows
	d           drivers.Description
	bytes       map[int]int64 // by track, as all that follows
	count       map[int]int64
	first, last map[int]int64 // DTS
}

func (k *ear) Open(d drivers.Description) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.d = d
}

func (k *ear) Sample(s drivers.Sample) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.count) == 0 {
		k.enough()
	}
	if k.count[s.Track] == 0 {
		k.first[s.Track] = s.DTS
	}
	k.last[s.Track] = s.DTS
	k.bytes[s.Track] += int64(len(s.Data))
	k.count[s.Track]++
}

func (*ear) SenderReport(drivers.SenderReport) {}
func (*ear) Lost(int, int, string)             {}
