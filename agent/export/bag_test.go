package export_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/export"
)

const (
	session = "20260301T033000Z-0123abcf" // of the golden sessions: recovered, with aside/
	golden  = "../evidence/testdata/golden/sessions/" + session
)

func bag(t *testing.T, change func(*export.Options)) (string, error) {
	t.Helper()
	o := export.Options{Session: session, From: os.DirFS(golden), To: t.TempDir(), More: map[string][]byte{"proofs/anchor-000000000007.json": []byte(`{}`)},
		Info: [][2]string{{"Source-Organization", "某县\n市场监督管理局"}, {"External-Identifier", session}}}
	if change != nil {
		change(&o)
	}
	b, err := export.Write(t.Context(), o)
	return b.Dir, err
}

// TestBag: the bag is one by RFC 8493, holds the session unchanged, and its script agrees with openssl.
func TestBag(t *testing.T) {
	dir, err := bag(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, manifest := range []string{"manifest-sha256.txt", "tagmanifest-sha256.txt"} {
		b, err := os.ReadFile(filepath.Join(dir, manifest))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
			data, err := os.ReadFile(filepath.Join(dir, name))
			if got := sha256.Sum256(data); !ok || err != nil || hex.EncodeToString(got[:]) != sum {
				t.Errorf("%s: %q does not hold: %v", manifest, line, err)
			}
		}
	}
	info, err := os.ReadFile(filepath.Join(dir, "bag-info.txt"))
	if err != nil || !strings.Contains(string(info), "Source-Organization: 某县 市场监督管理局\n") || !strings.Contains(string(info), "Payload-Oxum: ") {
		t.Errorf("bag-info.txt: %q %v", info, err)
	}
	if r := evidence.VerifyPlaces([]evidence.Place{{Path: filepath.Join(dir, "data", session), FS: os.DirFS(filepath.Join(dir, "data", session))}}, evidence.VerifyOptions{}); r.Exit != evidence.ExitSound {
		t.Errorf("the session in the bag: exit %d %+v", r.Exit, r)
	}
	if out, err := exec.Command("sh", filepath.Join(dir, "verify.sh")).CombinedOutput(); err != nil || !strings.Contains(string(out), "signature holds") {
		t.Errorf("verify.sh: %v\n%s", err, out)
	}
}

// TestScriptFinds: what the script must not let pass.
func TestScriptFinds(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"a file altered": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "data", session, "voice-00001.mp4"), []byte("other"), 0o644)
		},
		"a file taken away": func(dir string) error { return os.Remove(filepath.Join(dir, "data", session, "log.jsonl")) },
		"a file added":      func(dir string) error { return os.WriteFile(filepath.Join(dir, "data", "more"), nil, 0o644) },
		"all digests made anew, the manifest changed": func(dir string) error {
			return exec.Command("sh", "-c", `cd "$1" && sed -i 's/"reason":"/"reason":"x/' data/*/manifest.json && find data -type f | sort | xargs sha256sum > manifest-sha256.txt &&
				sha256sum bagit.txt bag-info.txt manifest-sha256.txt verify.sh README.txt > tagmanifest-sha256.txt`, "sh", dir).Run()
		},
		"all digests made anew, media changed": func(dir string) error {
			return exec.Command("sh", "-c", `cd "$1" && printf x >> data/`+session+`/voice-00001.mp4 && find data -type f | sort | xargs sha256sum > manifest-sha256.txt &&
				sha256sum bagit.txt bag-info.txt manifest-sha256.txt verify.sh README.txt > tagmanifest-sha256.txt`, "sh", dir).Run()
		},
	} {
		dir, err := bag(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sh", filepath.Join(dir, "verify.sh")).CombinedOutput(); err == nil || !strings.Contains(string(out), "FAIL") {
			t.Errorf("%s: verify.sh says %v\n%s", name, err, out)
		}
	}
}

// TestNothingHalf: a bag that could not be finished has not its name, and the next one can be.
func TestNothingHalf(t *testing.T) {
	for _, verb := range []string{"write", "datasync", "syncdir", "rename"} {
		to := t.TempDir()
		n := 0
		l := &durabletest.Layer{Before: func(op durabletest.Op) error {
			if op.Verb == verb {
				if n++; n > 3 || verb == "rename" {
					return syscall.EIO
				}
			}
			return nil
		}}
		_, err := bag(t, func(o *export.Options) { o.To, o.Files = to, durable.Files{Layer: l} })
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", verb, err)
		}
		if _, err := os.Stat(filepath.Join(to, session)); err == nil {
			t.Errorf("%s fails, and there is a bag", verb)
		}
		if _, err := bag(t, func(o *export.Options) { o.To = to }); err != nil {
			t.Errorf("after %s failed: %v", verb, err)
		}
		if _, err := bag(t, func(o *export.Options) { o.To = to }); !errors.Is(err, export.ErrExists) {
			t.Errorf("a second bag of that name: %v", err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := export.Write(ctx, export.Options{Session: session, From: os.DirFS(golden), To: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("asked to stop: %v", err)
	}
}
