package config

import (
	"fmt"
	"strings"

	"minglu/agent/evidence"
)

// Witness is the office as a witness of its devices' ledgers, and the witnesses elsewhere that it asks.
type Witness struct {
	Name   string         `yaml:"name"` // of its key; "" for the default
	Others []OtherWitness `yaml:"others"`
}

// OtherWitness is a witness outside the office that speaks C2SP tlog-witness.
type OtherWitness struct {
	URL  string `yaml:"url"`  // /add-checkpoint is added
	VKey string `yaml:"vkey"` // its public key, as it prints it
}

// Timestamp is where the office gets RFC 3161 tokens, for its devices and for itself.
type Timestamp struct {
	URLs  []string `yaml:"urls"`  // asked in order
	Roots []string `yaml:"roots"` // PEM files of the authorities' roots, for trust export
}

// checkOutside checks witness and timestamp.
func (c *Config) checkOutside(bad func(key, zh, en string) *found) *found {
	for i, w := range c.Witness.Others {
		key := fmt.Sprintf("witness.others[%d]", i)
		if !isHTTP(w.URL) {
			return bad(key+".url", fmt.Sprintf("%q 无效；应以 https:// 开头", w.URL), fmt.Sprintf("%q: it should begin with https://", w.URL))
		}
		if k, err := evidence.ParseVKey(w.VKey); err != nil || !k.Known() {
			return bad(key+".vkey", "不是见证人公钥；请在对方机器上执行 minglu-provisioning witness vkey 并照抄", "no key of a witness: run minglu-provisioning witness vkey there and copy what it prints")
		}
	}
	if u := c.MQTT.URL; u != "" && !strings.HasPrefix(u, "mqtts://") && !strings.HasPrefix(u, "mqtt://127.0.0.1") && !strings.HasPrefix(u, "mqtt://localhost") {
		return bad("mqtt.url", "应为 mqtts://主机:8883；不加密的 mqtt:// 只允许在本机", "it should read mqtts://host:8883; without TLS only on this machine")
	}
	if n := c.Witness.Name; len(n) > 200 || strings.ContainsAny(n, " \t\r\n+") {
		return bad("witness.name", "名称不能含空格与加号，最多 200 字节", "a name has no space and no plus, and at most 200 bytes")
	}
	for i, u := range c.Timestamp.URLs {
		if !isHTTP(u) {
			return bad(fmt.Sprintf("timestamp.urls[%d]", i), fmt.Sprintf("%q 无效；应以 http:// 或 https:// 开头", u), fmt.Sprintf("%q: it should begin with http:// or https://", u))
		}
	}
	return nil
}

func isHTTP(url string) bool {
	return strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://")
}
