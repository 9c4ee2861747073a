package rtsp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"

	"minglu/drivers"
)

// Some cameras take the login in the path or query, as ".../user=admin&password=x&channel=1".
var inPath = regexp.MustCompile(`(?i)((?:pass(?:word|wd)?|pwd|token|auth|secret|key)=)([^&;/?#]*)`)

// Redacted returns a camera's address without user, password and what looks like a password in its
// path. It works on malformed addresses too, and then rather hides too much.
func Redacted(rawURL string) string {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		scheme, rest = "", rawURL
	} else {
		scheme += "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "***@" + rest[i+1:]
	}
	return scheme + inPath.ReplaceAllString(rest, "${1}***")
}

// secrets are strings that must not leave the package.
type secrets []string

func secretsOf(raw string, u *base.URL) secrets {
	var s secrets
	if u.User != nil {
		user := u.User.Username()
		if pass, ok := u.User.Password(); ok && pass != "" {
			s = append(s, base64.StdEncoding.EncodeToString([]byte(user+":"+pass)), u.User.String(),
				user+":"+pass, pass, url.QueryEscape(pass), url.PathEscape(pass))
		}
	}
	for _, m := range inPath.FindAllStringSubmatch(raw, -1) {
		if m[2] != "" {
			s = append(s, m[2])
		}
	}
	slices.SortFunc(s, func(a, b string) int { return len(b) - len(a) }) // the longest first
	return s
}

// clean hides the secrets in text that came from outside.
func (s secrets) clean(text string) string {
	for _, x := range s {
		text = strings.ReplaceAll(text, x, "***")
	}
	return text
}

// err returns err, or its cleaned text alone if it would show a secret.
func (s secrets) err(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); s.clean(text) != text {
		return errors.New(s.clean(text))
	}
	return err
}

// printable keeps what may stand in one line of a log: a camera chooses these bytes.
func (s secrets) printable(text string, limit int) string {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s.clean(text), "")))
	if r := []rune(text); len(r) > limit {
		text = string(r[:limit])
	}
	return text
}

// problem says what a failed connection means to the person in the room.
func (s *Source) problem(err error) error {
	var p *drivers.Problem
	if errors.As(err, &p) {
		return p
	}
	host := s.url.Host
	cause := s.secrets.err(err) // err itself is only classified
	var bad liberrors.ErrClientBadStatusCode
	var auth liberrors.ErrClientAuthSetup
	switch {
	case errors.As(err, &auth), errors.As(err, &bad) && (bad.Code == base.StatusUnauthorized || bad.Code == base.StatusForbidden):
		if s.url.User == nil {
			return &drivers.Problem{Code: "credentials", Err: cause,
				Zh: fmt.Sprintf("摄像机 %s 要求登录：请在配置的地址中填写用户名和密码", host),
				En: fmt.Sprintf("camera %s wants a login: put user and password into its address in the configuration", host)}
		}
		return &drivers.Problem{Code: "credentials", Err: cause,
			Zh: fmt.Sprintf("摄像机 %s 拒绝了用户名或密码：请核对配置中的用户名和密码，以及该用户的取流权限", host),
			En: fmt.Sprintf("camera %s refused user or password: check them in the configuration, and that this user may watch", host)}
	case errors.As(err, &bad) && (bad.Code == base.StatusNotFound || bad.Code == base.StatusGone):
		return &drivers.Problem{Code: "not-found", Err: cause,
			Zh: fmt.Sprintf("摄像机 %s 上没有这一路码流：请核对配置中地址的路径 %s", host, s.shown),
			En: fmt.Sprintf("camera %s has no such stream: check the path of the address %s in the configuration", host, s.shown)}
	case unreachable(err):
		return &drivers.Problem{Code: "address", Err: cause,
			Zh: fmt.Sprintf("连不上摄像机 %s：请检查电源、网线，以及配置中的主机和端口", host),
			En: fmt.Sprintf("camera %s does not answer: check its power and cable, and host and port in the configuration", host)}
	}
	return &drivers.Problem{Code: "protocol", Err: cause,
		Zh: fmt.Sprintf("摄像机 %s 的回答不符合 RTSP：请核对地址，重启摄像机，并升级其固件", host),
		En: fmt.Sprintf("camera %s answered in a way RTSP does not allow: check the address, restart the camera, update its firmware", host)}
}

func (s *Source) silent() *drivers.Problem {
	return &drivers.Problem{Code: "address", Err: fmt.Errorf("no media for %v", s.silence),
		Zh: fmt.Sprintf("摄像机 %s 已连接但不再送来图像：请检查其电源和网线，必要时重启摄像机", s.url.Host),
		En: fmt.Sprintf("camera %s is connected but sends no media: check its power and cable, restart it if need be", s.url.Host)}
}

func (s *Source) noParameters() *drivers.Problem {
	return &drivers.Problem{Code: "protocol", Err: errors.New("no parameter sets in description or stream"),
		Zh: fmt.Sprintf("摄像机 %s 没有送来视频参数和关键帧：请在摄像机上缩短关键帧间隔，或重启摄像机", s.url.Host),
		En: fmt.Sprintf("camera %s sends no parameter sets with a keyframe: shorten its keyframe interval, or restart it", s.url.Host)}
}

func (s *Source) newStream(why string) *drivers.Problem {
	return &drivers.Problem{Code: "protocol", Err: errors.New(why),
		Zh: fmt.Sprintf("摄像机 %s 中途重新开始了码流：将重新连接；若反复出现，请检查摄像机的时钟设置并升级固件", s.url.Host),
		En: fmt.Sprintf("camera %s began its stream anew: connecting again; if it happens often, check the camera's clock settings and update its firmware", s.url.Host)}
}

func (s *Source) noCodec(offers []string) *drivers.Problem {
	what := s.secrets.printable(strings.Join(offers, ", "), 200)
	if what == "" {
		what = "-"
	}
	return &drivers.Problem{Code: "codec",
		Zh: fmt.Sprintf("摄像机 %s 没有可用的视频编码（它提供：%s）：请在摄像机上把视频编码设为 H.264 或 H.265", s.url.Host, what),
		En: fmt.Sprintf("camera %s offers no usable video codec (it offers: %s): set its video codec to H.264 or H.265", s.url.Host, what)}
}
