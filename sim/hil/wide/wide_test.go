// Package wide holds the tests of what is wider than 32 bits, for the boards that have no more. They run on
// any machine; `make hil` runs them on arm64 and arm/7.
package wide

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minglu/agent/durable"
	"minglu/agent/fmp4"
)

// far is where the fragments of these tests begin: beyond what 32 bits with and without a sign can say.
var far = []int64{1<<31 - 1000, 1<<31 + 4096, 1<<32 - 1000, 5 << 30}

// fragment is one of n samples with its number in each.
func fragment(t *testing.T, n uint32) ([]byte, []fmp4.Track) {
	t.Helper()
	tracks := []fmp4.Track{{ID: 1, Timescale: 48000, Codec: fmp4.Opus, SampleRate: 48000, Channels: 1}}
	var samples []fmp4.Sample
	for i := range 25 {
		samples = append(samples, fmp4.Sample{Duration: 960, Sync: true, Data: fmt.Appendf(nil, "fragment %d sample %d", n, i)})
	}
	b, _, err := fmp4.AppendFragment(nil, n, []fmp4.Run{{Track: 1, Time: 1<<33 + 24000*uint64(n), Samples: samples}})
	if err != nil {
		t.Fatal(err)
	}
	return b, tracks
}

// TestFilesOver2GiB writes fragments far into a sparse file as the recorder does, scans them as recovery
// and verification do, and has ranges of it as a browser does.
func TestFilesOver2GiB(t *testing.T) {
	name := filepath.Join(t.TempDir(), "face-00001.mp4")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var size int64
	for i, off := range far {
		b, _ := fragment(t, uint32(i+1))
		if err := os.Truncate(name, off); err != nil { // a hole: this is about offsets, not about 5 GiB
			t.Fatal(err)
		}
		f, err := durable.Files{}.Append(name)
		if err != nil {
			t.Fatal(err)
		}
		if f.Size() != off {
			t.Errorf("opened at %d, want %d", f.Size(), off)
		}
		if err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
		if size = f.Size(); size != off+int64(len(b)) {
			t.Errorf("after a write at %d the size is %d, want %d", off, size, off+int64(len(b)))
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, off := range far {
		b, tracks := fragment(t, uint32(i+1))
		end, err := fmp4.Scan(r, off, off+int64(len(b)), tracks, func(at int64, got []byte, frag *fmp4.Fragment) error {
			if at != off || !bytes.Equal(got, b) || frag.Seq != uint32(i+1) {
				t.Errorf("at %d: fragment %d of %d bytes at %d", off, frag.Seq, len(got), at)
			}
			return nil
		})
		if err != nil || end != off+int64(len(b)) {
			t.Errorf("scan from %d ends at %d: %v", off, end, err)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.ServeContent(w, q, "", time.Time{}, r) // as agent/web sends media
	}))
	defer srv.Close()
	for i, off := range far {
		b, _ := fragment(t, uint32(i+1))
		q, err := http.NewRequest("GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+int64(len(b))-1))
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if want := fmt.Sprintf("bytes %d-%d/%d", off, off+int64(len(b))-1, size); err != nil || res.StatusCode != http.StatusPartialContent || !bytes.Equal(got, b) || res.Header.Get("Content-Range") != want {
			t.Errorf("range at %d: %s, %q, %d bytes, %v; want %q", off, res.Status, res.Header.Get("Content-Range"), len(got), err, want)
		}
	}
}

// TestAtomics counts beyond 32 bits from several goroutines, in a struct whose fields would not be aligned
// by themselves.
func TestAtomics(t *testing.T) {
	var s struct {
		odd bool
		n   atomic.Int64
		too bool
		m   atomic.Uint64
	}
	s.n.Store(1<<32 - 500)
	s.m.Store(1<<63 - 500)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				s.n.Add(1)
				s.m.Add(1)
			}
		})
	}
	wg.Wait()
	if s.n.Load() != 1<<32+3500 || s.m.Load() != 1<<63+3500 || s.odd || s.too {
		t.Errorf("counted to %d and %d", s.n.Load(), s.m.Load())
	}
}
