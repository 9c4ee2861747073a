package archive

import (
	"fmt"
	"time"
)

// Window is the part of each day in which may be sent, in local time. One that ends before it begins goes over
// midnight.
type Window struct{ From, To time.Duration } // since midnight

// ParseWindow reads "19:00-07:00".
func ParseWindow(s string) (*Window, error) {
	var fh, fm, th, tm int
	if n, err := fmt.Sscanf(s, "%2d:%2d-%2d:%2d", &fh, &fm, &th, &tm); err != nil || n != 4 || fmt.Sprintf("%02d:%02d-%02d:%02d", fh, fm, th, tm) != s ||
		fh > 23 || th > 23 || fm > 59 || tm > 59 || fh < 0 || th < 0 || fm < 0 || tm < 0 || fh == th && fm == tm {
		return nil, fmt.Errorf("archive: window %q: want two times of day such as 19:00-07:00", s)
	}
	at := func(h, m int) time.Duration { return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute }
	return &Window{at(fh, fm), at(th, tm)}, nil
}

// open tells whether t lies in the window.
func (w *Window) open(t time.Time) bool {
	d := sinceMidnight(t)
	if w.From < w.To {
		return d >= w.From && d < w.To
	}
	return d >= w.From || d < w.To
}

// until is how long it takes from t until the window opens, 0 while it is open.
func (w *Window) until(t time.Time) time.Duration {
	if w.open(t) {
		return 0
	}
	return (w.From - sinceMidnight(t) + 24*time.Hour) % (24 * time.Hour)
}

func sinceMidnight(t time.Time) time.Duration {
	h, m, s := t.Local().Clock()
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
}
