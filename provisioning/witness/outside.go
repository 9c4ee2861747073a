package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// Outside asks witnesses elsewhere for what the office has cosigned itself, newest state first, and
// hands their cosignatures to the device. A witness that cannot be reached is asked again later; it
// holds nobody up. What was not asked yet when the office stops is asked with the next checkpoint.
type Outside struct {
	o OutsideOptions

	mu     sync.Mutex
	newest map[string]offered // by origin
	wake   []chan struct{}    // one for each witness
}

// OutsideOptions are what it needs.
type OutsideOptions struct {
	Witnesses []OutsideWitness
	Lines     Lines
	Send      func(device string, k report.Kind, payload []byte) error
	Client    *http.Client  // nil: one with a time limit
	Retry     time.Duration // 0: [OutsideRetry]
	Log       *slog.Logger  // nil: slog.Default
}

// OutsideWitness is one of them.
type OutsideWitness struct {
	URL string // of the submission prefix; /add-checkpoint is added
	Key evidence.Witness
}

// OutsideRetry is how long a witness that failed is left alone.
const OutsideRetry = 30 * time.Second

type offered struct {
	device string
	origin string
	size   int64
	note   string
}

// NewOutside checks the options.
func NewOutside(o OutsideOptions) (*Outside, error) {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 20 * time.Second}
	}
	if o.Retry == 0 {
		o.Retry = OutsideRetry
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	x := &Outside{o: o, newest: map[string]offered{}}
	for _, w := range o.Witnesses {
		if !strings.HasPrefix(w.URL, "https://") && !strings.HasPrefix(w.URL, "http://") {
			return nil, fmt.Errorf("witness: %q: want an address beginning with https://", w.URL)
		}
		x.wake = append(x.wake, make(chan struct{}, 1))
	}
	return x, nil
}

// Run asks until ctx ends.
func (x *Outside) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, w := range x.o.Witnesses {
		g.Go(func() error { return x.ask(ctx, w, x.wake[i]) })
	}
	g.Go(func() error { <-ctx.Done(); return context.Cause(ctx) })
	return g.Wait()
}

// offer says that a newer state may be cosigned. It never blocks. A nil Outside asks nobody.
func (x *Outside) offer(device, origin string, size int64, note string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	x.newest[origin] = offered{device, origin, size, note}
	x.mu.Unlock()
	x.kick()
}

// linesCame says that a proof may be possible now that was not before.
func (x *Outside) linesCame(origin string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	_, waiting := x.newest[origin]
	x.mu.Unlock()
	if waiting {
		x.kick()
	}
}

func (x *Outside) kick() {
	for _, c := range x.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// ask serves one witness.
func (x *Outside) ask(ctx context.Context, w OutsideWitness, wake <-chan struct{}) error {
	held := map[string]int64{} // sizes it has cosigned; it tells them itself when asked wrongly
	done := map[string]int64{}
	for {
		wait := x.o.Retry
		for _, o := range x.list() {
			if done[o.origin] >= o.size {
				continue
			}
			line, err := x.cosign(ctx, w, o, held)
			if err != nil {
				x.o.Log.Warn("witness elsewhere", "witness", w.Key.Name, "ledger", o.origin, "err", err)
				continue
			}
			done[o.origin] = o.size
			b, err := report.Marshal(report.Cosignature{V: 1, Origin: o.origin, Size: o.size, Lines: []string{line}, HaveLines: x.have(o.origin)})
			if err == nil {
				err = x.o.Send(o.device, report.KindCosignature, b)
			}
			if err != nil {
				x.o.Log.Warn("witness elsewhere: its answer cannot be handed on", "device", o.device, "err", err)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (x *Outside) have(origin string) int64 {
	n, err := x.o.Lines.Have(origin)
	if err != nil {
		return 0
	}
	return n
}

func (x *Outside) list() []offered {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make([]offered, 0, len(x.newest))
	for _, o := range x.newest {
		all = append(all, o)
	}
	return all
}

// cosign asks once, and a second time with the size the witness says it holds.
func (x *Outside) cosign(ctx context.Context, w OutsideWitness, o offered, held map[string]int64) (string, error) {
	for range 2 {
		r := Request{Old: held[o.origin], Note: o.note}
		var err error
		if r.Old > 0 && r.Old < o.size {
			if r.Proof, err = x.o.Lines.Proof(o.origin, r.Old, o.size); err != nil {
				return "", err
			}
		}
		line, size, err := post(ctx, x.o.Client, w, r)
		switch {
		case err == nil:
			n, perr := parseNote(o.note)
			if perr != nil {
				return "", perr
			}
			if _, err := w.Key.Verify(evidence.SignedText(n.origin, n.size, n.root), line); err != nil {
				return "", err
			}
			held[o.origin] = o.size
			return line, nil
		case errors.Is(err, errHeld) && size != r.Old && size <= o.size:
			held[o.origin] = size
		default:
			return "", err
		}
	}
	return "", errors.New("it holds another size each time it is asked")
}

var errHeld = errors.New("it holds another state of this ledger")

// post sends one add-checkpoint and returns the first line of the witness's own name.
func post(ctx context.Context, c *http.Client, w OutsideWitness, r Request) (line string, held int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(w.URL, "/")+"/add-checkpoint", strings.NewReader(r.Body()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	res, err := c.Do(req)
	if why := (*url.Error)(nil); errors.As(err, &why) { // it quotes the address, which may hold a key
		return "", 0, why.Err
	}
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", 0, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		for l := range bytes.Lines(b) {
			c, err := evidence.ParseCosignature(strings.TrimSuffix(string(l), "\n"))
			if err == nil && c.Witness == w.Key.Name && c.ID == w.Key.ID() {
				return c.Line, 0, nil
			}
		}
		return "", 0, errors.New("no cosignature of the key it is known by is in its answer")
	case http.StatusConflict:
		held, err := parseSize(strings.TrimSuffix(string(b), "\n"))
		return "", held, errors.Join(errHeld, err)
	}
	return "", 0, fmt.Errorf("it answers %s: %.200q", res.Status, b)
}
