package recovery

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"minglu/agent/durable"
)

// TestSM2SignatureThatIsThere: a session whose SM2 signature stands on one disk is sealed on the other without the
// SM2 key; one that does not hold is none.
func TestSM2SignatureThatIsThere(t *testing.T) {
	golden := "../../evidence/testdata/golden/sessions/20260301T063000Z-0123abd2"
	j := &job{o: &Options{}}
	for range 2 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
			t.Fatal(err)
		}
		j.copies = append(j.copies, &replica{dir: dir, files: durable.Files{Layer: durable.OS{}, Tmp: t.TempDir()}})
	}
	lacking := filepath.Join(j.copies[0].dir, sm2Sig)
	if err := os.Remove(lacking); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(golden, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.extras(manifest); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(filepath.Join(golden, sm2Sig))
	if got, err := os.ReadFile(lacking); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy that lacked it: %v", err)
	}
	if err := j.extras(append(manifest, ' ')); !errors.As(err, new(*stop)) {
		t.Errorf("a signature over another manifest: %v", err)
	}
}
