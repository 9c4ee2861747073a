package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"minglu/agent/report"
)

// Enrolment is where a device is enrolled.
type Enrolment struct {
	API     string // host:port of the office's device API
	Name    string // of the certificates
	RenewAt time.Time
	EndsAt  time.Time
}

// Enrolled looks at the enrolment and at the end of its certificates. e is nil without one; needed says that
// there is an office that takes nothing from a device that is not enrolled.
func Enrolled(e *Enrolment, err error, device string, needed bool, now time.Time) []Finding {
	known := func(level Level, code string) []Finding {
		f := report.Find(code)
		return []Finding{{Check: "identity.enrolled", Level: level, Text: f.Text, Do: f.Do}}
	}
	switch {
	case err != nil:
		return []Finding{bad("identity.enrolled", "", text("登记不可用："+err.Error(), "The enrolment cannot be used: "+err.Error()), text("请从备份恢复，或重新登记", "Put it back from a backup, or enrol again"))}
	case e == nil && needed:
		return known(Note, "identity.notenrolled")
	case e == nil:
		return []Finding{note("identity.enrolled", "", text("本机未登记：无人为其证书担保（0 级）", "The device is not enrolled: nobody vouches for its certificate (grade 0)"),
			text("有管理端的，请在管理端运行 minglu-provisioning enrol code，再在本机运行 minglu-agent enrol", "With an office: run minglu-provisioning enrol code there, then minglu-agent enrol here"))}
	case e.Name != device:
		return known(Bad, "identity.misnamed")
	case !now.Before(e.EndsAt):
		return known(Bad, "identity.expired")
	}
	ends, renew := e.EndsAt.Format(time.DateOnly), e.RenewAt.Format(time.DateOnly)
	if !now.Before(e.RenewAt) {
		return []Finding{note("identity.enrolled", "", text("证书有效至 "+ends+"，自 "+renew+" 起应已续期", "The certificates end on "+ends+" and should have been renewed since "+renew),
			text("请启动 minglu-agent run，并检查到管理端 "+e.API+" 的网络：录制程序运行时自动续期", "Start minglu-agent run and check the network to the office at "+e.API+": they are renewed while it runs"))}
	}
	return []Finding{good("identity.enrolled", "", "已在 "+e.API+" 登记，证书有效至 "+ends+"，自 "+renew+" 起自动续期", "Enrolled at "+e.API+", certificates until "+ends+", renewed by itself from "+renew+" on")}
}

// Standing says what the office's device API answered about the device's certificate.
func Standing(api string, st report.Standing, err error) []Finding {
	if err != nil {
		return []Finding{note("office.api", api, text("管理端设备接口 "+api+" 没有应答："+err.Error(), "The office's device API at "+api+" does not answer: "+err.Error()),
			text("录制不受影响；请检查网络和地址，证书在此续期", "Recording is not affected; check network and address: the certificates are renewed there"))}
	}
	code := map[string]string{report.StandingUnknown: "identity.notenrolled", report.StandingRevoked: "identity.revoked", report.StandingExpired: "identity.expired", report.StandingMisnamed: "identity.misnamed"}[st.State]
	switch {
	case st.State == report.StandingGood:
		return []Finding{good("office.api", api, "管理端 "+api+" 认可本机证书", "The office at "+api+" accepts this device's certificate")}
	case code == "":
		return []Finding{bad("office.api", api, text("管理端 "+api+" 的答复无法理解："+st.State, "The office at "+api+" answers what is not known here: "+st.State), text("请更新软件", "Update the software"))}
	}
	f := report.Find(code)
	return []Finding{bad("office.api", api, f.Text, f.Do)}
}

// Office looks whether the office's broker answers. conf is nil without TLS.
func Office(ctx context.Context, addr string, conf *tls.Config) []Finding {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err == nil && conf != nil {
		s := tls.Client(c, conf)
		err = s.HandshakeContext(ctx)
		if e := (*tls.CertificateVerificationError)(nil); errors.As(err, &e) {
			err = e.Err
		}
		if err != nil && !errors.As(err, new(net.Error)) {
			c.Close()
			return []Finding{bad("office", addr, text("监管端 "+addr+" 的证书不受信任："+err.Error(), "The office's certificate at "+addr+" is not trusted: "+err.Error()),
				text("请核对地址和 mqtt.ca", "Check the address and mqtt.ca"))}
		}
	}
	if c != nil {
		defer c.Close()
	}
	if err != nil {
		return []Finding{note("office", addr, text("监管端 "+addr+" 没有应答："+err.Error(), "The office at "+addr+" does not answer: "+err.Error()),
			text("录制不受影响；请检查网络和地址", "Recording is not affected; check network and address"))}
	}
	return []Finding{good("office", addr, "监管端 "+addr+" 可达", "The office at "+addr+" answers")}
}
