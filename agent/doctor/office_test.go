package doctor

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"minglu/agent/report"
)

func TestEnrolled(t *testing.T) {
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	e := &Enrolment{API: "office.example:8093", Name: "room-3", RenewAt: now.AddDate(0, 1, 0), EndsAt: now.AddDate(0, 2, 0)}
	check := func(rule string, e *Enrolment, err error, needed bool, at time.Time, level Level, do string) {
		t.Helper()
		got := Enrolled(e, err, "room-3", needed, at)
		one(t, rule, got, "identity.enrolled", level)
		if !strings.Contains(got[0].Do.En, do) {
			t.Errorf("%s: what to do: %q, want %q", rule, got[0].Do.En, do)
		}
	}
	check("fresh", e, nil, true, now, Good, "")
	check("due", e, nil, true, e.RenewAt, Note, "Start minglu-agent run and check the network to the office at office.example:8093")
	check("ended", e, nil, true, e.EndsAt, Bad, "enrol again with --replace")
	check("no office", nil, nil, false, now, Note, "With an office")
	check("an office that wants it", nil, nil, true, now, Note, "minglu-provisioning enrol code")
	check("a damaged file", nil, errors.New("x"), true, now, Bad, "enrol again")
	named := *e
	named.Name = "room-4"
	check("of another name", &named, nil, true, now, Bad, "Put the name back")
}

func TestStanding(t *testing.T) {
	for state, level := range map[string]Level{report.StandingGood: Good, report.StandingRevoked: Bad, report.StandingUnknown: Bad, report.StandingExpired: Bad, report.StandingMisnamed: Bad, "later": Bad} {
		one(t, state, Standing("a:1", report.Standing{State: state}, nil), "office.api", level)
	}
	one(t, "no answer", Standing("a:1", report.Standing{}, errors.New("refused")), "office.api", Note)
}

// TestOfficeIsNotTheOffice: who answers with a certificate that is refused is no office that does not answer.
func TestOfficeIsNotTheOffice(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("HTTP/1.0 400 speaks no TLS\r\n\r\n"))
			c.Close()
		}
	}()
	one(t, "no TLS", Office(t.Context(), l.Addr().String(), &tls.Config{ServerName: "office"}), "office", Bad)
}
