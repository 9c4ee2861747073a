package evidence_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"minglu/agent/evidence"
)

// FuzzVerify puts any bytes in the place of any part of any file of a sealed or a recovered session.
// The verifier must answer, and if the files are not those that were sealed, never well.
func FuzzVerify(f *testing.F) {
	sessions := goldenSessions()
	ids := []string{goldenID, "20260301T033000Z-0123abcf"}
	for i := range ids {
		for j := range len(sessions[ids[i]]) {
			f.Add(byte(i), byte(j), uint16(0), uint16(8), []byte("\x00\x00\x00\x08free"))
			f.Add(byte(i), byte(j), uint16(300), uint16(0), []byte(`{"type":"mark","Type":"fragment"}`+"\n"))
			f.Add(byte(i), byte(j), uint16(1), uint16(65535), []byte{})
		}
	}
	f.Fuzz(func(t *testing.T, which, file byte, at, cut uint16, put []byte) {
		id := ids[int(which)%len(ids)]
		files := sessions[id]
		names := slices.Sorted(maps.Keys(files))
		name := names[int(file)%len(names)]
		data := files[name].Data
		i := min(int(at), len(data))
		changed := slices.Concat(data[:i], put, data[min(i+int(cut), len(data)):])
		r := answer(id, with(files, name, changed))
		if !bytes.Equal(changed, data) && !caught(r, name) {
			t.Errorf("%s: %s changed at %d: exit %d", id, name, i, r.Exit)
		}
	})
}

// FuzzTrust reads any trust folder without harm.
func FuzzTrust(f *testing.F) {
	f.Add(evidence.MarshalCertsPEM(newDevice("x", nil).cert))
	f.Add(evidence.MarshalCertsPEM(newAuthority("ca").cert))
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	files := goldenSessions()[goldenID]
	f.Fuzz(func(t *testing.T, b []byte) {
		trust, err := evidence.ReadTrust(fstest.MapFS{"a.pem": {Data: b}})
		if err != nil {
			return
		}
		evidence.Verify(files, evidence.VerifyOptions{Path: goldenID, Trust: trust})
	})
}

// FuzzLedger judges any ledger beside a session.
func FuzzLedger(f *testing.F) {
	g := goldenScript().make()
	b := ledgerFor(g.dev, func(b *book) { b.head(goldenID, g); b.sealed(goldenID, g.files) })
	f.Add(b.data)
	f.Fuzz(func(t *testing.T, data []byte) {
		d := disk(&book{data: data}, map[string]fstest.MapFS{goldenID: g.files})
		r := evidence.Verify(d, evidence.VerifyOptions{Path: "disk", Trust: goldenTrust, Require: 1})
		if r.Exit == 0 && !bytes.HasPrefix(data, b.data) && !bytes.HasPrefix(b.data, data) {
			t.Errorf("exit 0 with another ledger")
		}
	})
}
