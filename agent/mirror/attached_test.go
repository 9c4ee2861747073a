package mirror_test

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"minglu/agent/mirror"
)

// TestAttachments: a file bound to a session by an amendment is copied as what its name says, and damage to
// it is not spread.
func TestAttachments(t *testing.T) {
	file := []byte("笔录")
	sum := sha256.Sum256(file)
	name := hex.EncodeToString(sum[:])
	for _, sound := range []bool{true, false} {
		a, b := disk(t, "a", session), disk(t, "b", session)
		must(t, os.Mkdir(at(a, session, "attachments"), 0o755))
		content := file
		if !sound {
			content = []byte("笔錄")
		}
		write(t, at(a, session, "attachments", name), content)
		r := pass(t, mirror.Options{}, a, b)
		same := maps.Equal(tree(t, at(a, session)), tree(t, at(b, session)))
		if same != sound || sound != (len(r.Lacking) == 0) {
			t.Errorf("sound %v: the copies are the same: %v, %+v", sound, same, r)
		}
		if _, err := os.Stat(filepath.Join(at(b, session), "attachments", name)); sound != (err == nil) {
			t.Errorf("sound %v: %v", sound, err)
		}
	}
}
