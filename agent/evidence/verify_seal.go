package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// sealChecks does step V12: the manifest is what the logs say, and signed.
func (c *copyCheck) sealChecks() {
	switch {
	case c.manifest == nil && !c.ended:
		c.res.Open = "open, end unknown: there is no manifest"
		return
	case c.manifest == nil:
		c.found(FindingMissing, "manifest.json", "the log was sealed, the manifest is not there")
		return
	case !c.ended:
		c.found(FindingAltered, c.logs[len(c.logs)-1].file, "there is a manifest, but this log does not end in a signed seal")
	}
	c.known["manifest.json"], c.known["manifest.json.p7s"] = true, true
	c.checkManifest()
	if c.p7s == nil {
		c.found(FindingMissing, "manifest.json.p7s", "the signature over the manifest is not there")
		return
	}
	at, err := CheckCMS(c.p7s, c.manifest, c.certs)
	if err != nil {
		c.found(FindingAltered, "manifest.json.p7s", fmt.Sprintf("manifest.json and its signature do not belong together: %v", err))
	} else if c.closed != nil && !at.Equal(time.UnixMicro(c.sealedAt()).Truncate(time.Second)) {
		c.found(FindingAltered, "manifest.json.p7s", "the signing time is not that of the end of the session")
	}
}

func (c *copyCheck) checkManifest() {
	m, err := ParseManifest(c.manifest)
	if err != nil {
		c.found(FindingAltered, "manifest.json", err.Error())
		return
	}
	certs, ok := c.namedCerts(m.Certs)
	if !ok {
		return
	}
	names := func(file string) bool {
		return slices.ContainsFunc(m.Certs, func(f FileDigest) bool { return f.File == file })
	}
	if c.known["chain.pem"] && !names("chain.pem") {
		delete(c.known, "chain.pem")
		c.certs = c.certs[:1]
	}
	if c.known["sm2.pem"] && !names("sm2.pem") {
		delete(c.known, "sm2.pem")
		c.sm2 = nil
	}
	for _, l := range m.Logs {
		if _, ok := c.files[l.File]; !ok {
			c.found(FindingMissing, l.File, "the manifest names it")
		}
	}
	want, err := c.derive(m, certs)
	if err != nil {
		c.found(FindingAltered, "manifest.json", fmt.Sprintf("the logs give no manifest: %v", err))
		return
	}
	if !bytes.Equal(want, c.manifest) {
		at := 0
		for at < len(want) && at < len(c.manifest) && want[at] == c.manifest[at] {
			at++
		}
		c.found(FindingAltered, "manifest.json", fmt.Sprintf("from byte %d on it is not what the logs say", at)).Offset = int64(at)
	}
}

// namedCerts returns the certificate files that the manifest names with the digests they have.
func (c *copyCheck) namedCerts(named []FileDigest) (certs []FileDigest, ok bool) {
	for _, f := range named {
		b, err := c.optional(f.File, MaxDER)
		if err != nil || f.File != "device.pem" && f.File != "chain.pem" && f.File != "sm2.pem" {
			c.found(FindingAltered, "manifest.json", fmt.Sprintf("names certificate file %q", f.File))
			return nil, false
		}
		if b == nil {
			c.found(FindingMissing, f.File, "the manifest names it")
			return nil, false
		}
		d := sha256.Sum256(b)
		certs = append(certs, FileDigest{File: f.File, SHA256: hex.EncodeToString(d[:])})
		if f.File != "device.pem" && certs[len(certs)-1].SHA256 != f.SHA256 { // device.pem is what line 0 names
			c.found(FindingAltered, f.File, "is not the file that the manifest names")
		}
	}
	return certs, true
}

func (c *copyCheck) derive(sealed *Manifest, certs []FileDigest) ([]byte, error) {
	m, err := DeriveManifest(SealedLogs(c.logFiles(), sealed), certs)
	if err != nil {
		return nil, err
	}
	return m.Marshal()
}

// listing does step V2: nothing is in the folder that nothing names.
func (c *copyCheck) listing() {
	c.checkAside()
	finished := c.ended || c.manifest != nil
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		switch {
		case c.known[name]:
		case litter(name):
			c.note("%s: left by a desktop, no part of the session", name)
		case !finished && c.unsealedMedia(name):
			c.note("%s: not signed yet, and no part of what is proven", name)
		case !finished && strings.HasPrefix(name, "aside/"):
			c.note("%s: set aside by a recovery that is not finished", name)
		default:
			c.found(FindingForeign, name, "nothing that is signed names this file")
		}
	}
}

// checkAside holds aside/ against the lines that name its files.
func (c *copyCheck) checkAside() {
	for _, a := range c.aside {
		name := path.Join("aside", strings.TrimPrefix(a.File, "aside/"))
		if !strings.HasPrefix(name, "aside/") {
			c.found(FindingAltered, a.File, "an aside line names a file outside aside/")
			continue
		}
		c.known[name] = true
		size, ok := c.files[name]
		if !ok {
			c.found(FindingMissing, name, "a recovery set it aside")
			continue
		}
		if size != a.Size || c.digest(name) != a.SHA256 {
			c.found(FindingAltered, name, "is not what the recovery set aside")
		}
	}
}

// digest returns the SHA-256 of a whole file in hex, "" if it cannot be read.
func (c *copyCheck) digest(name string) string {
	f, err := c.fsys.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, c.files[name]+1)); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
