package archive

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"
	"golang.org/x/net/webdav"

	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	session = "20260301T013000Z-0123abcd" // of the golden sessions
	device  = "5426223d9394951aee91f3bdcdfd7bfb"
)

func golden(t testing.TB) fs.FS {
	t.Helper()
	return os.DirFS("../evidence/testdata/golden/sessions/" + session)
}

// office is an archive at the other end, as a test sees it.
type office struct {
	target Target
	files  func() map[string][]byte // all that stands there, by path below the archive's root
}

// between lets a test answer in the server's place; true: it did.
type between func(w http.ResponseWriter, r *http.Request) bool

func serve(t testing.TB, h http.Handler, b between) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b == nil || !b(w, r) {
			h.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func folderOffice(t testing.TB, dir string, l durable.Layer) office {
	return office{NewFolder(dir, nil, l), func() map[string][]byte { return tree(t, dir) }}
}

func tree(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	m := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		m[name], err = os.ReadFile(filepath.Join(dir, name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func s3Office(t testing.TB, b between) office {
	t.Helper()
	mem := s3mem.New()
	if err := mem.CreateBucket("minglu"); err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(serve(t, gofakes3.New(mem).Server(), b))
	u.User, u.Path = url.UserPassword("KEY", "SECRET"), "/minglu/rooms"
	s, err := NewS3(u.String(), "us-east-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeIdle(s))
	return office{s, func() map[string][]byte {
		m := map[string][]byte{}
		p := gofakes3.NewPrefix(nil, nil)
		l, err := mem.ListBucket("minglu", &p, gofakes3.ListBucketPage{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range l.Contents {
			o, err := mem.GetObject("minglu", c.Key, nil)
			if err != nil {
				t.Fatal(err)
			}
			var buf bytes.Buffer
			buf.ReadFrom(o.Contents)
			o.Contents.Close()
			m[strings.TrimPrefix(c.Key, "rooms/")] = buf.Bytes()
		}
		return m
	}}
}

func closeIdle(s *S3) func() { return func() { s.transport.CloseIdleConnections() } }

func davOffice(t testing.TB, b between) office {
	t.Helper()
	dir := t.TempDir()
	dav := &webdav.Handler{FileSystem: webdav.Dir(dir), LockSystem: webdav.NewMemLS()}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != "room" || p != "secret" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		dav.ServeHTTP(w, r)
	})
	u, _ := url.Parse(serve(t, h, b))
	u.User = url.UserPassword("room", "secret")
	w, err := NewWebDAV(u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.CloseIdleConnections)
	return office{w, func() map[string][]byte { return tree(t, dir) }}
}

// realS3 is a store that runs elsewhere, with an empty bucket: versity/versitygw v1.8.0 was one.
var realS3 = flag.String("s3", "", "https://KEY:SECRET@HOST/BUCKET of a store to test against, its bucket empty")

func realOffice(t testing.TB) office {
	t.Helper()
	s, err := NewS3(*realS3, "us-east-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.transport.CloseIdleConnections)
	return office{s, func() map[string][]byte {
		m := map[string][]byte{}
		for o := range s.core.Client.ListObjects(t.Context(), s.bucket, minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			r, _, _, err := s.core.GetObject(t.Context(), s.bucket, o.Key, minio.GetObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			_, err = b.ReadFrom(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			m[o.Key] = b.Bytes()
		}
		return m
	}}
}

func offices(t *testing.T) map[string]func(*testing.T, between) office {
	if *realS3 != "" {
		return map[string]func(*testing.T, between) office{"real": func(t *testing.T, _ between) office { return realOffice(t) }}
	}
	return map[string]func(*testing.T, between) office{
		"s3":     func(t *testing.T, b between) office { return s3Office(t, b) },
		"folder": func(t *testing.T, _ between) office { return folderOffice(t, t.TempDir(), nil) },
		"webdav": func(t *testing.T, b between) office { return davOffice(t, b) },
	}
}

// room is this end.
type room struct {
	o       Options
	entered []string // digests entered in the ledger
}

func newRoom(t testing.TB, state string, target Target, l durable.Layer, copies ...fs.FS) *room {
	t.Helper()
	r := &room{}
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	r.o = Options{Target: target, Device: device, State: state, Rate: 1 << 40, Files: durable.Files{Layer: l, Tmp: state},
		Now:  func() (time.Time, int64) { return now, 1000 },
		Jobs: func(context.Context) ([]Job, error) { return []Job{{session, now.Add(-time.Hour), copies}}, nil },
		Archived: func(_ context.Context, _ Receipt, sum string) error {
			r.entered = append(r.entered, sum)
			return nil
		}}
	return r
}

func (r *room) pass(t testing.TB) (string, error) {
	t.Helper()
	a, err := New(r.o)
	if err != nil {
		t.Fatal(err)
	}
	return a.Pass(t.Context())
}

// whole fails unless the archive holds a bag of the session that the verifier takes, and the receipt entered.
func whole(t testing.TB, r *room, files map[string][]byte) {
	t.Helper()
	if len(r.entered) == 0 {
		t.Fatal("nothing was entered")
	}
	dir := t.TempDir()
	for name, b := range files {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	bag := filepath.Join(dir, device, session)
	pem, err := evidence.CertsPEM(files[device+"/"+session+"/data/"+session+"/device.pem"])
	if err != nil {
		t.Fatal(err)
	}
	res := evidence.Verify(os.DirFS(bag), evidence.VerifyOptions{Path: bag, Require: 1, Trust: &evidence.Trust{Devices: pem}})
	if res.Exit != 0 || len(res.Sessions) != 1 {
		t.Errorf("the archive's bag: exit %d, %+v", res.Exit, res)
	}
	b := files[device+"/"+session+"/receipt.json"]
	if sum := evidence.DigestFile("", b).SHA256; sum != r.entered[len(r.entered)-1] {
		t.Errorf("receipt there is %s, entered %v", sum, r.entered)
	}
	rec, err := ParseReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rec.Files {
		if got := files[device+"/"+session+"/data/"+session+"/"+f.File]; evidence.DigestFile("", got).SHA256 != f.SHA256 || int64(len(got)) != f.Size {
			t.Errorf("%s is not what the receipt says", f.File)
		}
	}
	for name := range files {
		if strings.HasSuffix(name, partExt) {
			t.Errorf("%s is left", name)
		}
	}
}

// TestHandsOver: at each kind of archive the session becomes a bag; what is added later follows; nothing is sent twice;
// and when it is destroyed nothing stays.
func TestHandsOver(t *testing.T) {
	for kind, open := range offices(t) {
		t.Run(kind, func(t *testing.T) {
			var puts atomic.Int64
			o := open(t, func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					puts.Add(1)
				}
				return false
			})
			dir := t.TempDir()
			if err := os.CopyFS(dir, golden(t)); err != nil {
				t.Fatal(err)
			}
			r := newRoom(t, t.TempDir(), o.target, nil, os.DirFS(dir))
			for range 2 {
				if idle, err := r.pass(t); idle != "" || err != nil {
					t.Fatal(idle, err)
				}
			}
			whole(t, r, o.files())
			if len(r.entered) != 1 {
				t.Errorf("entered %d times", len(r.entered))
			}
			before := puts.Load()
			if err := os.WriteFile(filepath.Join(dir, "manifest.json.tsr"), []byte("later"), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := r.pass(t); err != nil {
				t.Fatal(err)
			}
			files := o.files()
			if string(files[device+"/"+session+"/data/"+session+"/manifest.json.tsr"]) != "later" || len(r.entered) != 2 || r.entered[0] == r.entered[1] {
				t.Errorf("what came later was not handed over: entered %v", r.entered)
			}
			if again := puts.Load() - before; kind != "folder" && again > 6 { // its own, the tags, the receipt
				t.Errorf("%d files were sent for one that is new", again)
			}
			a, err := New(r.o)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := a.Remove(t.Context(), session); err != nil {
					t.Fatal(err)
				}
			}
			if left := o.files(); len(left) != 0 {
				t.Errorf("left after removal: %d files", len(left))
			}
			if _, _, err := a.Receipt(session); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the receipt is left: %v", err)
			}
		})
	}
}

// TestTheBetterCopy: what one disk holds wrong or not at all comes from the other; where no copy is right the archive gets none.
func TestTheBetterCopy(t *testing.T) {
	bad := t.TempDir()
	if err := os.CopyFS(bad, golden(t)); err != nil {
		t.Fatal(err)
	}
	mp4, _ := filepath.Glob(filepath.Join(bad, "*.mp4"))
	b, err := os.ReadFile(mp4[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.WriteFile(mp4[0], b, 0o644), os.Remove(mp4[1])); err != nil {
		t.Fatal(err)
	}
	for kind, open := range offices(t) {
		o := open(t, nil)
		r := newRoom(t, t.TempDir(), o.target, nil, os.DirFS(bad), golden(t))
		if _, err := r.pass(t); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		whole(t, r, o.files())
		o = open(t, nil)
		r = newRoom(t, t.TempDir(), o.target, nil, os.DirFS(bad))
		if _, err := r.pass(t); !errors.Is(err, ErrSource) || len(r.entered) != 0 {
			t.Errorf("%s: a damaged session: %v, entered %v", kind, err, r.entered)
		}
	}
}

// TestPowerCuts cuts the power after each call to the operating system, here and at the share, and starts again:
// nothing is entered that the archive does not hold durably, and in the end it holds all.
func TestPowerCuts(t *testing.T) {
	cut := errors.New("the power is gone")
	for n := 1; ; n += 1 + n/8 {
		over := func() bool {
			root := t.TempDir()
			for _, d := range []string{"state", "share"} {
				if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			left := n
			l := &durabletest.Layer{Before: func(durabletest.Op) error {
				if left--; left < 0 {
					return cut
				}
				return nil
			}}
			r := newRoom(t, filepath.Join(root, "state"), NewFolder(filepath.Join(root, "share"), nil, l), l, golden(t))
			_, err := r.pass(t)
			over := left >= 0
			if !over && err == nil {
				t.Fatalf("cut %d: no error", n)
			}
			after := t.TempDir()
			if err := l.Cut(root, after, durabletest.Loss(n%3)); err != nil {
				t.Fatal(err)
			}
			for _, d := range []string{"state", "share"} {
				if err := os.MkdirAll(filepath.Join(after, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			entered := len(r.entered) > 0
			o := folderOffice(t, filepath.Join(after, "share"), nil)
			if entered { // the ledger's line is durable: so must be what it says
				whole(t, r, o.files())
			}
			again := newRoom(t, filepath.Join(after, "state"), o.target, nil, golden(t))
			if _, err := again.pass(t); err != nil {
				t.Fatalf("cut %d: the next start: %v", n, err)
			}
			if !entered || len(again.entered) > 0 {
				whole(t, again, o.files())
			}
			return over
		}()
		if over {
			break
		}
	}
}

// TestWhatGoesWrong: each trouble of an archive has its code, nothing is entered, and the next try hands over.
func TestWhatGoesWrong(t *testing.T) {
	var on atomic.Bool
	answer := func(status int, body string) between {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !on.Load() || r.Method != http.MethodPut {
				return false
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	s3Error := func(code string) string { return "<Error><Code>" + code + "</Code><Message>no</Message></Error>" }
	flip := func(w http.ResponseWriter, r *http.Request) bool { // it gives back other bytes
		if !on.Load() || r.Method != http.MethodGet || r.URL.RawQuery != "" {
			return false
		}
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("ETag", `"x"`)
		_, _ = w.Write([]byte("something else"))
		return true
	}
	hang := func(_ http.ResponseWriter, r *http.Request) bool {
		if on.Load() && r.Method == http.MethodPut {
			_, _ = new(bytes.Buffer).ReadFrom(r.Body) // else the server does not see the client leave
			<-r.Context().Done()
			return true
		}
		return false
	}
	full := &durabletest.Layer{Before: func(op durabletest.Op) error {
		if on.Load() && op.Verb == "write" && strings.Contains(op.Name, "share") {
			return syscall.ENOSPC
		}
		return nil
	}}
	denied := &durabletest.Layer{Before: func(op durabletest.Op) error {
		if on.Load() && op.Verb == "create" && strings.Contains(op.Name, "share") {
			return syscall.EACCES
		}
		return nil
	}}
	share := func(l durable.Layer) office {
		dir := filepath.Join(t.TempDir(), "share")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return folderOffice(t, dir, l)
	}
	for _, tt := range []struct {
		rule string
		o    office
		want Problem
	}{
		{"a full share", share(full), "full"},
		{"a share that may not be written", share(denied), "credentials"},
		{"s3: full", s3Office(t, answer(507, s3Error("XMinioStorageFull"))), "full"},
		{"s3: wrong key", s3Office(t, answer(403, s3Error("InvalidAccessKeyId"))), "credentials"},
		{"s3: wrong clock", s3Office(t, answer(403, s3Error("RequestTimeTooSkewed"))), "clock"},
		{"s3: other bytes", s3Office(t, flip), "digest"},
		{"s3: it hangs", s3Office(t, hang), "slow"},
		{"s3: out of order", s3Office(t, answer(500, s3Error("InternalError"))), "unreachable"},
		{"webdav: full", davOffice(t, answer(507, "")), "full"},
		{"webdav: wrong password", davOffice(t, answer(401, "")), "credentials"},
		{"webdav: other bytes", davOffice(t, flip), "digest"},
		{"webdav: it hangs", davOffice(t, hang), "slow"},
		{"webdav: out of order", davOffice(t, answer(502, "")), "unreachable"},
	} {
		on.Store(true)
		r := newRoom(t, t.TempDir(), tt.o.target, nil, golden(t))
		if tt.want == "slow" {
			r.o.Stall = time.Second
		}
		a, err := New(r.o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Pass(t.Context())
		if ProblemOf(err) != tt.want || a.Status().Problem != tt.want || len(r.entered) != 0 {
			t.Errorf("%s: %q (%v), status %q, entered %v; want %q", tt.rule, ProblemOf(err), err, a.Status().Problem, r.entered, tt.want)
		}
		if strings.Contains(a.Status().Text, "SECRET") || strings.Contains(a.Status().Text, "secret") {
			t.Errorf("%s: the secret is in %q", tt.rule, a.Status().Text)
		}
		on.Store(false)
		if _, err := a.Pass(t.Context()); err != nil || a.Status().Problem != "" {
			t.Errorf("%s: the next try: %v, %q", tt.rule, err, a.Status().Problem)
			continue
		}
		whole(t, r, tt.o.files())
	}
}

// TestPartsGoOn: an upload in parts that was broken off goes on with the part that lacks.
func TestPartsGoOn(t *testing.T) {
	var parts atomic.Int64
	var deny atomic.Bool
	o := s3Office(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.URL.Query().Get("partNumber") == "" {
			return false
		}
		if deny.Load() && parts.Load() == 2 {
			w.WriteHeader(500)
			return true
		}
		parts.Add(1)
		return false
	})
	b := bytes.Repeat([]byte("0123456789abcdef"), (2*partSize+4096)/16)
	u := Upload{Path: "a/b", Size: int64(len(b)), SHA256: evidence.DigestFile("", b).SHA256, Src: bytes.NewReader(b)}
	u.Save = func(note []byte) error { u.Resume = note; return nil }
	pace := func(int) error { return nil }
	deny.Store(true)
	if err := o.target.Put(t.Context(), u, pace); ProblemOf(err) != "unreachable" || u.Resume == nil {
		t.Fatalf("Put() = %v, resume %s", err, u.Resume)
	}
	deny.Store(false)
	if err := o.target.Put(t.Context(), u, pace); err != nil {
		t.Fatal(err)
	}
	if parts.Load() != 3 || !bytes.Equal(o.files()["a/b"], b) {
		t.Errorf("%d parts were sent, want 3; right: %v", parts.Load(), bytes.Equal(o.files()["a/b"], b))
	}
	if *realS3 != "" {
		o = realOffice(t)
		u.Resume = nil
		n := 0
		if err := o.target.Put(t.Context(), u, func(int) error {
			if n++; n > 2*partSize/chunk+3 {
				return errBusy
			}
			return nil
		}); !errors.Is(err, errBusy) || u.Resume == nil {
			t.Errorf("a real store, broken off: %v, resume %s", err, u.Resume)
		}
		if err := o.target.Put(t.Context(), u, pace); err != nil {
			t.Errorf("a real store: %v", err)
		}
	}
	u.Resume = []byte(`{"id":"1234567","parts":[{"PartNumber":1}]}`) // the store forgot it
	if err := o.target.Put(t.Context(), u, pace); err != nil {
		t.Errorf("an upload that the store forgot: %v", err)
	}
}

// TestFolderGoesOn: a broken-off file on a share goes on from where it was last synced, and longer litter is cut.
func TestFolderGoesOn(t *testing.T) {
	dir := t.TempDir()
	f := NewFolder(dir, nil, nil)
	b := bytes.Repeat([]byte{7}, saveEvery+3*chunk)
	u := Upload{Path: "a/b", Size: int64(len(b)), SHA256: evidence.DigestFile("", b).SHA256, Src: bytes.NewReader(b)}
	u.Save = func(note []byte) error { u.Resume = note; return nil }
	moved := 0
	if err := f.Put(t.Context(), u, func(n int) error {
		if moved += n; moved > saveEvery+chunk {
			return errBusy
		}
		return nil
	}); !errors.Is(err, errBusy) || string(u.Resume) != `{"off":33554432}` {
		t.Fatalf("Put() = %v, resume %s", err, u.Resume)
	}
	moved = 0
	if err := f.Put(t.Context(), u, func(n int) error { moved += n; return nil }); err != nil {
		t.Fatal(err)
	}
	if want := 3*chunk + len(b); moved != want { // the rest, and all read back
		t.Errorf("%d bytes moved, want %d", moved, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "c.part"), make([]byte, len(b)+5), 0o644); err != nil {
		t.Fatal(err)
	}
	u.Path, u.Resume = "a/c", nil
	if err := f.Put(t.Context(), u, func(int) error { return nil }); err != nil {
		t.Error(err)
	}
	apart := NewFolder(dir, []string{t.TempDir()}, nil)
	if err := apart.Put(t.Context(), u, func(int) error { return nil }); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an archive on the recorder's own disk: %v", err)
	}
}

// TestWhen: outside the hours nothing is sent unless it waits too long; while a room records nothing is.
func TestWhen(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		hour  int
		busy  bool
		since time.Duration
		idle  string
	}{
		{"within the hours", 22, false, time.Hour, ""},
		{"after midnight", 3, false, time.Hour, ""},
		{"outside", 12, false, time.Hour, "window"},
		{"outside, but it is due", 12, false, 21 * time.Hour, ""},
		{"the room records", 22, true, time.Hour, "busy"},
		{"the room records, and it is due", 22, true, 21 * time.Hour, "busy"},
	} {
		o := folderOffice(t, t.TempDir(), nil)
		r := newRoom(t, t.TempDir(), o.target, nil, golden(t))
		now := time.Date(2026, 3, 2, tt.hour, 0, 0, 0, time.Local)
		r.o.Window, _ = ParseWindow("19:00-07:00")
		r.o.Now, r.o.Busy = func() (time.Time, int64) { return now, 0 }, func() bool { return tt.busy }
		r.o.Jobs = func(context.Context) ([]Job, error) {
			return []Job{{session, now.Add(-tt.since), []fs.FS{golden(t)}}}, nil
		}
		if idle, err := r.pass(t); idle != tt.idle || err != nil || (len(r.entered) == 1) != (idle == "") {
			t.Errorf("%s: idle %q, %v, entered %d", tt.rule, idle, err, len(r.entered))
		}
	}
	w, _ := ParseWindow("19:00-07:00")
	if d := w.until(time.Date(2026, 3, 2, 12, 0, 0, 0, time.Local)); d != 7*time.Hour {
		t.Errorf("from noon it opens in %s", d)
	}
	for _, s := range []string{"", "19:00", "19:00-19:00", "24:00-07:00", "19:00-07:00x", "1:00-2:00", "-1:00-02:00"} {
		if _, err := ParseWindow(s); err == nil {
			t.Errorf("window %q is taken", s)
		}
	}
}

// TestRate: what is read and sent keeps to the rate.
func TestRate(t *testing.T) {
	o := folderOffice(t, t.TempDir(), nil)
	r := newRoom(t, t.TempDir(), o.target, nil, golden(t))
	files, err := listFiles(golden(t))
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, n := range files {
		total += n
	}
	r.o.Rate = 8 * total // sent and read back: a quarter of a second at least
	began := time.Now()
	if _, err := r.pass(t); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 240*time.Millisecond {
		t.Errorf("%d bytes there and back at %d bytes a second took %s", total, r.o.Rate, took)
	}
}
