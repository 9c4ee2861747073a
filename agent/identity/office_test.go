package identity

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"minglu/agent/report"
)

// TestLongLists: an office that revoked thousands of certificates is still listened to, and lists that cannot
// be got are told of.
func TestLongLists(t *testing.T) {
	long := bytes.Repeat([]byte("x"), report.MaxEnrol*8)
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(long) }))
	defer web.Close()
	tls := web.Client().Transport.(*http.Transport).TLSClientConfig
	at := strings.TrimPrefix(web.URL, "https://")
	var got []byte
	if err := call(t.Context(), at, tls, http.MethodGet, report.PathCRL, nil, &got); err != nil || !bytes.Equal(got, long) {
		t.Errorf("lists: %d bytes, %v", len(got), err)
	}
	if err := call(t.Context(), at, tls, http.MethodGet, report.PathRoot, nil, &got); err == nil {
		t.Error("anything else may be as long")
	}
	long = make([]byte, maxLists+1)
	if err := call(t.Context(), at, tls, http.MethodGet, report.PathCRL, nil, &got); err == nil {
		t.Error("lists without an end are read")
	}
}

// TestListsThatFailAreTold: a board that gets no lists says so.
func TestListsThatFailAreTold(t *testing.T) {
	o := openOffice(t)
	k, _ := o.keeper(o.mustEnrol(t.TempDir(), "room-3"), "room-3")
	var log bytes.Buffer
	k.o.Log = slog.New(slog.NewTextHandler(&log, nil))
	k.o.Lists = func([]byte, []byte) { t.Error("lists that were not got") }
	ctx, lost := context.WithCancel(t.Context())
	k.o.Trust = func(map[string][]byte) { lost() } // the connection goes before the lists are asked for
	k.Look(ctx)
	if !strings.Contains(log.String(), "revocation lists") {
		t.Errorf("the log says %q", &log)
	}
}
