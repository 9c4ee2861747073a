package evidence_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
)

// TestByHand runs the commands of docs/evidence-format.md section 9 and wants the output printed there:
// openssl, sha256sum, ffprobe and a few lines of Python agree with this package.
func TestByHand(t *testing.T) {
	if testing.Short() {
		return // openssl and ffprobe are there where the whole suite runs
	}
	doc := string(must(os.ReadFile("../../docs/evidence-format.md")))
	_, section, ok := strings.Cut(doc, "\n## 9 ")
	if !ok {
		t.Fatal("docs/evidence-format.md has no section 9")
	}
	first, outside, ok := strings.Cut(section, "\n### Outside proofs\n")
	if !ok {
		t.Fatal("section 9 has no part about outside proofs")
	}
	byHand(t, goldenID, first)
	byHand(t, goldenWitnessed, outside)
}

var setting = regexp.MustCompile(`^(at|trust|stamp)=`)

// byHand runs the transcripts of a text in the folder of a golden session.
func byHand(t *testing.T, session, text string) {
	dir := must(filepath.Abs("testdata/golden/sessions/" + session))
	tmp := t.TempDir()
	settings := "" // what a reader has set before goes on holding
	for i, block := range strings.Split(text, "```\n") {
		if i%2 == 0 {
			continue
		}
		script, want := commands(block)
		cmd := exec.Command("bash", "-c", strings.ReplaceAll(settings+script, "/tmp/", tmp+"/"))
		cmd.Dir = dir
		b, err := cmd.CombinedOutput()
		out := strings.ReplaceAll(string(b), tmp+"/", "/tmp/")
		for line := range strings.Lines(script) {
			if setting.MatchString(line) {
				settings += regexp.MustCompile(`; echo [^;]*$`).ReplaceAllString(line, "") + "\n"
			}
		}
		if err != nil || out != want {
			t.Errorf("%s: %v\ngot:\n%s\nwant:\n%s", script, err, out, want)
		}
	}
}

// TestByHandRefuses: the commands of section 9 refuse what is not so, with other files or other trust.
func TestByHandRefuses(t *testing.T) {
	if testing.Short() {
		return // as TestByHand
	}
	tmp := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(tmp, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := witnessedScript().make()
	write("other.pem", evidence.MarshalCertsPEM(newAuthority("other").cert))
	write("data", []byte("other data"))
	write("manifest.json", bytes.Replace(g.files["manifest.json"].Data, []byte("张三"), []byte("王五"), 1))
	list := must(x509.CreateRevocationList(nil, &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: goldenStart.Add(-time.Hour), NextUpdate: goldenStart.AddDate(1, 0, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: g.dev.cert.SerialNumber, RevocationTime: goldenStart.Add(30 * time.Second)}}}, goldenIssuing.cert, goldenIssuing.key))
	write("revoked.crl", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list}))
	p7s := g.files["manifest.json.p7s"].Data
	mail := newTSA("golden tsa", func(c *x509.Certificate) { c.ExtraExtensions = nil })
	write("noeku.tsr", mail.fixed(sum(p7s), goldenStart))
	for _, tt := range []struct{ rule, command, says string }{
		{"a changed manifest", "openssl cms -verify -binary -inform DER -in manifest.json.p7s -content TMP/manifest.json -CAfile ../../trust/ca/root.pem -attime 1772328660", "verification failure"},
		{"another authority", "openssl cms -verify -binary -inform DER -in manifest.json.p7s -content manifest.json -CAfile TMP/other.pem -attime 1772328660", "unable to get local issuer certificate"},
		{"a revoked certificate", "openssl verify -crl_check -CRLfile TMP/revoked.crl -CAfile ../../trust/ca/root.pem -untrusted chain.pem -attime 1772328660 device.pem", "certificate revoked"},
		{"a time before the authority", "openssl ts -verify -in manifest.json.tsr -data manifest.json.p7s -CAfile ../../trust/tsa/root-1.pem -attime 1", "certificate is not yet valid"},
		{"other data under the token", "openssl ts -verify -in manifest.json.tsr -data TMP/data -CAfile ../../trust/tsa/root-1.pem -attime 1772328660", "message imprint mismatch"},
		{"another time-stamping authority", "openssl ts -verify -in manifest.json.tsr -data manifest.json.p7s -CAfile TMP/other.pem -attime 1772328660", "unable to get local issuer certificate"},
		{"a token by a certificate without the usage", "openssl ts -verify -in TMP/noeku.tsr -data manifest.json.p7s -CAfile ../../trust/tsa/root-1.pem -attime 1772328660", "unsuitable certificate purpose"},
		{"another manifest under the SM2 signature", "openssl x509 -in sm2.pem -noout -pubkey > TMP/pub; openssl dgst -sm3 -verify TMP/pub -signature manifest.json.sm2 -sigopt distid:1234567812345678 TMP/manifest.json", "Verification failure"},
	} {
		cmd := exec.Command("bash", "-c", strings.ReplaceAll(tt.command, "TMP/", tmp+"/"))
		cmd.Dir = "testdata/golden/sessions/" + goldenWitnessed
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(strings.ToLower(string(out)), strings.ToLower(tt.says)) {
			t.Errorf("%s: %v, want %q in\n%s", tt.rule, err, tt.says, out)
		}
	}
}

// commands takes a transcript apart: a command begins with "$ " and goes on until bash calls it whole.
func commands(block string) (script, output string) {
	lines := strings.SplitAfter(block, "\n")
	for i := 0; i < len(lines); i++ {
		first, isCommand := strings.CutPrefix(lines[i], "$ ")
		if !isCommand {
			output += lines[i]
			continue
		}
		for cmd := first; ; cmd += lines[i] {
			open := strings.Contains(cmd, "<<'END'") && !strings.HasSuffix(cmd, "\nEND\n")
			if !open && exec.Command("bash", "-n", "-c", cmd).Run() == nil || i+1 >= len(lines) {
				script += cmd
				break
			}
			i++
		}
	}
	return script, output
}
