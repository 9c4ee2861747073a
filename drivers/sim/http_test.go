package sim

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers"
)

func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, steps := room(t)
		h := r.Handler()
		do := func(method, path string, header ...string) *httptest.ResponseRecorder {
			q := httptest.NewRequest(method, path, nil)
			for i := 0; i < len(header); i += 2 {
				q.Header.Set(header[i], header[i+1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, q)
			return w
		}
		for _, tt := range []struct {
			rule, method, path string
			header             []string
			code               int
			says               string
		}{
			{"the page", "GET", "/sim/", nil, 200, "模拟房间"},
			{"its script", "GET", "/sim/control.js", nil, 200, "/sim/state"},
			{"state", "GET", "/sim/state", nil, 200, `"presence":false`},
			{"press", "POST", "/sim/button", nil, 204, ""},
			{"press for how long?", "POST", "/sim/button?hold=3", nil, 400, "hold"},
			{"press for ever", "POST", "/sim/button?hold=99h", nil, 400, "choose"},
			{"open the door", "POST", "/sim/door", nil, 204, ""},
			{"close it", "POST", "/sim/door?on=false", nil, 204, ""},
			{"half open", "POST", "/sim/door?on=half", nil, 400, "true or false"},
			{"somebody enters", "POST", "/sim/presence?on=true", nil, 204, ""},
			{"a page of another site may not", "POST", "/sim/presence?on=false", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
			{"nor read-only requests change things", "GET", "/sim/presence?on=false", nil, 405, ""},
			{"a fault of one channel", "POST", "/sim/fault/black?channel=face", nil, 204, ""},
			{"of all that can have it", "POST", "/sim/fault/gone", nil, 204, ""},
			{"a microphone cannot be black", "POST", "/sim/fault/black?channel=voice", nil, 400, "voice"},
			{"unknown fault", "POST", "/sim/fault/hungry", nil, 400, "hungry"},
			{"clock ahead", "POST", "/sim/fault/clock-step", nil, 204, ""},
			{"clock ahead by", "POST", "/sim/fault/clock-step?by=-2s", nil, 204, ""},
			{"clock right again", "POST", "/sim/fault/clock-step?on=false", nil, 204, ""},
			{"nothing else", "GET", "/sim/secret", nil, 404, ""},
		} {
			w := do(tt.method, tt.path, tt.header...)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%s: %s %s = %d %q; want %d, %q", tt.rule, tt.method, tt.path, w.Code, w.Body, tt.code, tt.says)
			}
		}
		time.Sleep(time.Second)
		if want := []time.Duration{10 * time.Second, -2 * time.Second, -8 * time.Second}; !slices.Equal(*steps, want) {
			t.Errorf("clock steps %v, want %v", *steps, want)
		}
		var s State
		if err := json.Unmarshal(do("GET", "/sim/state").Body.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if len(s.Channels) != 3 || !slices.Equal(s.Channels[0].Faults, []string{"black", "gone"}) || !slices.Equal(s.Channels[2].Faults, []string{"gone"}) {
			t.Errorf("channels %+v", s.Channels)
		}
		if !s.Inputs["presence"] || s.Inputs["door"] || s.Inputs["button"] || s.Climate == nil || s.Climate.MilliCelsius < 20000 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestFormValuesCountToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		q := httptest.NewRequest(http.MethodPost, "/sim/door", strings.NewReader("on=false"))
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetInput(drivers.Door, true)
		r.Handler().ServeHTTP(httptest.NewRecorder(), q)
		if r.Input(drivers.Door).On() {
			t.Error("a form's value was not taken")
		}
	})
}
