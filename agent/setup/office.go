package setup

import "strings"

func (i *Interview) askListen() *Question {
	return &Question{Key: "listen", Ask: Text{"页面地址：127.0.0.1:8080 只在本机屏幕；0.0.0.0:8443 也给网络上的人（TLS 证书自动生成）", "address of the pages: 127.0.0.1:8080 for this screen alone, 0.0.0.0:8443 for the network too (a TLS certificate is made)"}, Default: "127.0.0.1:8080"}
}

func (i *Interview) setListen(s string) error {
	if !hostForm.MatchString(s) {
		return wrong("应形如 127.0.0.1:8080", "it looks like 127.0.0.1:8080")
	}
	i.A.Listen = s
	i.next()
	return nil
}

// Local reports whether the pages are for this machine alone.
func (a *Answers) Local() bool {
	return strings.HasPrefix(a.Listen, "127.") || strings.HasPrefix(a.Listen, "localhost:") || strings.HasPrefix(a.Listen, "[::1]:")
}

func (i *Interview) askUser() *Question {
	return &Question{Key: "user", Ask: Text{"可查看录像的第一个用户的登录名（操作房间不需要登录）", "login name of the first person who may look at recordings (operating the room needs none)"}, Default: "admin"}
}

func (i *Interview) setUser(s string) error {
	if !loginForm.MatchString(s) {
		return wrong("以小写字母开头，可含数字和 . _ -，最多 32 个", "it begins with a-z and goes on with a-z 0-9 . _ -, at most 32")
	}
	i.A.User = s
	i.next()
	return nil
}

// minPassword is in characters.
const minPassword = 10

func (i *Interview) askPassword() *Question {
	return &Question{Key: "password", Ask: Text{"该用户的口令（至少 10 个字符）", "password of that user (at least 10 characters)"}, Secret: true}
}

func (i *Interview) setPassword(s string) error {
	if len([]rune(s)) < minPassword {
		return wrong("至少 10 个字符", "at least 10 characters")
	}
	i.A.Password = s
	i.next()
	return nil
}

func (i *Interview) askOffice() *Question {
	return &Question{Key: "office", Ask: Text{"管理端的设备登记地址 主机:8093（没有就留空，以后可登记）", "the office's address for devices HOST:8093 (empty: none yet, enrol later)"}, Empty: true}
}

func (i *Interview) setOffice(s string) error {
	if s != "" && (!hostForm.MatchString(s) || strings.HasPrefix(s, ":")) {
		return wrong("应形如 office.example:8093", "it looks like office.example:8093")
	}
	i.A.Office = s
	i.next()
	return nil
}

func (i *Interview) askCode() *Question {
	if i.A.Office == "" {
		return nil
	}
	return &Question{Key: "code", Ask: Text{"登记码（管理端：minglu-provisioning enrol code " + i.A.Name + "）", "the code (at the office: minglu-provisioning enrol code " + i.A.Name + ")"}}
}

func (i *Interview) setCode(s string) error {
	i.A.Code = s
	i.next()
	return nil
}

func (i *Interview) askDrill() *Question {
	return &Question{Key: "drill", Ask: Text{"完成后试录 10 秒（标为演练）？", "a test recording of 10 seconds at the end (marked as a drill)?"}, Choices: []string{"y 试录 record", "n 不录 no"}, Default: "y"}
}

func (i *Interview) setDrill(s string) (err error) {
	if i.A.Drill, err = yes(s); err != nil {
		return err
	}
	i.next()
	return nil
}
