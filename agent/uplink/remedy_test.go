package uplink

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Whoever sets up a room is told what to change, from the texts the client gives.
func TestRemedy(t *testing.T) {
	network := func(err error) error { return fmt.Errorf("%w : %w", packets.ErrorNetworkError, err) }
	for _, tt := range []struct {
		rule string
		err  error
		want string
	}{
		{"the office's certificate is not trusted", network(x509.UnknownAuthorityError{}), "mqtt.ca"},
		{"the certificate is another name's", network(x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"office.example"}}, Host: "other"}), "mqtt.url"},
		{"wrong password", packets.ErrorRefusedNotAuthorised, "device add"},
		{"plain speech to an office with TLS", network(errors.New("EOF")), "mqtts://"},
		{"what nobody can tell", errors.New("no answer within 5s"), ""},
	} {
		if got := remedy(tt.err); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}
