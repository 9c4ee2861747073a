package web

import (
	"archive/zip"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"minglu/agent/evidence"
)

const golden = "20260301T013000Z-0123abcd"

// bundled is a fake with the golden session on its disk.
func bundled() *fake {
	f := newFake()
	f.store[0].ID = golden
	f.folder = os.DirFS(filepath.Join("..", "evidence", "testdata", "golden", "sessions", golden))
	return f
}

// What comes out of the ZIP is proven as if it lay on the disk.
func TestBundleVerifies(t *testing.T) {
	f := bundled()
	w := call(newServer(t, f), "GET", "/api/v1/sessions/"+golden+"/bundle", "", logged)
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/zip" || !strings.Contains(w.Header().Get("Content-Disposition"), `"`+golden+`.zip"`) {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if got, want := f.take(), "enter 王某 list ; get; get; enter 王某 export ; folder"; got != want {
		t.Errorf("did %s, want %s", got, want)
	}
	z, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := fs.ReadFile(z, "README.txt")
	if err != nil || !strings.Contains(string(readme), "minglu-agent verify --trust trust "+golden) {
		t.Errorf("README.txt: %v: %s", err, readme)
	}
	for _, e := range z.File {
		if e.Method != zip.Store {
			t.Errorf("%s is compressed", e.Name)
		}
	}
	b, err := fs.ReadFile(z, golden+"/device.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := fs.Sub(z, golden)
	if err != nil {
		t.Fatal(err)
	}
	r := evidence.Verify(folder, evidence.VerifyOptions{Path: golden, Require: 1, Trust: &evidence.Trust{Devices: []*x509.Certificate{cert}}})
	if r.Exit != evidence.ExitGood || len(r.Sessions) != 1 || len(r.Sessions[0].Notes) != 0 {
		t.Errorf("verified: %+v", r)
	}
}

func TestBundleIsDecidedFirst(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		set    func(f *fake)
		status int
		code   string
		did    string
	}{
		{"who may not take it gets nothing", func(f *fake) { f.deny["export"] = &Error{403, "role", "无此权限。", "Not allowed."} }, 403, "role", "enter 王某 list ; get; get; enter 王某 export "},
		{"an open session is not whole, and is not entered as taken", func(f *fake) { f.store[0].State = "recording" }, 409, "not-sealed", "enter 王某 list ; get"},
		{"nor is one that was never sealed", func(f *fake) { f.store[0].State = "open" }, 409, "not-sealed", "enter 王某 list ; get"},
		{"what no disk has", func(f *fake) { f.folder = nil }, 404, "not-found", "enter 王某 list ; get; get; enter 王某 export ; folder"},
	} {
		f := bundled()
		tt.set(f)
		w := call(newServer(t, f), "GET", "/api/v1/sessions/"+golden+"/bundle", "", logged)
		if got := f.take(); w.Code != tt.status || code(w) != tt.code || got != tt.did {
			t.Errorf("%s: %d %s, did %q; want %d %s, %q", tt.rule, w.Code, w.Body, got, tt.status, tt.code, tt.did)
		}
	}
}

// torn is a folder one of whose files breaks off.
type torn struct{ fs.FS }

func (f torn) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if name == "b.mp4" {
		file = tornFile{file}
	}
	return file, err
}

type tornFile struct{ fs.File }

func (tornFile) Read([]byte) (int, error) { return 0, errDisk }

func TestBundleTakesFilesOnlyAndBreaksOffInSight(t *testing.T) {
	f := bundled()
	whole := fstest.MapFS{"a.mp4": {Data: make([]byte, 100)}, "aside/x": {Data: []byte("x")}, "link": {Mode: fs.ModeSymlink, Data: []byte("/etc/passwd")}, "pipe": {Mode: fs.ModeNamedPipe}}
	f.folder = whole
	url, _ := serve(t, newServer(t, f))
	get := func() ([]byte, error) {
		r, err := http.NewRequest("GET", url+"/api/v1/sessions/"+golden+"/bundle", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", "minglu=good")
		res, err := client(t).Do(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		return io.ReadAll(res.Body)
	}
	b, err := get()
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range z.File {
		names = append(names, e.Name)
	}
	if want := []string{"README.txt", golden + "/a.mp4", golden + "/aside/x"}; !slices.Equal(names, want) {
		t.Errorf("holds %q, want %q", names, want)
	}
	whole["b.mp4"] = &fstest.MapFile{Data: make([]byte, 1<<20)}
	f.folder = torn{whole}
	if b, err := get(); err == nil {
		t.Errorf("%d bytes and no word that they are not all: %v", len(b), err)
	}
}
